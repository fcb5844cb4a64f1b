"""The control plane, with its event loop watched: ``python -m bench.watched serve ...``.

From SIGUSR1 to SIGUSR2 it notes the most processor time that the loop's thread takes in one turn, and then writes it,
in seconds, to the file that the variable ``BENCH_WATCH`` names. What other programs take of the machine has no part.
"""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

from bench.turns import Turns
from controlplane.cli.main import main
from controlplane.wiring import app

RESULT = Path(os.environ["BENCH_WATCH"])


class Watched(app.ControlPlane):
    """A control plane whose loop is watched when it is told."""

    async def serve(self) -> None:
        """Serve as ever."""
        loop, watch = asyncio.get_running_loop(), Watch()
        loop.add_signal_handler(signal.SIGUSR1, watch.begin)
        loop.add_signal_handler(signal.SIGUSR2, watch.end)
        await super().serve()


class Watch:
    """Watches the loop while it is told to."""

    def __init__(self) -> None:
        self._turns = Turns()
        self.begin = self._turns.begin

    def end(self) -> None:
        """Write what was seen."""
        self._turns.end()
        partial = RESULT.with_suffix(".tmp")
        partial.write_text(f"{self._turns.longest:.6f}")
        partial.replace(RESULT)


if __name__ == "__main__":
    app.ControlPlane = Watched  # type: ignore[misc]
    main()
