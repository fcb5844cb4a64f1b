"""The files of a directory tree that may hold objects."""
# Paths stay text here: they are looked up and compared by the thousand.
# ruff: noqa: PTH112, PTH114, PTH116, PTH206

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

SUFFIXES = (".yaml", ".yml", ".json")
CONFIG_MAP_LINK = "..data"
"""The link that Kubernetes swaps when a mounted ConfigMap changes; the files are links through it."""


def files_below(directory: str, root: str) -> Iterator[str]:
    """Yield the paths of all manifest files, and of the directories that cannot be used: see ``problem``.

    Links to directories below ``root`` are followed, but none twice.
    """
    seen: set[tuple[int, int]] = set()
    waiting = [directory]
    while waiting:
        path = waiting.pop()
        if problem(path, root):
            yield path
            continue
        try:
            status = os.stat(path)
            identity = (status.st_dev, status.st_ino)
            entries = [] if identity in seen else sorted(os.scandir(path), key=lambda entry: entry.name)
        except OSError:
            continue  # it has just gone
        seen.add(identity)
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if _is_directory(entry):
                waiting.append(entry.path)
            elif entry.name.endswith(SUFFIXES):
                yield entry.path


def problem(directory: str, root: str) -> str:
    """Return why nothing is read from a directory that is there; empty where it can be.

    A link must not lead out of ``root``: it may lead to everything that there is.
    """
    if os.path.islink(directory) and not _within(os.path.realpath(directory), root):
        return "is a link that leads out of the directory"
    try:
        with os.scandir(directory):
            return ""
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except OSError as error:
        return f"not readable: {error.strerror}"


def leads_out(root: str) -> list[str]:
    """Return the directories to watch one by one, where some link leads out of ``root``; none where no link does."""
    directories, out, waiting = [], False, [root]
    while waiting:
        path = waiting.pop()
        try:
            with os.scandir(path) as entries:
                found = [entry for entry in entries if _is_directory(entry)]
        except OSError:
            continue
        directories.append(path)
        for entry in found:
            if not entry.is_symlink():
                waiting.append(entry.path)
            elif not _within(os.path.realpath(entry.path), root):
                out = True
    return directories if out else []


def _within(path: str, root: str) -> bool:
    return path == root or path.startswith(root.rstrip(os.sep) + os.sep)


def _is_directory(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def affected(root: str, reported: Collection[str], known: Collection[str]) -> tuple[set[str], set[str]]:
    """Return the files to look at again, and the directories whose content may still be changing.

    ``reported`` are changed paths, ``known`` the files read before.
    """
    files: set[str] = set()
    directories: set[str] = set()
    for path in reported:
        names = path[len(root) :].split(os.sep)[1:] if path.startswith(root + os.sep) else []
        if path == root or CONFIG_MAP_LINK in names:
            directories.add(root)
        elif not names or any(name.startswith(".") for name in names):
            continue
        elif os.path.isdir(path):
            directories.add(path)
        elif path.endswith(SUFFIXES) or path in known:
            files.add(path)
        elif any(file.startswith(path + os.sep) for file in known):
            directories.add(path)
    for directory in directories:
        files.update(files_below(directory, root))
        files.update(file for file in known if file.startswith(directory + os.sep))
    return files, directories
