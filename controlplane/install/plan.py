"""The objects of an installation, component by component, in the order in which they are to be applied."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from controlplane.apis.crds.definitions import definitions
from controlplane.documents.words import is_label
from controlplane.install.chart import Release, chart, laid_over
from controlplane.install.errors import RefusedInputError
from controlplane.install.operator import GATEWAYS, Intent
from controlplane.install.settings import adjusted

Json = dict[str, Any]

NAMESPACE = "istio-system"
PART_OF, MANAGED_BY, COMPONENT = (
    "app.kubernetes.io/part-of",
    "app.kubernetes.io/managed-by",
    "operator.istio.io/component",
)
REVISION = "istio.io/rev"
OURS = "controlplane"
_LONGEST_REVISION = 63 - len("istiod-")  # the Service of a revision is called so
BASE, PILOT, CNI, INGRESS, EGRESS = "Base", "Pilot", "Cni", "IngressGateways", "EgressGateways"
_LABELS = {"ingressGateways": INGRESS, "egressGateways": EGRESS}
_ORDER = (
    "Namespace",
    "CustomResourceDefinition",
    "ServiceAccount",
    "ClusterRole",
    "ClusterRoleBinding",
    "Role",
    "RoleBinding",
    "ConfigMap",
    "Secret",
    "Service",
    "Deployment",
    "DaemonSet",
    "HorizontalPodAutoscaler",
    "PodDisruptionBudget",
    "NetworkPolicy",
    "ValidatingWebhookConfiguration",
    "MutatingWebhookConfiguration",
)
"""What others need goes first; the webhooks last, so that nothing is asked of what is not there yet."""


@dataclass(frozen=True, slots=True)
class Component:
    """One part of an installation: a name for the user, the label of its objects, and these."""

    title: str
    label: str
    objects: tuple[Json, ...]


def plan(intent: Intent) -> list[Component]:
    """Return the components that are enabled.

    Raises:
        RefusedInputError: something is asked for that cannot be.
    """
    found = [Component(title, label, _in_order(objects)) for title, label, objects in _components(intent)]
    namespaces = sorted({each["metadata"].get("namespace", "") for one in found for each in one.objects} - {""})
    if not found:
        return []
    spaces = tuple(_namespace(name) for name in namespaces)
    first = found[0]
    complete = [Component(first.title, first.label, (*spaces, *first.objects)), *found[1:]]
    revision = intent.revision or "default"
    return [
        Component(each.title, each.label, tuple(_labelled(one, each.label, revision) for one in each.objects))
        for each in complete
    ]


def _components(intent: Intent) -> Iterator[tuple[str, str, list[Json]]]:
    namespace = str(intent.spec.get("namespace") or NAMESPACE)
    if namespace != NAMESPACE:
        raise RefusedInputError(f"namespace: {namespace}: the control plane runs in {NAMESPACE} and in no other")
    _check_names(intent)
    for name in ("ztunnel", "istiodRemote"):
        if is_enabled(intent.components.get(name), otherwise=False):
            raise RefusedInputError(f"components.{name}: it is not there; see docs/install.md for what is instead")
    if is_enabled(intent.components.get("base"), otherwise=False):
        yield "Definitions", BASE, list(definitions().values())
    pilot = intent.components.get("pilot") or {}
    if is_enabled(pilot, otherwise=False):
        objects = chart("istiod").objects(_control_plane_values(intent), Release("istiod"))
        yield "Control plane", PILOT, adjusted(objects, pilot.get("k8s") or {}, "components.pilot.k8s")
    if _has_cni(intent):
        yield "CNI plugin", CNI, _cni(intent)
    for kind in GATEWAYS:
        for at, gateway in enumerate(intent.components.get(kind) or ()):
            if is_enabled(gateway, otherwise=False):
                yield _gateway(intent, kind, f"components.{kind}[{at}]", gateway)


def _check_names(intent: Intent) -> None:
    """Raise ``RefusedInputError`` for what the API server would refuse half-way, or what would be taken for a no."""
    revision = intent.revision or "default"
    if not is_label(revision) or len(revision) > _LONGEST_REVISION:
        raise RefusedInputError(
            f"revision: {revision!r}: must be lower-case letters, digits and, inside, hyphens; "
            f"{_LONGEST_REVISION} at most"
        )
    for name, stated in intent.components.items():
        for at, each in enumerate(stated if isinstance(stated, list) else [stated]):
            enabled = each.get("enabled") if isinstance(each, Mapping) else None
            if enabled not in (None, True, False, "true", "false"):
                place = f"{name}[{at}]" if isinstance(stated, list) else name
                raise RefusedInputError(f"components.{place}.enabled: {str(enabled)[:100]!r}: must be true or false")


def is_enabled(component: Any, *, otherwise: bool) -> bool:  # noqa: ANN401 - as somebody wrote it
    """Whether a component is to be installed."""
    stated = component.get("enabled") if isinstance(component, Mapping) else None
    return otherwise if stated is None else stated in (True, "true")


def _has_cni(intent: Intent) -> bool:
    return is_enabled(intent.components.get("cni"), otherwise=False)


def _cni(intent: Intent) -> list[Json]:
    """Return the objects of the CNI plugin; what images are called is said once for all components."""
    component = intent.components["cni"]
    common = {
        key: value for key, value in (intent.values.get("global") or {}).items() if key in chart("cni").values["global"]
    }
    values = laid_over({"global": common}, intent.values.get("cni") or {})
    for name in ("hub", "tag", "variant"):
        if intent.spec.get(name) not in (None, ""):
            values = laid_over({name: intent.spec[name]}, values)
        if component.get(name) not in (None, ""):
            values = laid_over(values, {name: component[name]})
    namespace = str(component.get("namespace") or NAMESPACE)
    return adjusted(
        chart("cni").objects(values, Release("cni", namespace)), component.get("k8s") or {}, "components.cni.k8s"
    )


def _control_plane_values(intent: Intent) -> Json:
    """Return the values of the chart istiod: hub, tag and mesh configuration have places of their own in a spec.

    With the CNI plugin pods need no right to change rules, so they are injected without it.
    """
    values = {key: value for key, value in intent.values.items() if key != "cni"}
    pilot = values.get("pilot") or {}
    if _has_cni(intent) and "enabled" not in (pilot.get("cni") or {}):
        provider = (intent.values.get("cni") or {}).get("provider") or "default"
        values["pilot"] = laid_over({"cni": {"enabled": True, "provider": provider}}, pilot)
    for name in ("hub", "tag", "variant"):
        if intent.spec.get(name) not in (None, ""):
            values = laid_over({"global": {name: intent.spec[name]}}, values)
    for name in ("hub", "tag"):
        if (intent.components.get("pilot") or {}).get(name) not in (None, ""):
            values = laid_over(values, {name: intent.components["pilot"][name]})
    mesh = laid_over(values.get("meshConfig") or {}, intent.spec.get("meshConfig") or {})
    return laid_over(values, {"meshConfig": mesh, "revision": intent.revision})


def _gateway(intent: Intent, kind: str, path: str, stated: Json) -> tuple[str, str, list[Json]]:
    name = stated.get("name")
    if not isinstance(name, str) or not name:
        raise RefusedInputError(f"{path}.name: is required")
    namespace = str(stated.get("namespace") or NAMESPACE)
    older = (intent.values.get("gateways") or {}).get(f"istio-{_LABELS[kind].removesuffix('Gateways').lower()}gateway")
    values = _from_older(older or {}, kind)
    given = {"name": name, "labels": stated.get("label") or {}, "revision": intent.revision}
    values = laid_over(values, given)
    objects = chart("gateway").objects(values, Release(name, namespace))
    return f"Gateway {namespace}/{name}", _LABELS[kind], adjusted(objects, stated.get("k8s") or {}, f"{path}.k8s")


_SAME = (
    "replicaCount", "resources", "env", "nodeSelector", "tolerations", "affinity", "podAnnotations",
    "topologySpreadConstraints", "imagePullSecrets", "imagePullPolicy",
)  # fmt: skip
_AUTOSCALING = {"autoscaleEnabled": "enabled", "autoscaleMin": "minReplicas", "autoscaleMax": "maxReplicas"}
_SERVICE = (
    "type", "ports", "loadBalancerIP", "loadBalancerClass", "loadBalancerSourceRanges", "externalTrafficPolicy",
    "externalIPs", "ipFamilyPolicy", "ipFamilies",
)  # fmt: skip


def _from_older(older: Json, kind: str) -> Json:
    """Return the values of the chart gateway that ``values.gateways.istio-...gateway`` means."""
    values = {key: older[key] for key in _SAME if key in older}
    scaling = {new: older[old] for old, new in _AUTOSCALING.items() if old in older}
    if "targetAverageUtilization" in (older.get("cpu") or {}):
        scaling["targetCPUUtilizationPercentage"] = older["cpu"]["targetAverageUtilization"]
    service = {key: older[key] for key in _SERVICE if key in older}
    if "serviceAnnotations" in older:
        service["annotations"] = older["serviceAnnotations"]
    if kind == "egressGateways":
        inside = [
            {"name": "http2", "port": 80, "protocol": "TCP", "targetPort": 8080},
            {"name": "https", "port": 443, "protocol": "TCP", "targetPort": 8443},
        ]
        service = {"type": "ClusterIP", "ports": inside, **service}
    return values | {"autoscaling": scaling, "service": service}


def _namespace(name: str) -> Json:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def _in_order(objects: list[Json]) -> tuple[Json, ...]:
    places = {kind: at for at, kind in enumerate(_ORDER)}
    return tuple(sorted(objects, key=lambda each: places.get(each["kind"], len(places))))


def _labelled(obj: Json, component: str, revision: str) -> Json:
    """Return an object with the labels by which it is found again; definitions and namespaces are of all revisions."""
    labels = {PART_OF: OURS, MANAGED_BY: OURS, COMPONENT: component}
    if component != BASE:
        labels[REVISION] = revision
    if obj["kind"] == "Namespace":
        labels = {PART_OF: OURS, MANAGED_BY: OURS}
    metadata = obj["metadata"]
    return {**obj, "metadata": {**metadata, "labels": {**(metadata.get("labels") or {}), **labels}}}
