"""One version everywhere: the program's, those of charts, images and documents, and the newest that is dated."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import yaml

from controlplane import __version__

ROOT = Path(__file__).parents[2]
IMAGE = re.compile(r"controlplane/(?:pilot|proxyv2):(\d[\w.]*)|REGISTRY/(?:pilot|proxyv2|\$image):(\d[\w.]*)")
RELEASE = re.compile(r"^## (\d+\.\d+\.\d+) - (\d{4}-\d\d-\d\d)$", re.MULTILINE)


def named_images() -> Iterator[tuple[str, str]]:
    """Yield each file that names an image of ours, with the version it names."""
    files = [*(ROOT / "deploy").rglob("*"), *(ROOT / "docs").glob("*.md")]
    for file in files:
        if file.is_file():
            for found in IMAGE.finditer(file.read_text(encoding="utf-8")):
                yield str(file.relative_to(ROOT)), found[1] or found[2]


def test_what_states_a_version_states_this_one() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    locked = tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))["package"]
    assert project["version"] == __version__
    assert [each["version"] for each in locked if each["name"] == project["name"]] == [__version__]
    folders = (ROOT / "deploy/charts", ROOT / "controlplane/install/charts")
    charts = [chart for folder in folders for chart in folder.glob("*/Chart.yaml")]
    assert len(charts) >= 3
    for chart in charts:
        stated = yaml.safe_load(chart.read_text(encoding="utf-8"))
        assert (stated["version"], stated["appVersion"]) == (__version__, __version__), chart


def test_the_images_that_are_named_are_of_this_version() -> None:
    named = set(named_images())
    assert {file for file, _ in named} >= {"deploy/README.md", "deploy/Dockerfile", "deploy/base/deployment.yaml"}
    assert {version for _, version in named} == {__version__}, named


def test_the_newest_release_of_the_changelog_is_this_one() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    releases = RELEASE.findall(text)
    assert releases[0][0] == __version__
    days = [date.fromisoformat(day) for _, day in releases]
    assert days == sorted(days, reverse=True)
    assert text.index("## Unreleased") < text.index(f"## {__version__}")
