"""Why a pod cannot be injected."""

from __future__ import annotations


class InjectionError(ValueError):
    """The pod is refused; ``str()`` is the sentence that its owner reads."""
