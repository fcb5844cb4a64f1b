"""Why a template cannot be read or run."""

from __future__ import annotations


class TemplateError(ValueError):
    """A template cannot be read, or fails; ``str()`` says where and why."""


class FunctionError(ValueError):
    """A function does not take its arguments; the evaluation says where."""
