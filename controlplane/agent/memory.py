"""Keeps the process small: each pod pays for it."""

from __future__ import annotations

import ctypes
import gc
from pathlib import Path

_ARENA_MAX = -8  # M_ARENA_MAX of glibc's mallopt
_DONT_NEED = 4  # MADV_DONTNEED
_MAPS = Path("/proc/self/maps")
_COLUMNS = 4


def one_arena() -> None:
    """Have all threads take memory from one place; grpc's dozen threads would each keep their own. Call it first."""
    mallopt = getattr(_libc(), "mallopt", None)
    if mallopt is not None:
        mallopt(_ARENA_MAX, 1)


def settle() -> None:
    """Give back what only starting needed, and look for cycles rarely: hardly any are made."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 50, 100)
    trim = getattr(_libc(), "malloc_trim", None)
    if trim is not None:
        trim(0)
    _drop_code()


def _drop_code() -> None:
    """Let go of the pages of programs and libraries that only starting ran; what runs again is mapped again.

    Only code is dropped: it is never written, so the file has all of it.
    """
    advise = getattr(_libc(), "madvise", None)
    if advise is None or not _MAPS.exists():
        return
    for line in _MAPS.read_text(encoding="utf-8", errors="replace").splitlines():
        extent, permissions, *_, path = line.split(maxsplit=5) if line.count(" ") > _COLUMNS else ("", "", "")
        if permissions == "r-xp" and path.startswith("/"):
            start, end = (int(each, 16) for each in extent.split("-"))
            advise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), _DONT_NEED)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None)
