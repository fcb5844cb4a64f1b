"""All functions that templates have: the language's, and sprig's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from controlplane.gotemplate import functions, sprig_texts, sprig_values

FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    **functions.FUNCTIONS,
    **sprig_values.FUNCTIONS,
    **sprig_texts.FUNCTIONS,
}
"""By name. ``slice`` is sprig's, which takes lists alone."""
