"""What many proxies cost, on a small mesh: ``make bench ARGS=--crowd``.

Proxies that come back all at once, and a change that every proxy's class could depend on but does not: another endpoint
of a headless service is another listener for all, and makes none of them another kind of client.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta

from rich.box import MARKDOWN
from rich.table import Table

from bench.phases import Figures

SERVICES = 100
RECONNECTING = 2_000
CHANGING = 4_000

Crowd = Mapping[str, Figures]
"""One run: ``connect`` and ``reconnect`` of the first crowd, ``headless`` of the second."""

_MS, _S = timedelta(milliseconds=1), timedelta(seconds=1)


def _median(figures: Figures) -> float | None:
    return figures.median / _MS if figures.median is not None else None


_ROWS: tuple[tuple[str, str, Callable[[Crowd], float | None]], ...] = (
    (f"first connect of {RECONNECTING:,} proxies, CPU", "s", lambda crowd: crowd["connect"].cpu / _S),
    (f"reconnect of {RECONNECTING:,} proxies, CPU", "s", lambda crowd: crowd["reconnect"].cpu / _S),
    (
        f"reconnect of {RECONNECTING:,} proxies, to the last response",
        "s",
        lambda crowd: crowd["reconnect"].elapsed / _S,
    ),
    (
        f"reconnect of {RECONNECTING:,} proxies, sent again",
        "%",
        lambda crowd: 100 * crowd["reconnect"].bytes / crowd["connect"].bytes if crowd["connect"].bytes else None,
    ),
    (f"headless endpoint at {CHANGING:,} proxies, CPU", "ms", lambda crowd: crowd["headless"].cpu_each / _MS),
    (f"headless endpoint at {CHANGING:,} proxies, to the last proxy", "ms", lambda crowd: _median(crowd["headless"])),
)


def crowd_table(crowd: Crowd) -> Table:
    """Return the table; it prints as Markdown."""
    table = Table("figure", "unit", box=MARKDOWN)
    table.add_column("measured", justify="right")
    for name, unit, figure in _ROWS:
        got = figure(crowd)
        table.add_row(name, unit, "-" if got is None else f"{got:.3g}" if got < 100 else f"{got:,.0f}")
    return table
