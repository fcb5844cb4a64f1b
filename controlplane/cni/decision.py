"""Whether the CNI plugin leads a pod's traffic, and how: from the pod as it is stored, to options of ``iptables``.

Reference: ``cni/pkg/plugin`` of Istio: what is passed over, in its order, and the annotations that count.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Json = Mapping[str, Any]

INIT, VALIDATION, PROXY = "istio-init", "istio-validation", "istio-proxy"
STATUS, INJECT = "sidecar.istio.io/status", "sidecar.istio.io/inject"
MODE = "sidecar.istio.io/interceptionMode"
_TRAFFIC = "traffic.sidecar.istio.io/"
_MODES = ("REDIRECT", "TPROXY")
_INBOUND_EXCLUDED = ("15020", "15021", "15090")
_OUTBOUND_EXCLUDED = "15020"
_PROXY_ID = 1337
_MOST = 1000
"""Entries of one annotation; each makes a rule, which all connections of the pod are compared with."""
_TRUE = frozenset({"1", "t", "T", "true", "TRUE", "True"})


@dataclass(frozen=True, slots=True)
class PassedOver:
    """The pod's traffic is left as it is."""

    reason: str


@dataclass(frozen=True, slots=True)
class Led:
    """The pod's traffic is led; ``arguments`` are those of ``controlplane iptables``."""

    arguments: tuple[str, ...]


class UnusablePodError(Exception):
    """A pod's traffic cannot be led; the message has the annotation and its value."""


def decision(pod: Json, *, native_nftables: bool = False) -> PassedOver | Led:
    """Decide about one pod.

    Raises:
        UnusablePodError: it asks for what the plugin cannot do.
    """
    reason = _reason(pod)
    return PassedOver(reason) if reason else Led(_arguments(pod, native_nftables=native_nftables))


def uses_node_network(pod: Json) -> bool:
    """Whether a pod has no network of its own: rules made for it would lead the traffic of the whole node."""
    return bool((pod.get("spec") or {}).get("hostNetwork"))


def _reason(pod: Json) -> str:
    """Return why a pod is passed over; empty where it is not."""
    annotations, labels = _metadata(pod, "annotations"), _metadata(pod, "labels")
    containers = _containers(pod)
    proxy = containers.get(PROXY)
    if uses_node_network(pod):
        return "it is in the node's own network"
    if INIT in containers:
        return f"its container {INIT} makes the rules"
    if proxy is None:
        return f"it has no container {PROXY}"
    if any(each.get("name") == "DISABLE_ENVOY" and each.get("value") == "true" for each in proxy.get("env") or ()):
        return "it runs no Envoy"
    if list(proxy.get("args") or ())[:2] != ["proxy", "sidecar"]:
        return "its proxy is no sidecar"
    if (labels.get(INJECT) or annotations.get(INJECT)) == "false":
        return f"{INJECT} is false"
    if STATUS not in annotations:
        return "nothing was injected into it"
    return ""


def _arguments(pod: Json, *, native_nftables: bool) -> tuple[str, ...]:
    annotations = _metadata(pod, "annotations")
    mode = annotations.get(MODE) or "REDIRECT"
    if mode not in _MODES:
        raise UnusablePodError(f"annotation {MODE}: {mode!r} is not one of {', '.join(_MODES)}")
    proxy = _containers(pod)[PROXY]
    user, group = _identity(pod, proxy)

    def stated(name: str, default: str = "") -> str:
        text = annotations.get(f"{_TRAFFIC}{name}", default)
        if (count := text.count(",") + 1) > _MOST:
            raise UnusablePodError(f"annotation {_TRAFFIC}{name}: has {count:,} entries; there may be {_MOST:,}")
        return text

    excluded = (*_ports(stated("excludeInboundPorts")), *_INBOUND_EXCLUDED)
    found = [
        *("-p", "15001", "-z", "15006", "-u", user, "-g", group, "-m", mode),
        *("-i", stated("includeOutboundIPRanges", "*"), "-x", stated("excludeOutboundIPRanges")),
        *("-b", stated("includeInboundPorts", "*"), "-d", ",".join(dict.fromkeys(excluded))),
        *("-q", stated("includeOutboundPorts")),
        *("-o", ",".join(dict.fromkeys((*_ports(stated("excludeOutboundPorts")), _OUTBOUND_EXCLUDED)))),
        *("-k", annotations.get("istio.io/reroute-virtual-interfaces") or stated("kubevirtInterfaces")),
        *("-c", stated("excludeInterfaces")),
        "--cni-mode",
    ]
    environment = {each.get("name"): each.get("value") for each in proxy.get("env") or ()}
    for name, flags in _SWITCHES.items():
        if environment.get(name) in _TRUE:
            found += flags
    return (*found, "--native-nftables") if native_nftables else tuple(found)


_SWITCHES: Mapping[str, Sequence[str]] = {
    "ISTIO_META_DNS_CAPTURE": ("--redirect-dns", "--capture-all-dns"),
    "ISTIO_DUAL_STACK": ("--dual-stack",),
    "INVALID_DROP": ("--drop-invalid",),
}


def _identity(pod: Json, proxy: Json) -> tuple[str, str]:
    """Return the user and group of the proxy; root would let the whole pod pass by, so it stands for the usual one."""
    own, shared = proxy.get("securityContext") or {}, (pod.get("spec") or {}).get("securityContext") or {}
    user, group = (own.get(name) or shared.get(name) or _PROXY_ID for name in ("runAsUser", "runAsGroup"))
    return str(user), str(group)


def _ports(text: str) -> list[str]:
    return [each.strip() for each in text.split(",") if each.strip()]


def _metadata(pod: Json, name: str) -> Mapping[str, str]:
    return (pod.get("metadata") or {}).get(name) or {}


def _containers(pod: Json) -> Mapping[str, Json]:
    spec = pod.get("spec") or {}
    return {each["name"]: each for each in (*(spec.get("initContainers") or ()), *(spec.get("containers") or ()))}
