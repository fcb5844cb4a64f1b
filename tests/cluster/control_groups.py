"""Control groups for the pods of a node, in version 1 and version 2 of them."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")


def make(name: str) -> None:
    """Make a group of that name in each hierarchy."""
    for hierarchy in _hierarchies():
        group = hierarchy / name
        group.mkdir(exist_ok=True)
        for setting in ("cpuset.cpus", "cpuset.mems"):  # version 1 starts them empty, and then takes no process
            if hierarchy != ROOT and (hierarchy / setting).exists():
                (group / setting).write_text((hierarchy / setting).read_text())


def remove(name: str) -> bool:
    """Remove the groups of that name with those below them; whether all are gone: one with a process stays."""
    groups = [hierarchy / name for hierarchy in _hierarchies()]
    for folder in (folder for group in groups for folder, _, _ in os.walk(group, topdown=False)):
        with suppress(OSError):
            Path(folder).rmdir()
    return not any(group.exists() for group in groups)


def _hierarchies() -> list[Path]:
    """The roots: one in version 2, one a controller in version 1."""
    if (ROOT / "cgroup.controllers").exists():
        return [ROOT]
    return [path for path in ROOT.iterdir() if path.is_dir()]
