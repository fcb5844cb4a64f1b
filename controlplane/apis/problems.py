"""Problems of an object as values, and pydantic's errors as such."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydantic import ValidationError

UNKNOWN_FIELD = "extra_forbidden"
UNKNOWN = "unknown field"
IGNORED = f"{UNKNOWN}, ignored"
_WORDING = {
    "missing": "is required",
    UNKNOWN_FIELD: UNKNOWN,
    "tuple_type": "input should be a valid list",  # a tuple is only our type
}
#: a problem may quote what somebody wrote, and that may be megabytes
MAX_TEXT = 500
_VALUE_ERROR = "Value error, "


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: where (``spec.http[0].timeout``, empty for the whole object) and why.

    ``code`` is that of its kind of problem, where there is one of its own (``IST0130``).
    """

    path: str
    reason: str
    code: str = ""

    def __str__(self) -> str:
        text = f"{self.path}: {self.reason}" if self.path else self.reason
        if len(text) <= MAX_TEXT:
            return text
        return f"{text[: MAX_TEXT // 2]} ... {text[-MAX_TEXT // 2 :]}"  # where and why are at the ends


def path_text(location: Iterable[int | str], root: str = "") -> str:
    """A path as people write it: names with dots, list positions in brackets."""
    text = root
    for part in location:
        if isinstance(part, int):
            text += f"[{part}]"
        elif part != "[key]":  # pydantic's word for a bad map key, which the part before names
            text += f".{part}" if text else part
    return text


def problems_of(error: ValidationError, root: str = "") -> list[Problem]:
    """Every error of a failed validation, in the order of the fields, with paths below ``root``."""
    return [
        Problem(
            path_text(each["loc"], root), _WORDING.get(each["type"]) or _lowered(each["msg"].removeprefix(_VALUE_ERROR))
        )
        for each in error.errors(include_url=False, include_context=False, include_input=False)
    ]


def _lowered(message: str) -> str:
    return (
        message[:1].lower() + message[1:] if message.startswith(("Input ", "String ", "Tuple ", "Diction")) else message
    )
