"""What the program does around its work: keeping the event loop free, and saying how free it is."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from typing import NamedTuple

from controlplane import metrics
from controlplane.model.objects import ChangeSet
from controlplane.wiring.tasks import Supervisor

LAG_PROBE_SECONDS = 0.25


class Process(NamedTuple):
    """What the program has of which there is one.

    Its name, who runs its work, what installs its signal handlers, and where changes of the registry go.
    """

    identity: str
    supervisor: Supervisor
    signals: Callable[[], None]
    add: Callable[[ChangeSet], None]


def settle_memory() -> None:
    """Keep the collector away from what lives as long as the process: a full pass over it stops the loop.

    Nothing here makes cycles at a rate that matters; what there is, the rarer passes find.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 50, 100)


async def probe_lag() -> None:
    """Measure how late the event loop runs its timers, until cancelled."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + LAG_PROBE_SECONDS
        await asyncio.sleep(LAG_PROBE_SECONDS)
        metrics.EVENT_LOOP_LAG.observe(max(loop.time() - due, 0.0))
