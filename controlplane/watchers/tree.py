"""The files of a directory tree that may hold objects."""
# Paths stay text here: they are looked up and compared by the thousand.
# ruff: noqa: PTH112, PTH116, PTH206

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

SUFFIXES = (".yaml", ".yml", ".json")
CONFIG_MAP_LINK = "..data"
"""The link that Kubernetes swaps when a mounted ConfigMap changes; the files are links through it."""


def files_below(directory: str) -> Iterator[str]:
    """Yield the paths of all manifest files; links to directories are followed, but none twice.

    A directory that cannot be listed holds nothing.
    """
    seen: set[tuple[int, int]] = set()
    waiting = [directory]
    while waiting:
        path = waiting.pop()
        try:
            status = os.stat(path)
            identity = (status.st_dev, status.st_ino)
            entries = [] if identity in seen else sorted(os.scandir(path), key=lambda entry: entry.name)
        except OSError:
            continue
        seen.add(identity)
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                waiting.append(entry.path)
            elif entry.name.endswith(SUFFIXES):
                yield entry.path


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
        elif path.endswith(SUFFIXES):
            files.add(path)
        elif any(file.startswith(path + os.sep) for file in known):
            directories.add(path)
    for directory in directories:
        files.update(files_below(directory))
        files.update(file for file in known if file.startswith(directory + os.sep))
    return files, directories
