"""Label selectors as Kubernetes' objects have them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from controlplane.analysis import raw
from controlplane.apis.mesh import LabelSelector, LabelSelectorRequirement


def label_selector(written: Mapping[str, Any]) -> LabelSelector:
    """Read a selector; an empty one selects everything."""
    conditions = tuple(
        LabelSelectorRequirement(
            key=raw.text(each, "key"), operator=raw.text(each, "operator"), values=tuple(raw.texts(each, "values"))
        )
        for _, each in raw.mappings(written, "matchExpressions")
    )
    return LabelSelector(match_labels=raw.string_map(written, "matchLabels"), match_expressions=conditions)
