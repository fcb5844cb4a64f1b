"""Fetched modules as files, each under the checksum of what it was fetched as."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import re2
import structlog

from controlplane.agent.metrics import WASM_ENTRIES, WASM_FETCHES, WASM_LOOKUPS
from controlplane.agent.wasm.archives import unpacked
from controlplane.agent.wasm.fetching import Fetcher, FetchError
from controlplane.agent.wasm.images import Image, ImageName, Login, verify

OCI = "oci://"
FOLDER = Path("./var/lib/istio/data")
"""Where modules are, below the directory that the agent runs in."""
_DIGEST = "@sha256:"
_CHECKSUM = re2.compile(r"[0-9a-f]{64}")
_LONGEST_REASON = 300  # characters of an error that a server has a part in
_FOLDER_MODE, _FILE_MODE = 0o755, 0o644  # Envoy may run as another user

Result = TypeVar("Result")

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Wanted:
    """One module that a plugin asks for.

    ``checksum`` is hexadecimal, empty where nobody states it: of the body over HTTP, of the manifest of an image.
    ``plugin`` and ``version`` are the name and version of who asks; where ``always`` is true another version asks the
    server again. ``login`` is a ``.dockerconfigjson``, empty for none.
    """

    url: str
    checksum: str
    plugin: str
    version: str
    always: bool
    login: str = ""
    timeout: timedelta = timedelta(seconds=5)

    @property
    def name(self) -> str:
        """What names the module without saying which version of it: the URL without a digest."""
        return self.url.partition(_DIGEST)[0]

    @property
    def stated(self) -> str:
        """The checksum that it must have, from either place."""
        return self.checksum or self.url.partition(_DIGEST)[2]


@dataclass(slots=True)
class _Held:
    path: Path
    used: float
    versions: set[tuple[str, str]] = field(default_factory=set)


class Modules:
    """Gives modules as files, fetched once. What nobody asks for goes after ``expiry``, when ``purge`` is called."""

    def __init__(
        self,
        folder: Path,
        fetcher: Fetcher,
        expiry: timedelta = timedelta(hours=24),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder = folder
        self._fetcher = fetcher
        self._expiry = expiry
        self._clock = clock
        self._held: dict[tuple[str, str], _Held] = {}
        self._newest: dict[str, str] = {}  # the checksum that was fetched last, by name
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="module")

    async def path(self, wanted: Wanted) -> Path:
        """Return the file of a module. Raises ``FetchError``."""
        if wanted.stated and not _CHECKSUM.fullmatch(wanted.stated):
            raise FetchError(f"the checksum {wanted.stated!r} is no SHA-256 in 64 hexadecimal digits")
        async with self._locks[wanted.name]:
            held = self._found(wanted)
            WASM_LOOKUPS.inc("true" if held is not None else "false")
            if held is None:
                held = await self._fetched(wanted)
            held.used = self._clock()
            held.versions.add((wanted.plugin, wanted.version))
            return held.path

    def purge(self) -> None:
        """Remove the files that nobody has asked for within the expiry."""
        before = self._clock() - self._expiry.total_seconds()
        for key, held in list(self._held.items()):
            if held.used < before:
                held.path.unlink(missing_ok=True)
                del self._held[key]
                if self._newest.get(key[0]) == key[1]:
                    del self._newest[key[0]]
        for name in [name for name, lock in self._locks.items() if not lock.locked() and name not in self._newest]:
            del self._locks[name]
        WASM_ENTRIES.set(len(self._held))

    async def keep_small(self, interval: timedelta) -> None:
        """Purge again and again, until cancelled."""
        while True:
            await asyncio.sleep(interval.total_seconds())
            self.purge()

    def _found(self, wanted: Wanted) -> _Held | None:
        """Return the file that is there already, if that is good enough."""
        checksum = wanted.stated or self._newest.get(wanted.name, "")
        held = self._held.get((wanted.name, checksum))
        if held is None or not held.path.exists():
            return None
        asked_again = wanted.always and not wanted.stated and (wanted.plugin, wanted.version) not in held.versions
        return None if asked_again else held

    async def _fetched(self, wanted: Wanted) -> _Held:
        try:
            async with asyncio.timeout(wanted.timeout.total_seconds()):
                checksum, body = await self._fetch(wanted)
        except TimeoutError:
            WASM_FETCHES.inc("download_failure")
            raise FetchError(f"{wanted.url} was not there within {wanted.timeout.total_seconds():g} s") from None
        except FetchError:
            WASM_FETCHES.inc("download_failure")
            raise
        except Exception as error:  # what a server sends may end any library with an error of its own
            WASM_FETCHES.inc("download_failure")
            reason = f"{type(error).__name__}: {error}"[:_LONGEST_REASON]
            raise FetchError(f"{wanted.url} cannot be fetched: {reason}") from error
        folder = self._folder / hashlib.sha256(wanted.name.encode()).hexdigest()
        path = folder / f"{checksum}.wasm"
        try:
            folder.mkdir(_FOLDER_MODE, parents=True, exist_ok=True)
            unfinished = path.with_suffix(".unfinished")
            unfinished.write_bytes(body)
            unfinished.chmod(_FILE_MODE)
            unfinished.replace(path)
        except OSError as error:
            raise FetchError(f"{path} cannot be written: {error.strerror}") from None
        WASM_FETCHES.inc("success")
        self._newest[wanted.name] = checksum
        held = self._held[wanted.name, checksum] = _Held(path.resolve(), self._clock())
        WASM_ENTRIES.set(len(self._held))
        log.info("agent.module_fetched", url=wanted.url, checksum=checksum, size_bytes=len(body))
        return held

    async def _fetch(self, wanted: Wanted) -> tuple[str, bytes]:
        """Return checksum and body of a module that has the checksum that is stated. Raises ``FetchError``."""
        if wanted.url.startswith(OCI):
            name = ImageName.parse(wanted.url.removeprefix(OCI))
            image = Image(self._fetcher, name, Login.of(wanted.login, name.registry))
            checksum, manifest = await image.manifest()
            _compare(wanted, checksum)
            known = self._held.get((wanted.name, checksum))
            if known is not None and known.path.exists():
                return checksum, known.path.read_bytes()  # asked again, and still the same
            return checksum, await self._beside(_from_layer, *await image.layer(manifest), self._largest)
        return await self._beside(_from_web, wanted, await self._fetcher.get(wanted.url), self._largest)

    @property
    def _largest(self) -> int:
        return self._fetcher.rules.largest

    async def _beside(self, work: Callable[..., Result], *given: object) -> Result:
        """Do what takes long in a thread: Envoy's streams go on. One at a time, for a module may be large."""
        return await asyncio.get_running_loop().run_in_executor(self._worker, work, *given)


def _from_layer(digest: str, body: bytes, largest: int) -> bytes:
    verify(body, digest)
    return unpacked(body, largest)


def _from_web(wanted: Wanted, body: bytes, largest: int) -> tuple[str, bytes]:
    checksum = hashlib.sha256(body).hexdigest()
    _compare(wanted, checksum)
    return checksum, unpacked(body, largest)


def _compare(wanted: Wanted, checksum: str) -> None:
    if wanted.stated not in {"", checksum}:
        raise FetchError(f"{wanted.url} has the checksum {checksum}, not {wanted.stated}")
