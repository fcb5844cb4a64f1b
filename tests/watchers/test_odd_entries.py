"""What else may lie in a directory: at most a rejection with its name, and nothing else is lost by it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from controlplane.watchers.files.source import FileSource
from controlplane.watchers.files.tree import leads_out
from tests.watchers.test_files import names, put, service

LOOP, OUT = "Too many levels of symbolic links", "is a link that leads out of the directory"


def a_name_that_is_no_text(folder: Path) -> None:
    with open(os.fsencode(folder) + b"/b\xe4d\xff.yaml", "w", encoding="utf-8") as file:  # noqa: PTH123 - bytes
        file.write(service("hidden"))


def a_directory_whose_name_is_no_text(folder: Path) -> None:
    inner = os.fsencode(folder) + b"/d\xff"
    os.mkdir(inner)  # noqa: PTH102 - bytes
    with open(inner + b"/x.yaml", "w", encoding="utf-8") as file:  # noqa: PTH123 - the same
        file.write(service("hidden"))


def a_link_to_itself(folder: Path) -> None:
    (folder / "loop.yaml").symlink_to(folder / "loop.yaml")
    (folder / "loop").symlink_to(folder / "loop")


def a_link_to_everything(folder: Path) -> None:
    (folder / "all").symlink_to("/")


def a_link_out(folder: Path) -> None:
    other = folder.parent / "other"
    other.mkdir()
    (other / "x.yaml").write_text(service("x"))
    (folder / "out").symlink_to(other)


def a_pipe(folder: Path) -> None:
    os.mkfifo(folder / "pipe.yaml")


def a_device(folder: Path) -> None:
    (folder / "zero.yaml").symlink_to("/dev/zero")


def a_socket(folder: Path) -> None:
    os.mknod(folder / "socket.yaml", 0o140600)


@pytest.mark.parametrize(
    ("spoil", "named", "reason"),
    [
        (a_name_that_is_no_text, "b\\xe4d\\xff.yaml", "not readable: its name is not UTF-8 text"),
        (a_directory_whose_name_is_no_text, "d\\xff/x.yaml", "not readable: its name is not UTF-8 text"),
        (a_link_to_itself, "loop.yaml", f"not readable: {LOOP}"),
        (a_link_to_everything, "all", OUT),
        (a_link_out, "out", OUT),
        (a_pipe, "pipe.yaml", "not readable: not a regular file"),
        (a_device, "zero.yaml", "not readable: not a regular file"),
        (a_socket, "socket.yaml", "not readable: not a regular file"),
    ],
)
async def test_an_odd_entry_is_a_rejection_and_no_more(
    tmp_path: Path, spoil: Callable[[Path], None], named: str, reason: str
) -> None:
    folder = tmp_path / "mesh"
    folder.mkdir()
    (folder / "a.yaml").write_text(service("a"))
    spoil(folder)
    source = FileSource(folder)
    assert names(source.load()) == ["a"]
    assert {place: each.problems for place, each in source.rejected.items()} == {f"{folder}/{named}": (reason,)}
    assert all(place.isprintable() and place.encode() for place in source.rejected)
    changes: Any = source.changes()
    put(folder / "a.yaml", service("b"))
    assert names(await anext(changes)) == ["b"]
    for path in folder.iterdir():
        if path.name != "a.yaml" and (path.is_symlink() or not path.is_dir()):
            path.unlink()
    (folder / "sub").mkdir()
    (folder / "sub" / "c.yaml").write_text(service("c"))
    found: list[str] = []
    while "c" not in found:
        found += names(await anext(changes))
    await changes.aclose()
    left = {} if not (folder / "d\udcff").exists() else {f"{folder}/{named}"}
    assert set(source.rejected) == set(left)


def test_links_within_are_followed_and_seen(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "a.yaml").write_text(service("a"))
    (tmp_path / "two").symlink_to("one")
    source = FileSource(tmp_path)
    assert names(source.load()) == ["a"]
    assert source.rejected == {}
    assert leads_out(str(tmp_path)) == []


def test_a_directory_that_cannot_be_read_is_named_and_keeps_what_was_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    (inner / "a.yaml").write_text(service("a"))
    source = FileSource(tmp_path)
    assert names(source.load()) == ["a"]
    scandir = os.scandir

    def refusing(path: str) -> object:  # root may read everything
        if str(path) == str(inner):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    (change,) = [source.load()]
    assert (change.upserts, change.deletes) == ((), ())
    assert {place: each.problems for place, each in source.rejected.items()} == {
        str(inner): ("not readable: Permission denied",)
    }
    monkeypatch.undo()
    source.load()
    assert source.rejected == {}
    assert sys.getfilesystemencoding() == "utf-8"
