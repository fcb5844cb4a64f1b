"""Each attack in small, beside an honest proxy: changes and probes of health arrive in time, and memory stays.

``make test-attack ARGS=-s`` prints what was measured.
"""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

import pytest

from tests.attack.beside import (
    LATEST_ANSWER,
    LATEST_CHANGE,
    MOST_GROWN,
    SECURE,
    attackable,
    attacked,
    change,
    measured,
    memory,
)
from tests.attack.floods import FLOODS
from tests.feature.client import Variant, connected
from tests.feature.server import Server

SECONDS = 2.0
USUAL_CHANGE, USUAL_ANSWER = 1.0, 0.1
"""Seconds of work that half of them may take at most."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with attackable(tmp_path_factory.mktemp("attack")) as running:
        yield running


CASES = [pytest.param(kind, False, id=kind) for kind in FLOODS]
CASES += [pytest.param(kind, True, id=f"{kind}-tls") for kind in SECURE]


@pytest.mark.parametrize(("kind", "tls"), CASES)
async def test_honest_proxies_and_probes_are_served_in_time(server: Server, kind: str, *, tls: bool) -> None:
    async with connected(server.xds, Variant.DELTA) as client:
        await change(server, client)
        quiet = await measured(server, 0.7, client)
        before = memory(server)
        async with attacked(server, kind, tls=tls, seconds=SECONDS) as said:
            loaded = await measured(server, SECONDS - 0.3, client)
        after = await change(server, client)
    quiet_seconds, seconds = (
        [[each.seconds for each in waited] for waited in (found.changes, found.answers)] for found in (quiet, loaded)
    )
    changes, answers = ([each.work for each in waited] for waited in (loaded.changes, loaded.answers))
    print(
        f"\n{kind}{' (TLS)' if tls else ''}: {said['connections']} connections, {said['sent_bytes']:,} bytes; change"
        f" {median(quiet_seconds[0]) * 1e3:.0f} -> {median(seconds[0]) * 1e3:.0f},"
        f" at most {max(seconds[0]) * 1e3:.0f} ms ({max(changes) * 1e3:.0f} of work); /ready"
        f" {median(quiet_seconds[1]) * 1e3:.1f} -> {median(seconds[1]) * 1e3:.1f}, at most"
        f" {max(seconds[1]) * 1e3:.0f} ms ({max(answers) * 1e3:.0f} of work);"
        f" memory {(loaded.memory - before) >> 20:+} MB"
    )
    assert server.process.poll() is None
    assert max(changes) < LATEST_CHANGE
    assert median(changes) < USUAL_CHANGE
    assert max(answers) < LATEST_ANSWER
    assert median(answers) < USUAL_ANSWER
    assert loaded.memory - before < MOST_GROWN
    assert after.work < LATEST_CHANGE
    assert not server.logged("http2.broken")
    assert not server.logged("ads.failed")
