"""``deploy/Dockerfile``, as far as reading it shows: what it copies is there, what it builds on is pinned."""

from __future__ import annotations

import json
import re
import tomllib
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "deploy" / "Dockerfile"
KNOWN = {"FROM", "RUN", "WORKDIR", "ENV", "COPY", "USER", "EXPOSE", "ENTRYPOINT", "CMD"}


class Instruction(NamedTuple):
    """One instruction; ``stage`` counts from 0."""

    stage: int
    word: str
    value: str

    @property
    def options(self) -> dict[str, str]:
        return dict(re.findall(r"--(\w+)=(\S+)", self.value))

    @property
    def arguments(self) -> list[str]:
        return [each for each in self.value.split() if not each.startswith("--")]


def instructions() -> list[Instruction]:
    found: list[Instruction] = []
    for line in re.sub(r"\\\n\s*", " ", DOCKERFILE.read_text()).splitlines():
        if not line or line.startswith("#"):
            continue
        word, _, value = line.partition(" ")
        stage = found[-1].stage if found else -1
        found.append(Instruction(stage + (word == "FROM"), word, value))
    return found


def named(word: str) -> list[Instruction]:
    return [each for each in instructions() if each.word == word]


def in_context(path: str) -> bool:
    """Whether a path of the checkout is sent to the builder: the last rule that matches it decides."""
    sent = True
    for rule in (DOCKERFILE.parent / f"{DOCKERFILE.name}.dockerignore").read_text().split():
        pattern = rule.removeprefix("!")
        parts = Path(path).parts
        if any(fnmatch("/".join(parts[: n + 1]), pattern) for n in range(len(parts))) or fnmatch(path, pattern):
            sent = rule.startswith("!")
    return sent


def test_only_instructions_that_are_read_here() -> None:
    assert {each.word for each in instructions()} <= KNOWN


def test_there_are_two_stages_on_one_pinned_base() -> None:
    build, final = named("FROM")
    assert build.arguments[1:] == ["AS", "build"]
    assert len(final.arguments) == 1  # without a name, so it is the one that is built
    assert build.arguments[0] == final.arguments[0]
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-[a-z]+", final.arguments[0])
    requires = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    assert final.arguments[0].removeprefix("python:").startswith(re.findall(r"\d+\.\d+", requires)[0])


def test_what_is_installed_is_pinned() -> None:
    for each in named("RUN"):
        assert each.stage == 0  # the image that runs has what was built, and no more
        for package in re.findall(r"pip install(.*)", each.value):
            names = [word for word in package.split() if not word.startswith("-")]
            assert all("==" in name for name in names), each.value
        if "uv sync" in each.value:
            assert {"--frozen", "--no-dev"} <= set(each.value.split())


def test_what_is_copied_is_there_and_reaches_the_builder() -> None:
    stages = [each.arguments[2] for each in named("FROM") if len(each.arguments) > 1]
    for each in named("COPY"):
        *sources, _ = each.arguments
        if stage := each.options.get("from"):
            assert stage in stages
            assert all(source.startswith("/app/") for source in sources)
            continue
        assert each.stage == 0
        for source in sources:
            assert (ROOT / source).exists(), source
            assert in_context(source), source


@pytest.mark.parametrize("path", ["controlplane/app.py", "pyproject.toml", "uv.lock"])
def test_what_is_needed_reaches_the_builder(path: str) -> None:
    assert in_context(path)


@pytest.mark.parametrize("path", [".git/config", "tests/conftest.py", ".venv/bin/python", "controlplane/__pycache__/a"])
def test_what_is_not_needed_stays_outside(path: str) -> None:
    assert not in_context(path)


def test_the_project_is_complete_where_it_is_installed() -> None:
    """The readme and the licence are part of what is built, so they are copied before it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    copied = {source for each in named("COPY") if each.stage == 0 for source in each.arguments[:-1]}
    licences = project.get("license-files", [])
    assert {"controlplane", "pyproject.toml", "uv.lock", project["readme"], *licences} <= copied


def test_it_runs_as_nobody_in_particular() -> None:
    order = [each.word for each in instructions() if each.stage == 1]
    assert order.count("USER") == 1
    assert order.index("USER") < order.index("ENTRYPOINT")
    (user,) = named("USER")
    uid, _, gid = user.value.partition(":")
    assert int(uid) > 0
    assert int(gid) > 0


def test_it_starts_the_program_and_no_shell() -> None:
    (entrypoint,), (command,) = named("ENTRYPOINT"), named("CMD")
    assert json.loads(entrypoint.value) == ["python", "-m", "controlplane"]
    assert json.loads(command.value) == ["serve"]
    path = dict(re.findall(r"(\w+)=(\S+)", next(each.value for each in named("ENV") if each.stage == 1)))["PATH"]
    assert path.split(":")[0] == "/app/.venv/bin"


def test_its_ports_are_those_of_the_deployment() -> None:
    (deployment,) = yaml.safe_load_all((ROOT / "deploy" / "base" / "deployment.yaml").read_text())
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    (exposed,) = named("EXPOSE")
    assert sorted(map(int, exposed.arguments)) == sorted(port["containerPort"] for port in container["ports"])
