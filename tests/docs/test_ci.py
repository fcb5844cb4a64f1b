"""The workflow and the hooks for users' repositories do what the documents say."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.patience import PATIENCE_SECONDS

pytestmark = pytest.mark.slow

TOP = Path(__file__).resolve().parents[2]
EXAMPLES = TOP / "docs" / "examples"
BLOCKS = re.findall(r"^```yaml\n(.*?)^```$", (TOP / "docs" / "routing-tests.md").read_text(), re.DOTALL | re.MULTILINE)
WORKFLOW, HOOKS = (
    next(block for block in BLOCKS if block.startswith(begin)) for begin in ("# .github/workflows", "repos:")
)


def script(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)
    return path


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository of manifests with a branch that its pull requests are for, and the program on the PATH."""
    (tmp_path / "bin").mkdir()
    program = f'#!/bin/sh\nPYTHONPATH={shlex.quote(str(TOP))} exec {shlex.quote(sys.executable)} -m controlplane "$@"\n'
    script(tmp_path / "bin" / "controlplane", program)
    folder = tmp_path / "repository"
    folder.mkdir()
    shutil.copytree(EXAMPLES / "bookshop", folder / "bookshop")
    git = ("git", "-C", str(folder), "-c", "user.name=n", "-c", "user.email=e")
    for command in (("init", "-q", "-b", "main"), ("add", "-A"), ("commit", "-q", "-m", "first")):
        subprocess.run([*git, *command], check=True)
    subprocess.run([*git, "update-ref", "refs/remotes/origin/main", "HEAD"], check=True)
    return folder


def ended(repository: Path, command: str) -> subprocess.CompletedProcess[str]:
    path = f"{repository.parent / 'bin'}{os.pathsep}{os.environ['PATH']}"
    summary = str(repository.parent / "summary")
    return subprocess.run(
        ["bash", "-e", "-c", command],
        cwd=repository,
        env={**os.environ, "PATH": path, "GITHUB_STEP_SUMMARY": summary, "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_SECONDS,
    )


def steps() -> list[str]:
    (job,) = yaml.safe_load(WORKFLOW)["jobs"].values()
    runs = [step["run"].replace("${{ github.base_ref }}", "main") for step in job["steps"] if "run" in step]
    assert runs[0].startswith("pip install")
    return runs[1:]


def test_the_workflow_is_the_one_of_the_document() -> None:
    assert (EXAMPLES / "ci" / "mesh.yaml").read_text() == WORKFLOW


def test_the_workflow_passes_and_tells_what_changes(repository: Path) -> None:
    text = (repository / "bookshop" / "reviews.yaml").read_text()
    (repository / "bookshop" / "reviews.yaml").write_text(
        text.replace("timeout: 3s", "timeout: 3s\n    retries: {attempts: 1}")
    )
    for command in steps():
        done = ended(repository, command)
        assert done.returncode == 0, (command, done.stdout, done.stderr)
    assert "~ VirtualService shop/reviews" in (repository.parent / "summary").read_text()
    assert (repository / "routes.xml").read_text().startswith("<?xml")


def test_the_workflow_fails_for_a_change_that_breaks_routes(repository: Path) -> None:
    text = (repository / "bookshop" / "reviews.yaml").read_text()
    (repository / "bookshop" / "reviews.yaml").write_text(
        text.replace("weight: 90", "weight: 80").replace("weight: 10", "weight: 20")
    )
    codes = [ended(repository, command).returncode for command in steps()]
    assert codes == [0, 1, 1]


def test_hooks_are_those_that_the_document_uses(repository: Path) -> None:
    """Each is a command that passes for the example, and fails where it should."""
    hooks = {each["id"]: each for each in yaml.safe_load((TOP / ".pre-commit-hooks.yaml").read_text())}
    (used,) = yaml.safe_load(HOOKS)["repos"]
    assert {each["id"] for each in used["hooks"]} == hooks.keys()
    codes: dict[str, Any] = {}
    for each in used["hooks"]:
        hook = hooks[each["id"]]
        assert (hook["language"], hook["pass_filenames"]) == ("python", False)
        done = ended(repository, shlex.join([*shlex.split(hook["entry"]), *each["args"]]))
        codes[each["id"]] = done.returncode
    assert codes == {"controlplane-validate": 0, "controlplane-analyze": 79, "controlplane-test": 0}, "v3 has no pods"
