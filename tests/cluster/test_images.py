"""Images of this machine's programs: a name for each content, and no program that could not start."""

from __future__ import annotations

import os
import sys
import tarfile
from pathlib import Path

import pytest

from tests.cluster import elf, images
from tests.cluster.images import Image, Layer, Link

PYTHON = Path(sys.executable).resolve()


def test_an_image_is_made_anew_exactly_where_a_file_in_it_is_another(tmp_path: Path) -> None:
    program, folder = tmp_path / "program", tmp_path / "images"
    folder.mkdir()
    program.write_bytes(b"broken")
    image = Image("test/program:1", ({"/program": program},), ("/program",))
    first = images.archive(image, folder)
    written = first.stat().st_mtime_ns
    assert (images.archive(image, folder), first.stat().st_mtime_ns) == (first, written)

    times = program.stat()
    program.write_bytes(b"mended")
    os.utime(program, ns=(times.st_atime_ns, times.st_mtime_ns))
    second = images.archive(image, folder)
    assert second != first
    assert list(folder.iterdir()) == [second]
    assert _content(second, "program") == b"mended"


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(Image("test/program:1", ({"/a": b"2"},)), id="text"),
        pytest.param(Image("test/program:1", ({"/b": b"1"},)), id="path"),
        pytest.param(Image("test/program:1", ({"/a": Link("1")},)), id="link"),
        pytest.param(Image("test/program:1", ({"/a": b"1"},), ("/a",)), id="entrypoint"),
        pytest.param(Image("test/program:1", ({"/a": b"1"},), environment={"A": "1"}), id="environment"),
        pytest.param(Image("test/program:2", ({"/a": b"1"},)), id="tag"),
    ],
)
def test_another_description_is_another_image(tmp_path: Path, other: Image) -> None:
    first = images.archive(Image("test/program:1", ({"/a": b"1"},)), tmp_path)
    assert images.archive(other, tmp_path) != first


def test_a_program_without_its_loader_makes_no_image(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"image test/python:1: /python needs /lib\S+, which the image lacks"):
        images.write(Image("test/python:1", ({"/python": PYTHON},)), tmp_path / "image.tar")
    assert not list(tmp_path.iterdir())


def test_a_loader_is_found_through_links_of_folders_and_files(tmp_path: Path) -> None:
    loader = Path(elf.interpreter(PYTHON) or "")
    folder = f"/{loader.parts[1]}"  # /lib or /lib64
    links: Layer = {folder: Link("usr/libraries"), "/usr/libraries": Link("../real")}
    files: Layer = {f"/real/{loader.relative_to(folder)}": Link("loader"), "/real/loader": PYTHON, "/python": PYTHON}
    assert images.write(Image("test/python:1", (links, files)), tmp_path / "image.tar").exists()


def test_what_points_in_a_circle_is_not_found(tmp_path: Path) -> None:
    layer: Layer = {"/python": PYTHON, "/lib": Link("lib64"), "/lib64": Link("lib")}
    with pytest.raises(RuntimeError, match="which the image lacks"):
        images.write(Image("test/python:1", (layer,)), tmp_path / "image.tar")


def _content(archive: Path, name: str) -> bytes:
    """Return a file of the only layer of an image."""
    with tarfile.open(archive) as image, tarfile.open(fileobj=image.extractfile("layer0.tar")) as layer:
        file = layer.extractfile(name)
        assert file is not None
        return file.read()
