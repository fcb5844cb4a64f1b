"""Where the issuer comes from, without a cluster: a folder of files."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

import structlog

from controlplane.security.ca import utc_now
from controlplane.security.issuer import FILES, GENERATED, InvalidIssuerError, Issuer
from controlplane.security.self_signed import Files, RootPolicy, new_root, renewal

log = structlog.get_logger(__name__)


class SourceUnavailableError(Exception):
    """The issuer could not be read just now; the message says from where, and why."""


class IssuerSource(Protocol):
    """Something that holds an issuer, which may change."""

    async def read(self) -> Issuer:
        """Return what it holds now, made or renewed if that is this source's to do.

        Raises:
            InvalidIssuerError: what it holds cannot sign.
            SourceUnavailableError: it cannot be read.
        """


def read_folder(folder: Path) -> Mapping[str, bytes]:
    """Return the files of a certificate authority by name; nothing for a folder that does not exist.

    Raises:
        SourceUnavailableError: a file cannot be read.
    """
    files = {}
    for name in FILES:
        path = folder / name
        try:
            with suppress(FileNotFoundError, NotADirectoryError):
                files[name] = path.read_bytes()
        except OSError as error:
            raise SourceUnavailableError(f"{path}: {error.strerror}") from error
    return files


class FolderSource:
    """A folder with an authority in one of the layouts of ``Issuer.of_files``; without one, a root is made there.

    Two processes that start at once agree on one root: the folder is filled beside, and put in place whole.
    """

    def __init__(
        self,
        folder: Path,
        policy: RootPolicy,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._folder = folder
        self._policy = policy
        self._clock = clock

    async def read(self) -> Issuer:
        """Return the issuer of the folder, made if there is none, renewed if it was made here and it is time."""
        files = read_folder(self._folder)
        if not files:
            made = await asyncio.to_thread(new_root, self._policy, self._clock())
            self._create(made)
            files = read_folder(self._folder)
        try:
            if GENERATED in files:
                issuer = Issuer.of_self_signed(files)
                renewed = renewal(files, self._policy, self._clock())
                if renewed is None:
                    return issuer
                self._replace({name: renewed[name] for name in renewed if renewed[name] != files[name]})
                return Issuer.of_self_signed(renewed)
            plugged_in = Issuer.of_files(files)
        except InvalidIssuerError as error:
            raise InvalidIssuerError(f"{self._folder}: {error}") from error
        if plugged_in is None:
            raise SourceUnavailableError(f"{self._folder}: the files have just been removed")
        return plugged_in

    def _create(self, files: Files) -> None:
        try:
            self._folder.parent.mkdir(parents=True, exist_ok=True)
            with TemporaryDirectory(dir=self._folder.parent, prefix=".ca-") as beside:
                made = Path(beside) / "made"
                made.mkdir(mode=0o700)
                for name, content in {**files, GENERATED: b""}.items():
                    _write(made / name, content)
                with suppress(FileExistsError):
                    made.rename(self._folder)  # onto nothing or an empty folder only
        except OSError as error:
            if error.errno != errno.ENOTEMPTY:  # somebody else was first, and theirs is read
                raise SourceUnavailableError(f"{self._folder}: cannot make a root there: {error.strerror}") from error
        else:
            log.info("security.root_created", folder=str(self._folder))

    def _replace(self, files: Files) -> None:
        try:
            for name, content in files.items():
                beside = self._folder / f".{name}.new"
                beside.unlink(missing_ok=True)
                _write(beside, content)
                beside.replace(self._folder / name)
        except OSError as error:
            raise SourceUnavailableError(f"{self._folder}: cannot renew the root: {error.strerror}") from error
        log.info("security.root_renewed", folder=str(self._folder), changed=sorted(files))


def _write(path: Path, content: bytes) -> None:
    """Write a new file that only its owner may read."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
