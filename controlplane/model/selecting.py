"""Whom an object is for, where it says so by labels of workloads and analyzers with codes of Istio's do not look."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from controlplane.model import kinds

_LABELS = {
    kinds.PEER_AUTHENTICATION: ("selector", "match_labels", "spec.selector.matchLabels"),
    kinds.REQUEST_AUTHENTICATION: ("selector", "match_labels", "spec.selector.matchLabels"),
    kinds.PROXY_CONFIG: ("selector", "match_labels", "spec.selector.matchLabels"),
    kinds.WASM_PLUGIN: ("selector", "match_labels", "spec.selector.matchLabels"),
    kinds.TRAFFIC_EXTENSION: ("selector", "match_labels", "spec.selector.matchLabels"),
    kinds.ENVOY_FILTER: ("workload_selector", "labels", "spec.workloadSelector.labels"),
    kinds.SERVICE_ENTRY: ("workload_selector", "labels", "spec.workloadSelector.labels"),
    kinds.DESTINATION_RULE: ("workload_selector", "match_labels", "spec.workloadSelector.matchLabels"),
}
SELECTING_KINDS = tuple(_LABELS)
"""The kinds whose selectors are looked at."""
OF_ITS_NAMESPACE = frozenset({kinds.SERVICE_ENTRY, kinds.DESTINATION_RULE})
"""Kinds that select workloads of their own namespace alone, the root namespace too."""


class Selected(NamedTuple):
    """The labels that an object names, all of which a workload must have, and the path of the field."""

    labels: Mapping[str, str]
    path: str


def selected(kind: kinds.GroupKind, spec: Any) -> Selected | None:  # noqa: ANN401 - a model of these kinds
    """Return the labels that a spec of one of the kinds names, ``None`` where it is for all of its namespace."""
    field, labels, path = _LABELS[kind]
    selector = getattr(spec, field)
    named = getattr(selector, labels) if selector is not None else None
    return Selected(named, path) if named else None
