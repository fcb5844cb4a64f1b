"""Whether labels fulfil a selector of Kubernetes' form, as ``discoverySelectors`` of the mesh configuration are."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from controlplane.apis.mesh import LabelSelector, LabelSelectorRequirement


def any_matches(selectors: Iterable[LabelSelector], labels: Mapping[str, str]) -> bool:
    """Whether labels fulfil one of several selectors."""
    return any(matches(selector, labels) for selector in selectors)


def matches(selector: LabelSelector, labels: Mapping[str, str]) -> bool:
    """Whether labels fulfil all conditions of a selector; an unknown operator is fulfilled by nothing."""
    return all(labels.get(key) == value for key, value in selector.match_labels.items()) and all(
        _fulfils(condition, labels) for condition in selector.match_expressions
    )


def _fulfils(condition: LabelSelectorRequirement, labels: Mapping[str, str]) -> bool:
    match condition.operator:
        case "In":
            return labels.get(condition.key) in condition.values
        case "NotIn":
            return labels.get(condition.key) not in condition.values
        case "Exists":
            return condition.key in labels
        case "DoesNotExist":
            return condition.key not in labels
        case _:
            return False
