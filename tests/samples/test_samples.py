"""Every sample does what its cases say, and a stock Envoy takes all that its proxies are served."""

from __future__ import annotations

from functools import cache

import pytest

from controlplane.snapshots import Snapshot
from tests.envoy.validate import validate
from tests.samples.cases import SAMPLES, Sample, call_of, happened, samples, snapshots
from tests.samples.held import Held

ALL = {sample.name: sample for sample in samples()}


@cache
def served(name: str) -> dict[str, Snapshot]:
    return snapshots(ALL[name])


@pytest.mark.parametrize(
    ("sample", "number"),
    [
        pytest.param(sample, number, id=f"{sample.name}-{case['title'].replace(' ', '-')}")
        for sample in ALL.values()
        for number, case in enumerate(sample.cases)
    ],
)
def test_case(sample: Sample, number: int) -> None:
    case = sample.cases[number]
    held = Held(served(sample.name)[case["from"]])
    assert happened(held, call_of(sample, case), case["expect"]) == case["expect"]


@pytest.mark.parametrize(
    ("name", "proxy"), [(sample.name, proxy) for sample in ALL.values() for proxy in sample.proxies]
)
def test_a_stock_envoy_takes_what_its_proxies_are_served(name: str, proxy: str) -> None:
    assert validate(served(name)[proxy]) is None


def test_every_sample_has_cases_and_a_section() -> None:
    """A directory of objects without cases, or that the index does not mention, is not a sample."""
    directories = {path.name for path in SAMPLES.iterdir() if path.is_dir() and any(path.glob("*.yaml"))}
    assert directories == set(ALL)
    index = (SAMPLES / "README.md").read_text()
    assert all(f"## {name}\n" in index for name in ALL), sorted(ALL)
    assert all(
        sample.cases and {case["from"] for case in sample.cases} == set(sample.proxies) for sample in ALL.values()
    )
