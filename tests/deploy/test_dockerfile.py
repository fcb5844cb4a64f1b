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

from tests.cluster.mesh_images import dockerfile

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "deploy" / "Dockerfile"
IMAGES = ("proxyv2", "pilot")
KNOWN = {"FROM", "RUN", "WORKDIR", "ENV", "COPY", "USER", "EXPOSE", "ENTRYPOINT", "CMD"}


class Instruction(NamedTuple):
    """One instruction, and the name of its stage."""

    stage: str
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
        stage = value.rpartition(" AS ")[2] if word == "FROM" else found[-1].stage
        found.append(Instruction(stage, word, value))
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


def test_its_stages_end_in_two_images_on_one_pinned_base() -> None:
    """The control plane is the last, so it is what is built where no target is named."""
    bases = {each.arguments[2]: each.arguments[0] for each in named("FROM")}
    assert list(bases)[-2:] == list(IMAGES)
    assert {base for base in bases.values() if base not in bases} == {bases["pilot"]} == {bases["proxyv2"]}
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-[a-z]+", bases["pilot"])
    requires = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    assert bases["pilot"].removeprefix("python:").startswith(re.findall(r"\d+\.\d+", requires)[0])


def test_what_is_installed_is_pinned() -> None:
    for each in named("RUN"):
        if each.stage in IMAGES:  # what runs has what was built, and for proxies a program of the distribution
            assert re.fullmatch(
                r"apt-get update && apt-get install .* iptables nftables && rm -rf /var/lib/apt/lists/\*", each.value
            )
            assert each.stage == "proxyv2"
        for package in re.findall(r"pip install(.*)", each.value):
            names = [word for word in package.split() if not word.startswith("-")]
            assert all("==" in name or name == "." for name in names), each.value
        if "uv sync" in each.value:
            assert "--frozen" in each.value
            assert "--no-dev" in each.value or "--only-group" in each.value


def test_what_is_copied_is_there_and_reaches_the_builder() -> None:
    stages = [each.arguments[2] for each in named("FROM") if len(each.arguments) > 1]
    for each in named("COPY"):
        *sources, _ = each.arguments
        if stage := each.options.get("from"):
            assert stage in stages
            assert all(source in {"/app/.venv", "/usr/local/bin/envoy"} for source in sources)
            continue
        assert each.stage not in IMAGES
        for source in sources:
            assert (ROOT / source).exists(), source
            assert in_context(source), source


@pytest.mark.parametrize("path", ["controlplane/app.py", "pyproject.toml", "uv.lock"])
def test_what_is_needed_reaches_the_builder(path: str) -> None:
    assert in_context(path)


@pytest.mark.parametrize("path", [".git/config", "tests/conftest.py", ".venv/bin/python", "controlplane/__pycache__/a"])
def test_what_is_not_needed_stays_outside(path: str) -> None:
    assert not in_context(path)


@pytest.mark.parametrize("stage", ["build-pilot", "build-proxyv2"])
def test_the_project_is_complete_where_it_is_installed(stage: str) -> None:
    """The readme and the licence are part of what is built, so they are copied before it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    copied = {source for each in named("COPY") if each.stage in {"tools", stage} for source in each.arguments[:-1]}
    licences = project.get("license-files", [])
    assert {"controlplane", "pyproject.toml", "uv.lock", project["readme"], *licences} <= copied


@pytest.mark.parametrize("stage", IMAGES)
def test_an_image_runs_as_nobody_in_particular(stage: str) -> None:
    order = [each.word for each in instructions() if each.stage == stage]
    assert order.count("USER") == 1
    assert order.index("USER") < order.index("ENTRYPOINT")
    uid, _, gid = dockerfile(stage)["USER"].partition(":")
    assert int(uid) > 0
    assert int(gid) > 0


STARTED = {"pilot": (["python", "-m", "controlplane"], ["serve"]), "proxyv2": (["pilot-agent"], ["proxy"])}


@pytest.mark.parametrize("stage", IMAGES)
def test_an_image_starts_the_program_and_no_shell(stage: str) -> None:
    recipe = dockerfile(stage)
    assert (json.loads(recipe["ENTRYPOINT"]), json.loads(recipe["CMD"])) == STARTED[stage]
    path = dict(re.findall(r"(\w+)=(\S+)", recipe["ENV"]))["PATH"]
    assert path.split(":")[0] == "/app/.venv/bin"


def test_the_programs_that_injected_containers_call_are_installed() -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert "pilot-agent" in scripts
    assert dockerfile("proxyv2")["WORKDIR"] == "/"  # of which the agent's paths are parts


def test_the_ports_are_those_of_the_manifests() -> None:
    (deployment,) = yaml.safe_load_all((ROOT / "deploy" / "base" / "deployment.yaml").read_text())
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    exposed = dockerfile("pilot")["EXPOSE"].split()
    assert sorted(map(int, exposed)) == sorted(port["containerPort"] for port in container["ports"])
