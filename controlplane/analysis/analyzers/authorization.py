"""AuthorizationPolicies for nobody, and for requests from namespaces that are not there; keys fetched from anywhere."""

from __future__ import annotations

from collections.abc import Iterator

from controlplane.analysis import codes, raw
from controlplane.analysis.mesh_members import is_ambient_pod, pod_in_mesh
from controlplane.analysis.resources import Message, Resource, Resources, has_labels, message, selector_text
from controlplane.model import kinds

_BLOCKED = "BLOCKED_CIDRS_IN_JWKS_URIS"
_FEW = 5


def policies(resources: Resources) -> Iterator[Message]:
    """Find policies that no workload in the mesh is under, and namespaces in them that are not there."""
    members = [pod for pod in resources.of(kinds.POD) if pod_in_mesh(resources, pod) or is_ambient_pod(pod)]
    namespaces = [each.name for each in resources.of(kinds.NAMESPACE)]
    for policy in resources.of(kinds.AUTHORIZATION_POLICY):
        yield from _workloads(resources, policy, members)
        yield from _sources(policy, namespaces)


def _workloads(resources: Resources, policy: Resource, members: list[Resource]) -> Iterator[Message]:
    is_root = policy.namespace == resources.mesh.config.root_namespace
    has_selector = policy.spec.get("selector") is not None
    if is_root and not has_selector:
        return
    selector = raw.string_map(policy.spec, "selector", "matchLabels")
    if not any((is_root or pod.namespace == policy.namespace) and has_labels(pod.labels, selector) for pod in members):
        path = "spec.selector" if has_selector else ""
        yield message(codes.NO_WORKLOADS, policy, path, labels=selector_text(selector))


def _sources(policy: Resource, namespaces: list[str]) -> Iterator[Message]:
    for at, rule in raw.mappings(policy.spec, "rules"):
        for position, source in raw.mappings(rule, "from"):
            for field in ("namespaces", "notNamespaces"):
                for index, stated in enumerate(raw.texts(source, "source", field)):
                    if not any(_means(stated, each) for each in namespaces):
                        path = f"spec.rules[{at}].from[{position}].source.{field}[{index}]"
                        yield message(codes.NOT_FOUND, policy, path, kind="namespace", value=stated)


def _means(stated: str, namespace: str) -> bool:
    if stated.startswith("*"):
        return namespace.endswith(stated[1:])
    if stated.endswith("*"):
        return namespace.startswith(stated[:-1])
    return namespace.lower() == stated.lower()


def fetched_keys(resources: Resources) -> Iterator[Message]:
    """Find control planes that fetch keys from any address for RequestAuthentications."""
    names = [each.full_name for each in resources.of(kinds.REQUEST_AUTHENTICATION)]
    for deployment in resources.of(kinds.DEPLOYMENT) if names else ():
        if deployment.labels.get("app") == "istiod" and not _blocks(deployment):
            shown = ", ".join(names[:_FEW]) + (f", and {len(names) - _FEW} more" if len(names) > _FEW else "")
            yield message(codes.FETCH_UNRESTRICTED, deployment, count=len(names), names=shown)


def _blocks(deployment: Resource) -> bool:
    return any(
        raw.text(variable, "name") == _BLOCKED and raw.text(variable, "value")
        for _, container in raw.mappings(deployment.spec, "template", "spec", "containers")
        for _, variable in raw.mappings(container, "env")
    )
