"""From the ``spec`` as written to a model, or to every problem at once."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field
from importlib import import_module
from itertools import compress
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from controlplane.apis.kinds import KINDS
from controlplane.apis.problems import IGNORED, UNKNOWN_FIELD, Problem, path_text, problems_of
from controlplane.apis.validation.report import BUDGET_SECONDS, OverBudgetError, Report, Subject

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from controlplane.apis.common import ApiModel

ROOT = "spec"
_LONGEST = 500


@dataclass(frozen=True, slots=True)
class ParsedSpec:
    """What a ``spec`` gave: ``model`` is ``None`` exactly when there are ``problems``; warnings stand beside both."""

    model: ApiModel | None
    problems: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = field(default=())


def parse_spec(kind: str, raw: object, subject: Subject, *, strict: bool = False) -> ParsedSpec:
    """Read the ``spec`` of an object of this kind (a key of ``KINDS``; ``KeyError`` otherwise).

    Unknown fields are dropped with a warning each, or with ``strict`` are problems; so they are in policies that may
    let in more without them: authentication, and an AuthorizationPolicy that allows. ``subject`` is whose spec it is:
    some rules depend on the name and namespace.
    """
    model_type = KINDS[kind].load()
    raw = {} if raw is None else raw
    try:
        model = model_type.model_validate(raw)
    except ValidationError as error:
        return _second_look(kind, raw, subject, error, strict=strict)
    report = check(kind, model, subject)
    return ParsedSpec(None if report.errors else model, tuple(report.errors), tuple(report.warnings))


def check(kind: str, model: ApiModel, subject: Subject) -> Report:
    """Apply the rules of the kind that go beyond its schema."""
    report = Report()
    module = KINDS[kind].rules_module
    if module:
        rules = import_module(f"controlplane.apis.validation.{module}")
        try:
            errors, warnings = rules.problems(model, subject)
        except OverBudgetError:
            report.error("", f"takes more than {BUDGET_SECONDS:g} s to check: it must be smaller or simpler")
        else:
            report.errors.extend(errors)
            report.warnings.extend(warnings)
    return report


def _second_look(kind: str, raw: object, subject: Subject, error: ValidationError, *, strict: bool) -> ParsedSpec:
    """Tell unknown fields from real problems, and look for more problems in what is left without them."""
    found = problems_of(error, ROOT)
    details = error.errors(include_url=False, include_context=False, include_input=False)
    is_unknown = [each["type"] == UNKNOWN_FIELD for each in details]
    broken = [each["loc"] for each, is_new in zip(details, is_unknown, strict=True) if not is_new]
    refuses = strict or _widens(kind, raw)
    is_ignored = [is_new and not refuses for is_new in is_unknown]
    schema = [problem for problem, passed in zip(found, is_ignored, strict=True) if not passed]
    ignored = [Problem(each.path, IGNORED) for each in compress(found, is_ignored)]
    rest = _without(raw, broken)
    try:
        model = KINDS[kind].load().model_validate(rest, extra="ignore") if rest is not None else None
    except ValidationError as deeper:  # found by what looks at a whole only where each part is known
        model = None
        schema = schema or list(problems_of(deeper, ROOT))
    report = Report() if model is None else check(kind, model, subject)
    consequences = _Places(path_text(location, ROOT) for location in broken)
    rules = [each for each in report.errors if not consequences.touch(each.path)]
    problems = (*schema, *rules)
    return ParsedSpec(None if problems else model, problems, (*ignored, *report.warnings))


def _widens(kind: str, raw: object) -> bool:
    """Whether a policy may let in more without a field that is not known: a condition, for whom it is, or its mode."""
    if kind == "AuthorizationPolicy":
        return not isinstance(raw, dict) or raw.get("action") in (None, "ALLOW")
    return kind in ("PeerAuthentication", "RequestAuthentication")


def _without(raw: object, locations: Sequence[tuple[int | str, ...]]) -> Any:  # noqa: ANN401 - unread YAML
    """A copy without the broken fields; ``None`` where one is not simply a key that can be left out."""
    if not locations:
        return raw
    copy: Any = deepcopy(raw)
    for location in locations:
        target = copy
        if not location or not isinstance(location[-1], str):
            return None
        for part in location[:-1]:
            try:
                target = target[part]
            except (KeyError, IndexError, TypeError):
                return None
        if not isinstance(target, dict) or location[-1] not in target:
            return None
        del target[location[-1]]
    return copy


class _Places:
    """Paths, asked for whether another is above, at or below one of them."""

    def __init__(self, paths: Iterable[str]) -> None:
        self._paths = {path for path in paths if path}
        self._above = {path[:end] for path in self._paths for end in _ends(path)}

    def touch(self, path: str) -> bool:
        """Whether a rule's problem may only be a consequence of a field that was left out."""
        return path in self._above or any(path[:end] in self._paths for end in _ends(path))


def _ends(path: str) -> list[int]:
    """Where the steps of a path end; of an endless one only the first are told apart."""
    inner = [at for at, char in enumerate(path[:_LONGEST]) if char in ".["]
    return [*inner, len(path)]
