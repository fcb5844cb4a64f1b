"""The documents: what they say is run, what they name exists, what is written from the code is current."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from docs.reference.commands import blocks
from docs.reference.generate import HERE, PAGES, WRITTEN, untold
from docs.reference.log_events import events
from tests.patience import PATIENCE_SECONDS

pytestmark = pytest.mark.slow

TOP = Path(__file__).resolve().parents[2]
DOCS = TOP / "docs"
BY_HAND = sorted(path for path in DOCS.glob("*.md"))
ON_A_NODE = DOCS / "walkthrough.md"
"""Its commands are typed by tests/kubernetes/test_walkthrough.py."""
EXAMPLES = [
    (path.name, command, output)
    for path in BY_HAND
    if path != ON_A_NODE
    for command, output in blocks(path.read_text(encoding="utf-8"))
]
NODES = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", (DOCS / "architecture.md").read_text(encoding="utf-8"))


@pytest.mark.parametrize(("page", "command", "output"), EXAMPLES)
def test_an_example_says_what_the_command_says(page: str, command: str, output: str) -> None:
    """Commands run in ``docs/examples``."""
    program, *arguments = shlex.split(command)
    assert program == "controlplane", page
    done = subprocess.run(
        [sys.executable, "-m", "controlplane", *arguments],
        cwd=DOCS / "examples",
        env={**os.environ, "NO_COLOR": "1", "PYTHONPATH": str(TOP)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=PATIENCE_SECONDS,
    )
    assert sorted(done.stdout.splitlines()) == sorted(output.splitlines())  # of two streams


def test_there_are_examples() -> None:
    assert EXAMPLES


@pytest.mark.parametrize(("path", "name"), NODES)
def test_an_invariant_has_its_test(path: str, name: str) -> None:
    assert re.search(rf"^(?:async )?def {name}\(", (TOP / path).read_text(encoding="utf-8"), re.MULTILINE)


def test_every_invariant_names_a_test() -> None:
    text = (
        (DOCS / "architecture.md").read_text(encoding="utf-8").partition("## What always holds")[2].partition("## ")[0]
    )
    rows = [line for line in text.splitlines() if line.startswith("| ")][1:]
    assert len(rows) == len(NODES) > 10


@pytest.mark.parametrize("name", sorted(PAGES))
def test_the_reference_is_current(name: str) -> None:
    """``make reference`` writes it."""
    assert (HERE / name).read_text(encoding="utf-8") == WRITTEN + PAGES[name]()


def test_the_reference_has_no_page_of_what_is_no_command() -> None:
    assert {f"commands/{path.name}" for path in (HERE / "commands").iterdir()} <= PAGES.keys()


def test_every_log_event_is_explained() -> None:
    """In ``docs/reference/events.toml``, which speaks of no others."""
    assert untold() == set()


def test_log_events_are_found() -> None:
    """However they are logged: by a constant, by a level that is chosen, by a function that is given the name."""
    found = events()
    assert found["ads.nack"].levels == {"warning"}
    assert found["ads.nack"].keys == {"proxy", "type_url", "rejected", "serving", "reason"}
    assert {"ads.refused", "admin.failed"} <= found.keys()
    assert not [name for name in found if not re.fullmatch(r"[a-z0-9_]+\.[a-z0-9_]+", name)]


def test_the_troubleshooting_page_names_events_that_there_are() -> None:
    text = (DOCS / "troubleshooting.md").read_text(encoding="utf-8")
    packages = {name.partition(".")[0] for name in events()}
    named = {each for each in re.findall(r"`([a-z0-9_]+\.[a-z_]+)`", text) if each.partition(".")[0] in packages}
    assert len(named) > 5
    assert named <= events().keys()


def test_sizes_are_figures_of_the_bench() -> None:
    """Whoever measures anew writes them here too."""
    text = (DOCS / "sizing.md").read_text(encoding="utf-8")
    rows = re.findall(
        r"^\| ([^|]+?) +\| (s|ms|GB|MB) +\| +(\S+) \|",
        (TOP / "bench" / "README.md").read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    figures = {name: f"{value} {unit}" for name, unit, value in rows}
    for name in (
        "memory, peak",
        "first connect, CPU",
        "first connect, sent",
        "reconnect, CPU",
        "endpoint change, CPU",
        "endpoint change, to the last proxy",
        "VirtualService change, CPU",
        "VirtualService change, to the last proxy",
        "idle for 5 s, CPU",
    ):
        assert figures[name] in text, name


def built(folder: Path) -> subprocess.CompletedProcess[str]:
    """Make the site of the documents in a folder."""
    command = [sys.executable, "-m", "mkdocs", "build", "--site-dir", str(folder / "site")]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    shutil.copy(TOP / "mkdocs.yml", folder)
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=120
    )


def test_the_site_is_built_and_its_links_lead_somewhere(tmp_path: Path) -> None:
    shutil.copytree(DOCS, tmp_path / "docs")
    done = built(tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "site" / "architecture.html").exists()


@pytest.mark.parametrize("link", ["nowhere.md", "glossary.md#none"])
def test_a_link_that_leads_nowhere_is_an_error(tmp_path: Path, link: str) -> None:
    shutil.copytree(DOCS, tmp_path / "docs")
    with (tmp_path / "docs" / "index.md").open("a") as page:
        page.write(f"[more]({link})\n")
    done = built(tmp_path)
    assert done.returncode != 0
    assert link.partition("#")[0] in done.stderr


def test_what_holds_each_published_vulnerability_is_a_test_that_there_is() -> None:
    """Each row of the table in ``docs/security.md`` names tests; so do the rows on limits, by their files."""
    page = (DOCS / "security.md").read_text()
    rows = [line for line in page.partition("## Published")[2].splitlines() if line.startswith("| ")][1:]
    assert len(rows) > 20
    for row in rows:
        named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", row.rsplit("|", 2)[1])
        assert named, row
        for file, function in named:
            assert not function or f"def {function}(" in (TOP / file).read_text(), f"{file}::{function}"
            assert (TOP / file).exists()
