"""Functions of sprig on texts."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

import re2

from controlplane.gotemplate.arguments import MAX_CHARACTERS, bounded, integer, items, text
from controlplane.gotemplate.errors import FunctionError
from controlplane.gotemplate.values import printed


def shown(value: object) -> str:
    """Return any value as text; nothing is empty."""
    return "" if value is None else printed(value)


def _indented(spaces: Any, value: Any) -> str:  # noqa: ANN401 - any values
    count = integer(spaces)
    if not 0 <= count <= MAX_CHARACTERS:
        raise FunctionError("cannot indent by so much")
    pad = " " * count
    source = text(value)
    if len(pad) * (source.count("\n") + 1) > MAX_CHARACTERS:
        raise FunctionError(f"makes more than {MAX_CHARACTERS} characters")
    return pad + source.replace("\n", f"\n{pad}")


def _repeated(count: Any, value: Any) -> str:  # noqa: ANN401 - any values
    times = integer(count)
    if times * len(text(value)) > MAX_CHARACTERS:
        raise FunctionError(f"makes more than {MAX_CHARACTERS} characters")
    return text(value) * times


def _replaced(old: Any, new: Any, value: Any) -> str:  # noqa: ANN401 - any values
    source, what, by = text(value), text(old), text(new)
    if (source.count(what) + 1) * len(by) > MAX_CHARACTERS:
        raise FunctionError(f"makes more than {MAX_CHARACTERS} characters")
    return source.replace(what, by)


def _truncated(count: Any, value: Any) -> str:  # noqa: ANN401 - any values
    length = integer(count)
    return text(value)[length:] if length < 0 else text(value)[:length]


def _part(start: Any, end: Any, value: Any) -> str:  # noqa: ANN401 - any values
    begin, last, source = integer(start), integer(end), text(value)
    return source[max(begin, 0) :] if last < 0 or last > len(source) else source[max(begin, 0) : last]


def _quoted(*values: Any) -> str:  # noqa: ANN401 - any values
    return " ".join(json.dumps(shown(each), ensure_ascii=False) for each in values if each is not None)


def _single_quoted(*values: Any) -> str:  # noqa: ANN401 - any values
    return " ".join(f"'{shown(each)}'" for each in values if each is not None)


def _joined(separator: Any, value: Any) -> str:  # noqa: ANN401 - any values
    found = items(value) if isinstance(value, (list, tuple)) else [value]
    return bounded(text(separator).join(shown(each) for each in found if each is not None))


def _split(separator: Any, value: Any) -> dict[str, str]:  # noqa: ANN401 - any values
    return {f"_{at}": each for at, each in enumerate(_parts(separator, value))}


def _split_some(separator: Any, count: Any, value: Any) -> dict[str, str]:  # noqa: ANN401 - any values
    return {f"_{at}": each for at, each in enumerate(_parts(separator, value, integer(count) - 1))}


def _parts(separator: Any, value: Any, most: int = -1) -> list[str]:  # noqa: ANN401 - any values
    by = text(separator)
    return text(value).split(by, most) if by else list(text(value))


def _words(value: Any) -> list[str]:  # noqa: ANN401 - any value
    """Cut a text at separators and where a capital follows a small letter."""
    spaced = str(re2.sub(r"([\p{Ll}\pN])(\p{Lu})", r"\1 \2", text(value)))
    return [each for each in re2.split(r"[^\pL\pN]+", spaced) if each]


def _expression(pattern: Any) -> Any:  # noqa: ANN401 - an expression of re2
    try:
        return re2.compile(text(pattern))
    except re2.error as error:
        raise FunctionError(f"error parsing regexp: {error}") from error


def _expanded(form: str) -> str:
    """Return Go's ``${1}`` and ``$name`` as re2's Python module writes them."""
    return str(re2.sub(r"\$(?:\{([\pL\pN_]+)\}|([\pL\pN_]+))", r"\\g<\1\2>", form.replace("\\", "\\\\")))


def _found(pattern: Any, value: Any) -> str:  # noqa: ANN401 - any values
    found = _expression(pattern).search(text(value))
    return found[0] if found else ""


def _every(pattern: Any, value: Any, count: Any) -> list[str]:  # noqa: ANN401 - any values
    every = [each[0] for each in _expression(pattern).finditer(text(value))]
    return every if integer(count) < 0 else every[: integer(count)]


def _decoded(value: Any) -> str:  # noqa: ANN401 - any value
    try:
        return base64.b64decode(text(value), validate=True).decode(errors="replace")
    except ValueError as error:
        return str(error)


def _title(value: Any) -> str:  # noqa: ANN401 - any value
    return " ".join(f"{each[:1].upper()}{each[1:]}" for each in text(value).split(" "))


def _digest(name: str) -> Callable[[Any], str]:
    return lambda value: hashlib.new(name, text(value).encode(), usedforsecurity=False).hexdigest()


FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "trim": lambda value: text(value).strip(),
    "trimAll": lambda chars, value: text(value).strip(text(chars)),
    "trimall": lambda chars, value: text(value).strip(text(chars)),
    "trimPrefix": lambda prefix, value: text(value).removeprefix(text(prefix)),
    "trimSuffix": lambda suffix, value: text(value).removesuffix(text(suffix)),
    "upper": lambda value: text(value).upper(),
    "lower": lambda value: text(value).lower(),
    "title": _title,
    "untitle": lambda value: text(value)[:1].lower() + text(value)[1:],
    "repeat": _repeated,
    "replace": _replaced,
    "substr": _part,
    "trunc": _truncated,
    "nospace": lambda value: "".join(text(value).split()),
    "contains": lambda part, value: text(part) in text(value),
    "hasPrefix": lambda prefix, value: text(value).startswith(text(prefix)),
    "hasSuffix": lambda suffix, value: text(value).endswith(text(suffix)),
    "quote": _quoted,
    "squote": _single_quoted,
    "cat": lambda *values: " ".join(shown(each) for each in values if each is not None),
    "indent": _indented,
    "nindent": lambda spaces, value: "\n" + _indented(spaces, value),
    "initials": lambda value: "".join(each[:1] for each in text(value).split()),
    "plural": lambda one, many, count: one if integer(count) == 1 else many,
    "snakecase": lambda value: "_".join(_words(value)).lower(),
    "kebabcase": lambda value: "-".join(_words(value)).lower(),
    "camelcase": lambda value: "".join(each[:1].upper() + each[1:].lower() for each in _words(value)),
    "toString": shown,
    "join": _joined,
    "split": _split,
    "splitn": _split_some,
    "splitList": _parts,
    "regexMatch": lambda pattern, value: bool(_expression(pattern).search(text(value))),
    "regexFind": _found,
    "regexFindAll": _every,
    "regexReplaceAll": lambda pattern, value, by: bounded(
        str(_expression(pattern).sub(_expanded(text(by)), text(value)))
    ),
    "regexReplaceAllLiteral": lambda pattern, value, by: bounded(
        str(_expression(pattern).sub(lambda _: text(by), text(value)))
    ),
    "regexQuoteMeta": lambda value: re2.escape(text(value)),
    "b64enc": lambda value: base64.b64encode(text(value).encode()).decode(),
    "b64dec": _decoded,
    "sha1sum": _digest("sha1"),
    "sha256sum": _digest("sha256"),
    "base": lambda value: text(value).rstrip("/").rpartition("/")[2] or ("/" if value else "."),
    "dir": lambda value: text(value).rpartition("/")[0] or ("/" if text(value).startswith("/") else "."),
}
"""By name."""
