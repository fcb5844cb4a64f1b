"""Reading a raw mapping field by field, so that every mismatch becomes a problem with its path."""

from __future__ import annotations

from sys import intern
from typing import Any

MAX_PORT = 65535


class Fields:
    """One mapping of a raw object.

    Each method returns the field's value, or its default when the field is absent, null or of another type; the
    last case adds ``path: reason`` to ``problems``, a list shared by everything read from one object. Values are
    never part of a reason: they may be secret.
    """

    __slots__ = ("_path", "_raw", "problems")

    def __init__(self, raw: object, path: str, problems: list[str]) -> None:
        self.problems = problems
        self._path = path
        self._raw: dict[str, Any] = {}
        if isinstance(raw, dict):
            self._raw = raw
        elif raw is not None:
            self.problems.append(f"{path or 'object'}: expected a mapping, got {_noun(raw)}")

    def __contains__(self, name: str) -> bool:
        return self._raw.get(name) is not None

    @property
    def raw_object(self) -> dict[str, Any]:
        """The mapping itself."""
        return self._raw

    def path(self, name: str) -> str:
        """Return the path of a field, for a problem."""
        return f"{self._path}.{name}" if self._path else name

    def problem(self, name: str, reason: str) -> None:
        """Add a problem with a field."""
        self.problems.append(f"{self.path(name)}: {reason}")

    def raw(self, name: str) -> object:
        """Return the field as it is; ``None`` where absent."""
        return self._raw.get(name)

    def text(self, name: str, default: str = "") -> str:
        """Return a text field."""
        value = self._raw.get(name)
        if type(value) is str:
            return value
        if value is not None:
            self.problem(name, f"expected text, got {_noun(value)}")
        return default

    def flag(self, name: str) -> bool | None:
        """Return a boolean field; ``None`` where absent."""
        value = self._raw.get(name)
        if value is None or value is True or value is False:
            return value
        self.problem(name, f"expected true or false, got {_noun(value)}")
        return None

    def number(self, name: str, low: int = 0, high: int = MAX_PORT) -> int | None:
        """Return an integer field within ``low..high``; ``None`` where absent or wrong."""
        value = self._raw.get(name)
        if value is None:
            return None
        if type(value) is not int:
            self.problem(name, f"expected an integer, got {_noun(value)}")
            return None
        if not low <= value <= high:
            self.problem(name, f"must be between {low} and {high}")
            return None
        return value

    def fields(self, name: str) -> Fields:
        """Return a field that is a mapping; empty where absent."""
        return Fields(self._raw.get(name), self.path(name), self.problems)

    def each(self, name: str) -> list[Fields]:
        """Return a field that is a list of mappings."""
        path = self.path(name)
        return [Fields({} if item is None else item, f"{path}[{at}]", self.problems) for at, item in self._list(name)]

    def texts(self, name: str) -> tuple[str, ...]:
        """Return a field that is a list of texts."""
        found = []
        for at, item in self._list(name):
            if type(item) is str:
                found.append(item)
            else:
                self.problem(f"{name}[{at}]", f"expected text, got {_noun(item)}")
        return tuple(found)

    def text_map(self, name: str) -> dict[str, str]:
        """Return a field that maps text to text."""
        value = self._raw.get(name)
        if value is None:
            return {}
        if not isinstance(value, dict):
            self.problem(name, f"expected a mapping, got {_noun(value)}")
            return {}
        for key, item in value.items():
            if type(item) is not str or type(key) is not str:
                break
        else:
            return {intern(key): item for key, item in value.items()}  # the same few in very many objects
        good = {}
        for key, item in value.items():
            if type(item) is str and type(key) is str:
                good[key] = item
            else:
                self.problem(f"{name}.{key}", f"expected text, got {_noun(item)}; put it in quotes")
        return good

    def _list(self, name: str) -> list[tuple[int, Any]]:
        value = self._raw.get(name)
        if value is None:
            return []
        if isinstance(value, list):
            return list(enumerate(value))
        self.problem(name, f"expected a list, got {_noun(value)}")
        return []


_NOUNS: dict[type, str] = {
    bool: "a boolean", int: "an integer", float: "a number", str: "text", list: "a list", dict: "a mapping",
    type(None): "null",
}  # fmt: skip


def _noun(value: object) -> str:
    return _NOUNS.get(type(value), f"a {type(value).__name__}")
