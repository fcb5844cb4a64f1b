"""The Kubernetes Gateway API: policies whose selectors have no effect on its gateways, and definitions too old."""

from __future__ import annotations

from collections.abc import Iterator

from controlplane.analysis import codes, raw
from controlplane.analysis.resources import Message, Resources, has_labels, message
from controlplane.model import kinds

_GATEWAY_NAME = "gateway.networking.k8s.io/gateway-name"
_BUNDLE_VERSION = "gateway.networking.k8s.io/bundle-version"
_POLICIES = (kinds.AUTHORIZATION_POLICY, kinds.REQUEST_AUTHENTICATION, kinds.TELEMETRIES, kinds.WASM_PLUGIN)
_MINIMUM = {
    "grpcroutes.gateway.networking.k8s.io": (1, 1, 0),
    "backendtlspolicies.gateway.networking.k8s.io": (1, 4, 0),
    "tlsroutes.gateway.networking.k8s.io": (1, 5, 0),
}
"""The first version of a definition whose objects are read."""


def selectors(resources: Resources) -> Iterator[Message]:
    """Find policies that select pods of a Kubernetes Gateway, which only ``targetRefs`` reach."""
    pods = [pod for pod in resources.of(kinds.POD) if _GATEWAY_NAME in pod.labels]
    for policy in (each for kind in _POLICIES for each in resources.of(kind)):
        if policy.spec.get("selector") is None or policy.spec.get("targetRef") or policy.spec.get("targetRefs"):
            continue
        selector = raw.string_map(policy.spec, "selector", "matchLabels")
        selected = (pod for pod in pods if pod.namespace == policy.namespace and has_labels(pod.labels, selector))
        for gateway in sorted({pod.labels[_GATEWAY_NAME] for pod in selected}):
            yield message(codes.INEFFECTIVE_SELECTOR, policy, "spec.selector", gateway=gateway)


def definitions(resources: Resources) -> Iterator[Message]:
    """Find definitions of kinds that are older than what is read."""
    for definition in resources.of(kinds.CUSTOM_RESOURCE_DEFINITION):
        stated = definition.annotations.get(_BUNDLE_VERSION, "")
        minimum, installed = _MINIMUM.get(definition.name), _version(stated)
        if minimum is not None and installed is not None and installed < minimum:
            yield message(
                codes.OLD_GATEWAY_API,
                definition,
                f"metadata.annotations.{_BUNDLE_VERSION}",
                crd=definition.name,
                installed=stated.removeprefix("v"),
                minimum=".".join(map(str, minimum)),
            )


def _version(text: str) -> tuple[int, int, int] | None:
    """Return the three numbers of a version such as ``v1.4.0-rc.1``, ``None`` where it is none."""
    release = text.removeprefix("v").partition("-")[0].partition("+")[0].split(".")
    if not all(each.isascii() and each.isdecimal() for each in release) or len(release) > 3:  # noqa: PLR2004
        return None
    numbers = [int(each[:9]) for each in release] + [0, 0]
    return numbers[0], numbers[1], numbers[2]
