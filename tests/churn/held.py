"""What a control plane holds in memory: it tells by signal, and the churn compares.

Run as a program, ``held.py FILE serve ...`` is the control plane; on SIGUSR1 it writes FILE. Resident memory alone
cannot tell a leak: what is given back stays with the process where something else lies on the same page.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import json
import os
import signal
import sys
from collections import Counter
from dataclasses import dataclass, field
from functools import _lru_cache_wrapper
from pathlib import Path

from controlplane.ads.contents import EMPTY
from controlplane.ads.protocol import Renamed
from controlplane.ads.wire import Decoder, Encoder
from controlplane.cli.main import main as controlplane
from controlplane.constraints import remembered

PAUSE_SECONDS = 0.05
EVENTUALLY_SECONDS = 120.0
NAMED = 12
"""Kinds of objects that are named where memory grows."""
BLOCKS = 1.01
"""What the blocks of the last rest may be, by those of the second."""
SLACK_BLOCKS = 4_000
SLACK_BYTES = 2_000_000


@dataclass(frozen=True, slots=True)
class Holding:
    """What is held with neither proxies nor objects: blocks of Python's allocator, bytes of C's, objects by type."""

    blocks: int
    native_bytes: int
    objects: Counter[str] = field(default_factory=Counter)

    def growth(self, earlier: Holding) -> str:
        """Say what is more than earlier, empty where nothing is to speak of."""
        if (
            self.blocks <= BLOCKS * earlier.blocks + SLACK_BLOCKS
            and self.native_bytes <= earlier.native_bytes + SLACK_BYTES
        ):
            return ""
        more = ", ".join(f"{count} {name}" for name, count in (self.objects - earlier.objects).most_common(NAMED))
        return (
            f"the memory grows: {earlier.blocks} blocks were {self.blocks} at last, "
            f"{earlier.native_bytes} bytes {self.native_bytes}; more objects than before: {more or 'none'}"
        )


async def holding(pid: int, file: Path) -> Holding:
    """Ask a control plane that runs as this program."""
    _ask(pid, file)
    async with asyncio.timeout(EVENTUALLY_SECONDS):
        while (held := _told(file)) is None:
            await asyncio.sleep(PAUSE_SECONDS)
    return held


def _ask(pid: int, file: Path) -> None:
    file.unlink(missing_ok=True)
    os.kill(pid, signal.SIGUSR1)


def _told(file: Path) -> Holding | None:
    if not file.exists():
        return None
    told = json.loads(file.read_text(encoding="utf-8"))
    return Holding(told["blocks"], told["native_bytes"], Counter(told["objects"]))


class _Mallinfo2(ctypes.Structure):
    """``struct mallinfo2`` of glibc; ``uordblks`` are bytes in use, ``hblkhd`` those in maps of their own."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    ]


def _native_bytes() -> int:
    function = ctypes.CDLL(None).mallinfo2
    function.restype = _Mallinfo2
    found = function()
    return int(found.uordblks + found.hblkhd)


def _empty_caches() -> None:
    """Empty caches that have a bound: some take hours to fill, which looks like a leak."""
    remembered.forget()
    for each in gc.get_objects():
        if isinstance(each, _lru_cache_wrapper) and each.cache_info().maxsize is not None:
            each.cache_clear()
        elif isinstance(each, Encoder):  # of responses without a resource, which belong to no snapshot that ends
            each.forget(EMPTY)
        elif isinstance(each, Decoder | Renamed):  # of names in requests
            each.forget()


def _tell(file: Path) -> None:
    gc.unfreeze()  # what was there at the start counts too, and holds the caches
    _empty_caches()
    gc.collect()
    blocks = sys.getallocatedblocks()
    native = _native_bytes()
    objects = Counter(f"{type(each).__module__}.{type(each).__qualname__}" for each in gc.get_objects())
    gc.freeze()
    hidden = file.with_name(f".{file.name}")
    hidden.write_text(json.dumps({"blocks": blocks, "native_bytes": native, "objects": objects}), encoding="utf-8")
    hidden.rename(file)


def main() -> None:
    """Be the control plane."""
    file = Path(sys.argv.pop(1))
    signal.signal(signal.SIGUSR1, lambda *_: _tell(file))
    controlplane()


if __name__ == "__main__":
    main()
