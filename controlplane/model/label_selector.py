"""Label selectors as Kubernetes has them: which sets of labels they select."""

from __future__ import annotations

from collections.abc import Sequence

from controlplane.apis.mesh import LabelSelector, LabelSelectorRequirement
from controlplane.model.objects import Labels


def discovered(selectors: Sequence[LabelSelector], labels: Labels) -> bool:
    """Whether ``discoverySelectors`` select a namespace with these labels: one of them matches, or there are none."""
    return not selectors or any(matches(selector, labels) for selector in selectors)


def matches(selector: LabelSelector, labels: Labels) -> bool:
    """Whether labels fulfil all conditions of a selector; an unknown operator is fulfilled by nothing."""
    return all(labels.get(key) == value for key, value in selector.match_labels.items()) and all(
        _fulfils(condition, labels) for condition in selector.match_expressions
    )


def _fulfils(condition: LabelSelectorRequirement, labels: Labels) -> bool:
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
