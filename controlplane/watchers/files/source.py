"""A directory of YAML and JSON files as a source of objects."""
# Paths stay text here: they are looked up and compared by the thousand.
# ruff: noqa: PTH110, PTH112, PTH116, PTH123

from __future__ import annotations

import asyncio
import errno
import os
import stat
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from controlplane.watchers.files.file_index import FileIndex
from controlplane.watchers.files.tree import affected, problem
from controlplane.watchers.files.watch import DirectoryWatch
from controlplane.watchers.reading import Reading, read

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Generator, Mapping
    from pathlib import Path

    from controlplane.model.objects import ChangeSet, Rejected, Warned

MAX_FILE_BYTES = 64 * 1024 * 1024
"""Files beyond this size are refused."""

_RESCAN_SECONDS = 5.0
"""How often everything is compared with the disk: reports can be lost."""
_RESCAN_SHARE = 1 / 200
"""Of the time that this may take; a large directory is compared less often,"""
_RESCAN_AT_LATEST = 60.0
"""but never less often than this."""
_PACE_SECONDS = 0.005
"""Changes are read this often; the first after a pause at once."""
_TOGETHER_SECONDS = 0.3
"""Where several objects changed, files that are reported until reading has taken this long are read too, and all are
one change set: it is compiled and sent once."""
_SETTLE_SECONDS = 0.02
"""How long a file must be gone, or left alone with objects missing, before they are taken to be removed: editors
write in place or remove and create."""
_TICK_NS = 20_000_000
"""A file changed this recently may change again and keep its modification time."""

_Signature = tuple[int, int, int, int]


@dataclass(slots=True)
class _Seen:
    """What a file was when it was read; ``signature`` is ``None`` where it cannot tell a later change."""

    inode: int
    signature: _Signature | None
    gone_since: float | None = None


