"""PeerAuthentication: which of plain text and mutual TLS a workload's port accepts.

Policies are looked for at three levels: the root namespace and the workload's namespace (both without a selector),
then those of the workload's namespace whose selector matches. Of several at one level the oldest counts. Beside it
counts what stands for those that cannot be read, which makes nothing weaker.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from controlplane.apis.peer_authentication import PeerAuthentication, StrictInstead
from controlplane.engine.recording import query
from controlplane.model import kinds
from controlplane.model.objects import Object
from controlplane.registry.mesh import mesh_config
from controlplane.registry.policies import WorkloadKey, policies_in, selector
from controlplane.registry.store import View


class MtlsMode(StrEnum):
    """What a port accepts: only plain text, both, or only mutual TLS."""

    DISABLE = "DISABLE"
    PERMISSIVE = "PERMISSIVE"
    STRICT = "STRICT"


@dataclass(frozen=True, slots=True)
class WorkloadMtls:
    """What a workload accepts: ``mode`` in general, ``ports`` the exceptions by port of the workload, ascending."""

    mode: MtlsMode = MtlsMode.PERMISSIVE
    ports: tuple[tuple[int, MtlsMode], ...] = ()

    def of(self, target_port: int) -> MtlsMode:
        """Return what one port of the workload accepts."""
        return next((mode for port, mode in self.ports if port == target_port), self.mode)


@query
def namespace_mode(view: View, namespace: str) -> MtlsMode:
    """Return what workloads of a namespace accept unless a policy selects them or their port."""
    root = mesh_config(view).root_namespace
    mode = MtlsMode.PERMISSIVE
    for level in dict.fromkeys((root, namespace)):
        mode = _stated(_oldest(obj for obj in _policies(view, level) if not selector(obj)), mode)
        if any(spec.mtls is not None and not _labels(spec) for spec in _instead(view, level)):
            mode = MtlsMode.STRICT
    return mode


@query
def workload_mode(view: View, key: WorkloadKey) -> WorkloadMtls:
    """Return what one workload accepts. Policies of the root namespace that select workloads do not count."""
    mode = namespace_mode(view, key.namespace)
    if key.namespace == mesh_config(view).root_namespace:
        return WorkloadMtls(mode)
    policy = _oldest(
        obj
        for obj in _policies(view, key.namespace)
        if (chosen := selector(obj)) and key.labels.issuperset(chosen.items())
    )
    mode = _stated(policy, mode)
    spec: PeerAuthentication = policy.spec if policy is not None else PeerAuthentication()
    ports = {int(port): _mode(str(stated.mode), mode) for port, stated in spec.port_level_mtls.items()}
    found = WorkloadMtls(mode, tuple(sorted(ports.items())))
    for each in _instead(view, key.namespace):
        if each.selector is not None and key.labels.issuperset(_labels(each).items()):
            found = _stricter(found, each)
    return found


def _stricter(found: WorkloadMtls, instead: StrictInstead) -> WorkloadMtls:
    """Return what is accepted where what cannot be read asks for STRICT as well."""
    asked = {port: stated.mode for port, stated in instead.port_level_mtls.items()}
    every = instead.mtls is not None
    ports = {
        port: MtlsMode.STRICT if asked.get(port) == "STRICT" or (every and port not in asked) else found.of(port)
        for port in sorted({*asked, *dict(found.ports)})
    }
    return WorkloadMtls(MtlsMode.STRICT if every else found.mode, tuple(ports.items()))


def _policies(view: View, namespace: str) -> Iterable[Object]:
    """Yield the policies that can be read."""
    return (obj for obj in policies_in(view, kinds.PEER_AUTHENTICATION, namespace) if not stands(obj))


def stands(obj: Object) -> bool:
    """Whether an object only stands for a policy that cannot be read."""
    return isinstance(obj.spec, StrictInstead)


def _instead(view: View, namespace: str) -> Iterable[StrictInstead]:
    return (obj.spec for obj in policies_in(view, kinds.PEER_AUTHENTICATION, namespace) if stands(obj))


def _labels(spec: PeerAuthentication) -> Mapping[str, str]:
    return spec.selector.match_labels if spec.selector is not None else {}


def _oldest(objects: Iterable[Object]) -> Object | None:
    return min(objects, key=lambda obj: obj.age_order, default=None)


def _stated(policy: Object | None, inherited: MtlsMode) -> MtlsMode:
    if policy is None or policy.spec.mtls is None:
        return inherited
    return _mode(str(policy.spec.mtls.mode), inherited)


def _mode(text: str, inherited: MtlsMode) -> MtlsMode:
    return inherited if text == "UNSET" else MtlsMode(text)
