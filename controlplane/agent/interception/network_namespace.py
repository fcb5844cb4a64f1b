"""Work in the network namespace of a pod, from a thread of this process."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_CLONE_NEWNET = 0x40000000
_OWN = Path("/proc/thread-self/ns/net")
_LIBRARY = ctypes.CDLL(None, use_errno=True)


class NamespaceError(Exception):
    """A network namespace cannot be entered; the message has its path and the kernel's words."""


@contextmanager
def network_namespace(where: Path | int) -> Iterator[None]:
    """Have this thread, and the programs that it starts, be in a network namespace for a while.

    ``where`` is its file, or a descriptor of that. Other threads stay where they are. Reference: setns(2).

    Raises:
        NamespaceError: there is none, or this process may not enter it (it needs ``CAP_SYS_ADMIN``).
    """
    try:
        own = os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise NamespaceError(f"network namespace {_OWN}: {error.strerror}") from error
    try:
        _enter(where)
        try:
            yield
        finally:
            _enter(own)
    finally:
        os.close(own)


def _enter(where: Path | int) -> None:
    try:
        descriptor = where if isinstance(where, int) else os.open(where, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            if _LIBRARY.setns(descriptor, _CLONE_NEWNET) != 0:
                number = ctypes.get_errno()
                raise OSError(number, os.strerror(number))
        finally:
            if not isinstance(where, int):
                os.close(descriptor)
    except OSError as error:
        raise NamespaceError(f"network namespace {_named(where)}: {error.strerror}") from error


def _named(where: Path | int) -> str:
    """Return what a person calls a namespace: of a descriptor the file that it is of."""
    if isinstance(where, Path):
        return str(where)
    try:
        return str(Path(f"/proc/self/fd/{where}").readlink())
    except OSError:
        return f"of descriptor {where}"