class FileSource:
    """Objects from all ``*.yaml``, ``*.yml`` and ``*.json`` files below a directory.

    Names that begin with a dot are skipped, so a file can be written under such a name and renamed into place.
    Of two files that define one object the first by path counts; the other definition is a ``Rejected``. What a
    file says wrongly, or in text that cannot be read, keeps its last good version.

    ``load`` and ``changes`` belong to one consumer; the properties may be read at any time, from any thread.
    """

    def __init__(self, directory: str | Path) -> None:
        self._root = os.path.realpath(directory)
        self._shown = os.fspath(directory)
        self._index = FileIndex()
        self._seen: dict[str, _Seen] = {}
        self._unsettled: set[str] = set()
        self._compared = 0.0
        self._compare_after = _RESCAN_SECONDS

    @property
    def rejected(self) -> Mapping[str, Rejected]:
        """Everything that is refused now, by source (``path:line``)."""
        return self._index.rejected

    @property
    def warnings(self) -> frozenset[Warned]:
        """Everything that is odd now in objects that are used all the same."""
        return self._index.warnings

    @property
    def unused(self) -> Counter[str]:
        """How many objects of each kind there are that nothing here reads."""
        return Counter(self._index.unused)

    def load(self) -> ChangeSet:
        """Read the whole directory: the first complete list. Blocks; a missing directory is a rejection."""
        return self._update({self._root}, settled=True)

    async def changes(self) -> AsyncIterator[ChangeSet]:
        """Yield what differs from all that ``load`` and this have returned before, as files change.

        A change set holds no unchanged object, except one whose refusal has just ended: so a receiver learns that
        it has. For the same reason ``deletes`` may hold keys that never were objects. Ends when it is closed.
        """
        loop, stop = asyncio.get_running_loop(), threading.Event()
        thread = ThreadPoolExecutor(1, thread_name_prefix="watch-files")
        watched = self._watched(stop)
        try:
            while (change := await loop.run_in_executor(thread, next, watched, None)) is not None:
                yield change
        finally:
            stop.set()
            thread.submit(watched.close)
            thread.shutdown(wait=False)

    def _watched(self, stop: threading.Event) -> Generator[ChangeSet, None, None]:
        """Yield change sets until ``stop``; runs in a thread of its own, the only one that reads files by then."""
        watch = DirectoryWatch(self._root, stop)
        try:
            while not stop.is_set():
                paths = watch.wait(_SETTLE_SECONDS if self._unsettled else _RESCAN_SECONDS)
                if stop.is_set():
                    return
                paths |= self._unsettled
                if time.monotonic() - self._compared >= self._compare_after:
                    paths.add(self._root)
                if not paths:
                    continue
                begun = time.monotonic()
                change = self._update(paths)
                while len(change.upserts) + len(change.deletes) > 1 and time.monotonic() - begun < _TOGETHER_SECONDS:
                    if not (paths := watch.wait(0)):
                        break
                    change = change.then(self._update(paths | self._unsettled))
                if change.upserts or change.deletes or change.rejections:
                    yield change
                stop.wait(begun + _PACE_SECONDS - time.monotonic())
        finally:
            watch.close()

    def _update(self, paths: Collection[str], *, settled: bool = False) -> ChangeSet:
        """Read what changed below these paths; ``settled`` believes at once that objects are gone."""
        again, self._unsettled = self._unsettled, set()
        if not os.path.isdir(self._root):
            return self._index.refuse(self._shown, "is not a directory; objects read from it before are kept")
        begun = time.monotonic()
        files, directories = affected(self._root, paths, self._seen)
        self._unsettled |= directories - again - {self._root}
        settled = settled or any(path not in self._seen and os.path.exists(path) for path in files)
        readings: dict[str, Reading | None] = {}
        for path in sorted(files):
            before = self._index.reading(path)
            reading = self._read(path, before, settled=settled)
            if reading is not before:
                readings[path] = reading
        if self._root in paths:
            self._compared = begun
            rest = (time.monotonic() - begun) / _RESCAN_SHARE
            self._compare_after = min(max(_RESCAN_SECONDS, rest), _RESCAN_AT_LATEST)
        return self._index.enter(readings, self._shown)

    def _read(self, path: str, before: Reading | None, *, settled: bool) -> Reading | None:
        """Return what a file says now: ``before`` itself where it is as it was, ``None`` where it is gone."""
        seen, shown = self._seen.get(path), _shown(self._shown + path[len(self._root) :])
        try:
            status = os.stat(path)
            if stat.S_ISDIR(status.st_mode):
                return self._read_directory(path, before, shown)
            if not _is_text(path):
                self._seen[path] = _Seen(status.st_ino, _signature(status))
                return Reading.refused(shown, "not readable: its name is not UTF-8 text")
            if seen is not None and seen.signature == _signature(status):
                seen.gone_since = None
                return before
            if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_FILE_BYTES:
                reason = f"larger than {MAX_FILE_BYTES} bytes" if stat.S_ISREG(status.st_mode) else "not a regular file"
                self._seen[path] = _Seen(status.st_ino, _signature(status))
                return Reading.refused(shown, f"not readable: {reason}")
            content, status = _content(path)
        except (FileNotFoundError, NotADirectoryError):
            return self._gone(path, before, settled=settled)
        except OSError as error:
            self._seen[path] = _Seen(0, None)
            refused = Reading.refused(shown, f"not readable: {error.strerror}")
            return before if before is not None and before.rejections == refused.rejections else refused
        reading = read(content, shown, before)
        age_ns = time.time_ns() - status.st_mtime_ns
        in_place = seen is not None and seen.inode == status.st_ino and not settled
        if in_place and before is not None and 0 <= age_ns < _SETTLE_SECONDS * 1e9 and before.lost_in(reading):
            self._unsettled.add(path)
            return before
        self._seen[path] = _Seen(status.st_ino, _signature(status) if not 0 <= age_ns < _TICK_NS else None)
        return reading

    def _read_directory(self, path: str, before: Reading | None, shown: str) -> Reading | None:
        """Return what is wrong with a directory that is not read; ``None`` where nothing is wrong any more."""
        reason = problem(path, self._root)
        if not reason:
            self._seen.pop(path, None)
            return None
        self._seen[path] = _Seen(0, None)
        refused = Reading.refused(shown, reason)
        return before if before is not None and before.rejections == refused.rejections else refused

    def _gone(self, path: str, before: Reading | None, *, settled: bool) -> Reading | None:
        seen = self._seen.get(path)
        if seen is None:
            return None
        now = time.monotonic()
        if seen.gone_since is None:
            seen.gone_since = now
        if not settled and now - seen.gone_since < _SETTLE_SECONDS:
            self._unsettled.add(path)
            return before
        del self._seen[path]
        return None


def _content(path: str) -> tuple[bytes, os.stat_result]:
    """Read a regular file; one that has just become a pipe or a device is not waited for.

    Raises:
        OSError: it cannot be read.
    """
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        content = file.read(MAX_FILE_BYTES)
        return content, os.fstat(file.fileno())


def _is_text(path: str) -> bool:
    return path.isascii() or not any("\ud800" <= character <= "\udfff" for character in path)


def _shown(path: str) -> str:
    """Return a path as it can be written anywhere; bytes of it that are no text are escaped."""
    return path if path.isascii() else os.fsencode(path).decode(errors="backslashreplace")


def _signature(status: os.stat_result) -> _Signature:
    return status.st_mtime_ns, status.st_size, status.st_ino, status.st_dev
