"""What stands for a PeerAuthentication that cannot be used: where it asks for STRICT, workloads take no plain text."""

from __future__ import annotations

from typing import Any

from controlplane.apis.closing.reading import readable, stated_fields
from controlplane.apis.common import WorkloadSelector
from controlplane.apis.peer_authentication import MutualTLS, MutualTLSMode, PeerAuthentication, StrictInstead

_KIND = "PeerAuthentication"
_STRICT, _AS_WITHOUT = MutualTLS(mode=MutualTLSMode.STRICT), MutualTLS()
_LOOSE = frozenset(set(MutualTLSMode) - {MutualTLSMode.STRICT})
_MOST_PORTS = 512
_EVERY: dict[str, Any] = {"matchLabels": {"app": "any"}}


def stand_in(raw: object) -> StrictInstead:
    """Return what is in force in the place of a policy whose ``spec`` cannot be used as it is.

    A mode that cannot be read, or that may be what a field says that nobody knows, is STRICT. Where it cannot be read
    whom the policy is for, it is for every workload of its namespace. Ports whose mode can be read and is another are
    left as they are without the policy.
    """
    spec, others = stated_fields(PeerAuthentication, raw)
    ports, of_all = _ports(spec.get("port_level_mtls"))
    strict = of_all or (_asks(spec["mtls"]) if "mtls" in spec else others)
    whom = _policy({"selector": spec["selector"]}) if "selector" in spec else None
    labels = whom.selector.match_labels if whom is not None and whom.selector is not None else {}
    unknown = whom is None and ("selector" in spec or others or bool(ports))
    return StrictInstead.model_construct(
        selector=WorkloadSelector(match_labels=labels) if labels or unknown else None,
        mtls=_STRICT if strict else None,
        port_level_mtls=ports,
    )


def _asks(stated: object) -> bool:
    """Whether a mode is STRICT, or may be meant to be."""
    policy = _policy({"mtls": stated})
    if policy is not None:
        return policy.mtls is not None and policy.mtls.mode is MutualTLSMode.STRICT
    mode = stated.get("mode") if isinstance(stated, dict) else None
    return not isinstance(mode, str) or mode not in _LOOSE


def _ports(stated: object) -> tuple[dict[int, MutualTLS], bool]:
    """Return the modes by port, and whether STRICT is asked for at a port that cannot be read."""
    if not isinstance(stated, dict) or len(stated) > _MOST_PORTS:
        return {}, stated is not None
    found: dict[int, MutualTLS] = {}
    of_all = False
    for key, mode in stated.items():
        strict = _asks(mode)
        policy = _policy({"selector": _EVERY, "portLevelMtls": {key: {}}})
        if policy is None:
            of_all = of_all or strict
            continue
        (number,) = policy.port_level_mtls
        if strict or number not in found:
            found[number] = _STRICT if strict else _AS_WITHOUT
    return found, of_all


def _policy(spec: dict[str, Any]) -> PeerAuthentication | None:
    return readable(_KIND, PeerAuthentication, spec)
