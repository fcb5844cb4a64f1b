"""Environment variables as typed values; one that cannot be read is a reason not to start, and says which it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta

_TRUE = frozenset({"1", "t", "T", "true", "TRUE", "True"})
_FALSE = frozenset({"0", "f", "F", "false", "FALSE", "False"})
_UNITS = {
    "ns": 1e-9,
    "us": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
}


class StartError(Exception):
    """The agent cannot start; the text names the setting, file or address and what is wrong with it."""


class Environment:
    """Reads variables by name. An empty variable is like one that is not there."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables

    def text(self, name: str, default: str = "") -> str:
        """Return a variable, or the default."""
        return self._variables.get(name, "") or default

    def flag(self, name: str, *, default: bool = False) -> bool:
        """Return a boolean variable. Raises ``StartError``."""
        text = self.text(name)
        if not text:
            return default
        return truth(text, name)

    def number(self, name: str, default: int) -> int:
        """Return a whole number. Raises ``StartError``."""
        text = self.text(name)
        try:
            return int(text) if text else default
        except ValueError:
            raise StartError(f"{name}: {text!r} is not a whole number") from None

    def fraction(self, name: str, default: float) -> float:
        """Return a number from 0 to 1. Raises ``StartError``."""
        text = self.text(name)
        try:
            value = float(text) if text else default
        except ValueError:
            value = -1.0
        if not 0.0 <= value <= 1.0:
            raise StartError(f"{name}: {text!r} is not a number from 0 to 1")
        return value

    def duration(self, name: str, default: timedelta) -> timedelta:
        """Return a duration such as ``24h`` or ``1m30s``. Raises ``StartError``."""
        text = self.text(name)
        return duration(text, name) if text else default

    def starting(self, prefix: str) -> Iterator[tuple[str, str]]:
        """Yield the rest of the name and the value of each variable that starts so, by name."""
        for name, value in sorted(self._variables.items()):
            if name.startswith(prefix) and name != prefix:
                yield name.removeprefix(prefix), value


def truth(text: str, name: str) -> bool:
    """Read a boolean as Go's programs write it. Raises ``StartError`` with the name."""
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    raise StartError(f"{name}: {text!r} is neither true nor false")


def duration(text: str, name: str) -> timedelta:
    """Read a duration as Go's programs and protobuf write it: ``45s``, ``1.5h``, ``1m30s``. Raises ``StartError``."""
    wrong = StartError(f"{name}: {text!r} is not a duration such as 45s, 10m or 24h")
    seconds, amount, rest = 0.0, "", text
    if text in {"", "0"}:
        return timedelta()
    while rest:
        length = next((at for at, letter in enumerate(rest) if letter not in "0123456789."), len(rest))
        amount, rest = rest[:length], rest[length:]
        unit = next((unit for unit in ("ns", "us", "ms", "s", "m", "h") if rest.startswith(unit)), "")
        try:
            seconds += float(amount) * _UNITS[unit]
        except (ValueError, KeyError):
            raise wrong from None
        rest = rest.removeprefix(unit)
    try:
        return timedelta(seconds=seconds)
    except OverflowError:
        raise wrong from None
