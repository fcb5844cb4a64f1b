"""What ``analyze`` finds between objects that a registry holds: references to nothing, selectors for nobody.

The analyzers are those of files. A registry has objects as they are used, so each is written out for them; what only
files or a cluster know (Secrets that nobody names, Deployments, webhooks) is not asked about.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from controlplane.analysis import codes
from controlplane.analysis.analyzers import table
from controlplane.analysis.findings import Finding
from controlplane.analysis.mesh_members import PROXY
from controlplane.analysis.resources import Mesh, Message, Resource, Resources
from controlplane.model import kinds
from controlplane.model.kubernetes import KubeService, Pod
from controlplane.model.objects import Object, ObjectKey
from controlplane.model.proxy import Proxy
from controlplane.registry.labels import TLS_MODE
from controlplane.registry.mesh import mesh_config
from controlplane.registry.store import Registry, View

ANALYZERS = frozenset(
    {
        "auth.AuthorizationPoliciesAnalyzer",
        "destinationrule.CaCertificateAnalyzer",
        "destinationrule.SubsetSelectPodAnalyzer",
        "envoyfilter.EnvoyPatchAnalyzer",
        "gateway.IngressGatewayPortAnalyzer",
        "sidecar.SelectorAnalyzer",
        "virtualservice.DestinationHostAnalyzer",
        "virtualservice.GatewayAnalyzer",
        "virtualservice.JWTClaimRouteAnalyzer",
        "serviceentry.Analyzer",
        "serviceentry.ConflictingServiceEntryProtocolAnalyzer",
        "telemetry.ProviderAnalyzer",
        "telemetry.SelectorAnalyzer",
        "telemetry.LightstepAnalyzer",
    }
)
"""Those that need nothing but what a registry has. What ``findings`` tells already is not among them."""
_USUAL_GATEWAY = {"istio": "ingressgateway"}


def between_objects(registry: Registry, connected: Iterable[Proxy] | None) -> tuple[Finding, ...]:
    """Return what the analyzers find, sorted by object.

    ``connected`` are the proxies that are there, with or without a pod; ``None`` where the registry was made of files,
    in which the pods of the usual ingress gateway seldom are.
    """
    chosen = [each for each in table.ANALYZERS if each.name in ANALYZERS]
    found = table.analyze(_resources(registry, connected), chosen).messages
    return tuple(sorted((_finding(each) for each in found), key=lambda each: each.key))


def _finding(message: Message) -> Finding:
    about = message.resource
    key = ObjectKey(about.kind, about.namespace, about.name)
    return Finding(key, message.path, message.text, code=message.code.id)


def _resources(registry: Registry, connected: Iterable[Proxy] | None) -> Resources:
    objects = [obj for obj in registry.objects.values() if not obj.key.cluster]
    known = any(obj.kind == kinds.POD and TLS_MODE in obj.meta.labels for obj in objects)
    made = {(each.kind, each.namespace, each.name): each for each in (_resource(obj, known) for obj in objects)}
    for name in {each.namespace for each in made.values()} - {""}:
        made.setdefault((kinds.NAMESPACE, "", name), Resource(kinds.NAMESPACE, "", name, {}, {}, {}))
    held = list(made.values())
    held += _default_gateway(made.values()) if connected is None else _beside_pods(made, connected)
    return Resources(held, Mesh(mesh_config(View(registry))), domain=registry.domain)


def _resource(obj: Object, known: bool) -> Resource:  # noqa: FBT001 - one caller
    """Write an object out; where it is ``known`` which pods have a proxy, only those count as having one."""
    meta, spec = obj.meta, obj.spec
    written: Mapping[str, Any] = {}
    if isinstance(spec, BaseModel):
        written = spec.model_dump(mode="json", by_alias=True, exclude_unset=True)
    elif isinstance(spec, KubeService):
        ports = [
            {"name": port.name, "port": port.number, "targetPort": port.target_port or port.number, "protocol": "TCP"}
            for port in spec.ports
            if port.protocol in {"", "TCP"}
        ]
        written = {"selector": dict(spec.selector), "ports": ports}
    elif isinstance(spec, Pod):
        written = _pod({port.name: port.number for port in spec.ports}, not known or TLS_MODE in meta.labels)
    return Resource(obj.kind, meta.namespace, meta.name, {"spec": written}, dict(meta.labels), dict(meta.annotations))


def _pod(ports: Mapping[str, int], proxied: bool) -> dict[str, Any]:  # noqa: FBT001 - two callers
    written = [{"name": name, "containerPort": number} for name, number in ports.items()]
    proxy = [{"name": PROXY, "image": PROXY}] if proxied else []
    return {"containers": [{"name": "application", "ports": written}, *proxy]}


_Made = Mapping[tuple[kinds.GroupKind, str, str], Resource]


def _beside_pods(made: _Made, connected: Iterable[Proxy]) -> Iterator[Resource]:
    """Yield a pod for each proxy that has none, with a Service: an Envoy on a machine takes what it is sent."""
    ports = [
        {"port": server["port"]["number"]}
        for each in made.values()
        if each.kind == kinds.GATEWAY
        for server in each.spec.get("servers", ())
    ]
    for proxy in connected:
        labels, place = dict(proxy.labels), (proxy.namespace, proxy.name)
        if (kinds.POD, *place) not in made:
            yield Resource(kinds.POD, *place, {"spec": _pod({}, proxied=True)}, labels, {})
            yield Resource(kinds.SERVICE, *place, {"spec": {"selector": labels, "ports": ports}}, {}, {})


def _default_gateway(made: Iterable[Resource]) -> list[Resource]:
    """Return a pod of the usual ingress gateway, unless there is one."""
    if any(each.kind == kinds.POD and _USUAL_GATEWAY.items() <= each.labels.items() for each in made):
        return []
    named = ("istio-system", "istio-ingressgateway")
    return list(
        _beside_pods(
            {(each.kind, each.namespace, each.name): each for each in made},
            [Proxy("router", ".".join(reversed(named)), (), named[0], "", _USUAL_GATEWAY)],
        )
    )


def is_serious(finding: Finding) -> bool:
    """Whether a finding is more than a hint."""
    return all(each.level is not codes.Level.INFO for each in codes.ALL_CODES if each.id == finding.code)
