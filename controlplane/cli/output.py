"""Prints tables in istioctl's plain columns, and values as JSON or YAML.

Text comes first: tools read it. On a terminal the words that matter are coloured, with rich.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from controlplane.printable import printable

if TYPE_CHECKING:
    from rich.text import Text

STYLES = {
    "ERROR": "bold red",
    "STALE": "yellow",
    "NOT SENT": "yellow",
    "SYNCED": "green",
    "IGNORED": "dim",
    "UNHEALTHY": "red",
    "FAILED": "red",
    "HEALTHY": "green",
}


def table(header: Sequence[str], rows: Iterable[Sequence[object]], padding: int = 5) -> str:
    """Return lines whose columns are as wide as their widest cell and ``padding`` blanks, without borders.

    A cell is one line, whatever is in it.
    """
    lines = [list(header), *([printable(str(cell)) for cell in row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) + padding for column in range(len(header))]
    padded = ("".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)
    return "\n".join(line.rstrip() for line in padded)


def print_text(text: str) -> None:
    """Print text, with colours where a person reads it; what is of peers and objects cannot move the cursor."""
    if not has_colours():
        print(printable(text, keep="\n"))
        return
    from rich.console import Console

    Console(highlight=False, soft_wrap=True).print(coloured(text))


def print_aside(text: str) -> None:
    """Print text on standard error, likewise."""
    print(printable(text, keep="\n"), file=sys.stderr)


class Slowness(NamedTuple):
    """When it is told what takes so long: after so many seconds for the first time, then each so many seconds."""

    first: float
    then: float


ON_TERMINAL = Slowness(2.0, 10.0)
IN_CI = Slowness(60.0, 60.0)
"""Where nobody looks on: a log that says nothing for minutes looks as if nothing went on."""


@contextmanager
def told_if_slow(doing: str | Callable[[], str], slowness: Slowness | None = None) -> Iterator[None]:
    """Tell on standard error what takes so long, again and again while it lasts."""
    first, then = slowness or (ON_TERMINAL if sys.stderr.isatty() else IN_CI)
    done, begun = threading.Event(), time.monotonic()

    def tell() -> None:
        pause = first
        while not done.wait(pause):
            text = doing if isinstance(doing, str) else doing()
            print_aside(f"{text} ({time.monotonic() - begun:.0f} s)")
            pause = then

    teller = threading.Thread(target=tell, daemon=True)
    teller.start()
    try:
        yield
    finally:
        done.set()
        teller.join()


def coloured(text: str) -> Text:
    """Return the text with the words of ``STYLES`` and the headings coloured."""
    from rich.text import Text

    styled = Text(printable(text, keep="\n"))
    for word, style in STYLES.items():
        styled.highlight_regex(rf"(?<![\w-]){word}(?![\w-])", style)
    return styled


def has_colours() -> bool:
    """Whether standard output is a terminal that wants colours. Reference: https://no-color.org."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def print_value(value: Any, style: str) -> None:  # noqa: ANN401 - any JSON value
    """Print a JSON value as ``json`` or ``yaml``."""
    if style == "json":
        print(json.dumps(value, indent=4))
        return
    import yaml

    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    print(yaml.dump(value, Dumper=dumper, sort_keys=False, default_flow_style=False), end="")
