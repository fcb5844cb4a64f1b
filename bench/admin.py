"""How long the pages of the monitoring port hold up everything else: ``python -m bench.run --admin``.

Every proxy has refused one listener. "Held" is the most processor time that the thread of the event loop takes in one
turn while a page is read: for as long nothing else is served. Where no page is read, it is what the control plane does
of itself.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from statistics import median_low

from rich.box import MARKDOWN
from rich.table import Table

from bench.subject import WatchedControlPlane

LISTENER = "0.0.0.0_80"
SERVICES, PROXIES = 5_000, 1_000
MOST = timedelta(milliseconds=5)
NOTHING = ""
PROXY = "client-7.ns-7"
PAGES = (
    NOTHING,
    "/ready",
    "/metrics",
    "/debug/syncz",
    "/debug/syncz?limit=100",
    f"/debug/syncz?proxyID={PROXY}",
    "/debug/connections",
    "/debug/adsz?limit=100",
    "/debug/registryz",
    "/debug/endpointz",
    "/debug/rejectedz",
    f"/debug/config_dump?proxyID={PROXY}",
    f"/debug/edsz?proxyID={PROXY}",
    "/api/v1/overview",
    "/api/v1/proxies?limit=500",
    f"/api/v1/proxies/{PROXY}",
    f"/api/v1/proxies/{PROXY}/resources?type=CDS&limit=500",
    "/api/v1/services?limit=500",
    "/api/v1/topology",
    "/ui",
    "/ui/proxies?limit=500",
    f"/ui/proxies/{PROXY}",
    "/ui/services?limit=500",
    "/ui/topology",
)
ROUNDS = 5
_CHUNK = 1 << 20
_TIMEOUT_SECONDS = 120


@dataclass(frozen=True, slots=True)
class PageFigures:
    """One page: its size, how long reading it took, the server's processor time for it, and how long the loop was held.

    Medians of the rounds; ``held`` is that of the longest in each.
    """

    page: str
    size_bytes: int
    elapsed: timedelta
    cpu: timedelta
    held: timedelta


def page_figures(subject: WatchedControlPlane, pages: Iterable[str] = PAGES) -> Iterator[PageFigures]:
    """Yield the figures of each page."""
    for page in pages:
        rounds = [_round(subject, page) for _ in range(ROUNDS)]
        yield PageFigures(
            page,
            rounds[0].size_bytes,
            median_low(each.elapsed for each in rounds),
            median_low(each.cpu for each in rounds),
            median_low(each.held for each in rounds),
        )


def _round(subject: WatchedControlPlane, page: str) -> PageFigures:
    """Read a page twice: watching takes time itself."""
    before, began = subject.usage(), time.perf_counter()
    size = _read(subject, page)
    elapsed, cpu = time.perf_counter() - began, subject.usage().cpu - before.cpu
    with subject.watched() as held:
        _read(subject, page)
    return PageFigures(page, size, timedelta(seconds=elapsed), cpu, held[0])


def _read(subject: WatchedControlPlane, page: str) -> int:
    if page == NOTHING:
        time.sleep(1)
        return 0
    return read(subject.monitoring, page)


@contextmanager
def _asking(address: str, page: str) -> Iterator[socket.socket]:
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=_TIMEOUT_SECONDS) as connection:
        connection.sendall(f"GET {page} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
        yield connection


def read(address: str, page: str) -> int:
    """Read a page and return how many bytes there are in it, heads included.

    Raises:
        RuntimeError: the answer is not good.
    """
    size = 0
    with _asking(address, page) as connection:
        while got := connection.recv(_CHUNK):
            if not size and b" 200 " not in got[:20]:
                raise RuntimeError(f"{page}: {got[:200]!r}")
            size += len(got)
    return size


def admin_table(figures: Iterable[PageFigures]) -> Table:
    """Return the table of the pages; it prints as Markdown."""
    table = Table("page", box=MARKDOWN)
    for column in ("MB", "to its end, ms", "CPU, ms", "loop held, ms", "aim"):
        table.add_column(column, justify="right")
    for each in figures:
        held = f"{each.held / timedelta(milliseconds=1):.1f}"
        table.add_row(
            each.page or "(none)",
            f"{each.size_bytes / 1e6:.2f}",
            f"{each.elapsed / timedelta(milliseconds=1):,.0f}",
            f"{each.cpu / timedelta(milliseconds=1):,.0f}",
            f"[red]{held}[/red]" if each.held > MOST else held,
            f"{MOST / timedelta(milliseconds=1):.0f}",
        )
    return table


def missed_pages(figures: Iterable[PageFigures]) -> Iterator[str]:
    """Name each page that holds the loop for longer than it may."""
    for each in figures:
        if each.held > MOST:
            yield f"{each.page or 'no page'}: the loop is held for {each.held / timedelta(milliseconds=1):.1f} ms"
