"""Whether a pod is injected, for which a webhook was called."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any

from controlplane.apis.mesh import LabelSelector
from controlplane.injector.settings import InjectorConfig
from controlplane.model.label_selector import matches

INJECT = "sidecar.istio.io/inject"
_WORDS = ("true", "false")
_POLICIES = ("enabled", "disabled")
SYSTEM_NAMESPACES = frozenset({"kube-system", "kube-public", "kube-node-lease", "local-path-storage"})


class Decision(Enum):
    """What becomes of a pod: injected, or left alone, and why."""

    INJECTED = "injected"
    HOST_NETWORK = "has host networking enabled"
    SYSTEM_NAMESPACE = "is in a namespace of the system"
    DISABLED = "has sidecar injection disabled"


def decision(pod: Mapping[str, Any], namespace: str, config: InjectorConfig) -> Decision:
    """Decide: the pod's network and namespace, its own word, the selectors, then the policy.

    A label goes before the annotation of the same name. Other words than ``true`` and ``false`` say nothing. A policy
    that is neither ``enabled`` nor ``disabled`` injects nothing, whatever a pod says.
    """
    metadata = pod.get("metadata") or {}
    labels = metadata.get("labels") or {}
    if (pod.get("spec") or {}).get("hostNetwork"):
        return Decision.HOST_NETWORK
    if namespace in SYSTEM_NAMESPACES:
        return Decision.SYSTEM_NAMESPACE
    if config.policy not in _POLICIES:
        return Decision.DISABLED
    wanted = _own_word(labels, metadata.get("annotations") or {})
    if wanted is None and _any(config.never, labels):
        wanted = False
    if wanted is None and _any(config.always, labels):
        wanted = True
    if wanted is None:
        wanted = config.policy == "enabled"
    return Decision.INJECTED if wanted else Decision.DISABLED


def doubts(pod: Mapping[str, Any], config: InjectorConfig) -> tuple[str, ...]:
    """Return what the user should know of a decision: words that say nothing."""
    found = []
    metadata = pod.get("metadata") or {}
    for place in ("labels", "annotations"):
        word = (metadata.get(place) or {}).get(INJECT)
        if word and word not in _WORDS:
            found.append(f"metadata.{place}[{INJECT}]: {word!r} is neither true nor false, and is ignored")
    if config.policy not in _POLICIES:
        found.append(f"the injector's policy {config.policy!r} is none of {', '.join(_POLICIES)}: nothing is injected")
    return tuple(found)


def _own_word(labels: Mapping[str, str], annotations: Mapping[str, str]) -> bool | None:
    word = labels[INJECT] if INJECT in labels else annotations.get(INJECT)
    return word == "true" if word in _WORDS else None


def _any(selectors: Iterable[LabelSelector], labels: Mapping[str, str]) -> bool:
    """Whether a selector matches; one without conditions matches nothing here."""
    return any((each.match_labels or each.match_expressions) and matches(each, labels) for each in selectors)
