"""Every sample does what its routing tests say, and a stock Envoy takes all that its proxies are served."""

from __future__ import annotations

import asyncio
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from controlplane.cli.mesh_files import completed
from controlplane.cli.routing_tests import run_case
from controlplane.simulate.built import mesh_of
from controlplane.simulate.mesh import Mesh
from controlplane.simulate.routing.cases import Case, cases
from controlplane.snapshots import Snapshot
from controlplane.watchers.files.source import FileSource
from tests.envoy.validate import validate

SAMPLES = Path(__file__).resolve().parents[2] / "samples"
FILES = {path.name.removesuffix(".routes.yaml"): path for path in sorted(SAMPLES.glob("*.routes.yaml"))}


@cache
def routing_tests(name: str) -> Any:
    return yaml.safe_load(FILES[name].read_text(encoding="utf-8"))


@cache
def asked(name: str) -> list[Case]:
    return cases(routing_tests(name), str(FILES[name]))


@cache
def mesh(name: str) -> Mesh:
    return asyncio.run(mesh_of(completed([SAMPLES / name]).change_set()))


@cache
def served(name: str, proxy: str) -> Snapshot:
    async def snapshot() -> Snapshot:
        described = next(case.described for case in asked(name) if case.pairs[0][1] == proxy)
        assert described is not None
        held = mesh(name)
        session = await held.compiler.open(held.stated(proxy, described.model_dump()), lambda: None)
        try:
            return session.snapshot
        finally:
            session.close()

    return asyncio.run(snapshot())


@pytest.mark.parametrize(
    ("name", "number"),
    [
        pytest.param(name, number, id=f"{name}-{case.title.replace(' ', '-')}")
        for name in FILES
        for number, case in enumerate(asked(name))
    ],
)
def test_case(name: str, number: int) -> None:
    result = asyncio.run(run_case(mesh(name), asked(name)[number]))
    assert (result.verdict, result.told) == ("ok", ())


@pytest.mark.parametrize(
    ("name", "proxy"), [(name, proxy) for name in FILES for proxy in routing_tests(name)["proxies"]]
)
def test_a_stock_envoy_takes_what_its_proxies_are_served(name: str, proxy: str) -> None:
    assert validate(served(name, proxy)) is None


@pytest.mark.parametrize("name", FILES)
def test_nothing_of_it_is_refused_odd_or_unused(name: str) -> None:
    source = FileSource(SAMPLES / name)
    source.load()
    odd = [each for each in source.warnings if not each.text.startswith("spec: EnvoyFilter changes")]  # each one is
    assert (dict(source.rejected), odd, source.unused) == ({}, [], {})


def test_every_sample_has_tests_and_a_section() -> None:
    """A directory of objects without tests, or that the index does not mention, is not a sample."""
    directories = {path.name for path in SAMPLES.iterdir() if path.is_dir() and any(path.glob("*.yaml"))}
    assert directories == set(FILES)
    index = (SAMPLES / "README.md").read_text()
    assert all(f"## {name}\n" in index for name in FILES), sorted(FILES)
    assert all({case.pairs[0][1] for case in asked(name)} == set(routing_tests(name)["proxies"]) for name in FILES)
