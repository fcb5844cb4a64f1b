"""Regular expressions, by the rules of the Envoy that runs them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import re2

from controlplane.kept import kept

if TYPE_CHECKING:
    from controlplane.apis.validation.report import Report

MAX_REGEX = 1024
"""Characters that an object may have in one expression."""
MAX_PROGRAM_SIZE = 32768
"""What the bootstrap allows (``re2.max_program_size.error_level``); without it Envoy takes 100."""

_LATIN_1 = re2.Options()
_LATIN_1.encoding = re2.Options.Encoding.LATIN1
_LATIN_1.log_errors = False


@kept(4096)
def envoy_regex_problem(pattern: str) -> str:
    """Why Envoy would not take this RE2 expression, or an empty text.

    Envoy compares bytes: it reads an expression as Latin-1, in which there is no code point above ff.
    """
    try:
        compiled = re2.compile(pattern.encode(), options=_LATIN_1)
    except re2.error as error:
        text = error.args[0] if error.args else error
        return f"is not an RE2 expression: {text.decode(errors='replace') if isinstance(text, bytes) else text}"
    if compiled.programsize > MAX_PROGRAM_SIZE:
        return f"compiles to a program of {compiled.programsize} instructions; Envoy takes {MAX_PROGRAM_SIZE}"
    return ""


def program_size(pattern: str) -> int:
    """Return how large Envoy's program of an RE2 expression is, of one that it takes."""
    return int(re2.compile(pattern.encode(), options=_LATIN_1).programsize)


def regex_problem(pattern: str) -> str:
    """Why an object may not have this expression, or an empty text."""
    if not pattern:
        return "must not be empty"
    if len(pattern) > MAX_REGEX:
        return f"must be at most {MAX_REGEX} characters"
    return envoy_regex_problem(pattern)


def check_regex(report: Report, path: str, pattern: str) -> None:
    """An RE2 expression of at most 1,024 characters that Envoy takes."""
    report.spend()
    if problem := regex_problem(pattern):
        report.error(path, problem)
