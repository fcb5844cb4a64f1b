"""Fields and kinds that are no more to be used."""

from __future__ import annotations

from collections.abc import Iterator

from controlplane.analysis import codes, raw
from controlplane.analysis.resources import Message, Resources, message
from controlplane.model import kinds

_REMOVED_GROUP = "rbac.istio.io"
_REMOVED_KINDS = {
    "clusterrbacconfigs": "ClusterRbacConfig",
    "rbacconfigs": "RbacConfig",
    "servicerolebindings": "ServiceRoleBinding",
    "serviceroles": "ServiceRole",
}


def fields(resources: Resources) -> Iterator[Message]:
    """Find fields that another has replaced, or that are ignored, and definitions of kinds that are gone."""
    for service in resources.of(kinds.VIRTUAL_SERVICE):
        for at, rule in raw.mappings(service.spec, "http"):
            if raw.number(rule, "fault", "delay", "percent") > 0:
                detail = "fault.delay.percent is replaced by fault.delay.percentage"
                yield message(codes.DEPRECATED, service, f"spec.http[{at}].fault.delay.percent", detail=detail)
    for sidecar in resources.of(kinds.SIDECAR):
        if raw.at(sidecar.spec, "outboundTrafficPolicy", "egressProxy") is not None:
            path = "spec.outboundTrafficPolicy.egressProxy"
            yield message(codes.DEPRECATED, sidecar, path, detail="outboundTrafficPolicy.egressProxy is deprecated")
    for definition in resources.of(kinds.CUSTOM_RESOURCE_DEFINITION):
        plural, _, group = definition.name.partition(".")
        if group == _REMOVED_GROUP and plural in _REMOVED_KINDS:
            detail = f"{_REMOVED_GROUP} {_REMOVED_KINDS[plural]} has no effect any more: use AuthorizationPolicy"
            yield message(codes.DEPRECATED, definition, "metadata.name", detail=detail)
