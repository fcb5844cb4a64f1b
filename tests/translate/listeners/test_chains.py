"""What a chain matches: each name and range once, since Envoy refuses a listener with a chain that repeats."""

from __future__ import annotations

import pytest

from controlplane.translate.listeners.chains import Chain, TcpTarget, apart, chain_match

TARGET = TcpTarget.of("c")


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        pytest.param(("b.x", "a.x", "b.x"), ["a.x", "b.x"], id="twice"),
        pytest.param(("a.x", "A.x"), ["a.x"], id="case"),
        pytest.param(("*", "a.x"), [], id="any"),
    ],
)
def test_server_names(names: tuple[str, ...], expected: list[str]) -> None:
    assert list(chain_match(Chain(TARGET, server_names=names)).server_names) == expected


@pytest.mark.parametrize(
    ("prefixes", "expected"),
    [
        pytest.param(("10.0.0.1", "10.0.0.1"), ["10.0.0.1/32"], id="twice"),
        pytest.param(("10.2.0.1/8", "10.0.0.1/8"), ["10.0.0.1/8"], id="host-bits"),
        pytest.param(("10.0.0.1", "10.0.0.1/32"), ["10.0.0.1/32"], id="two-forms"),
        pytest.param(("10.0.0.2", "10.0.0.1"), ["10.0.0.1/32", "10.0.0.2/32"], id="two"),
    ],
)
def test_ranges(prefixes: tuple[str, ...], expected: list[str]) -> None:
    found = chain_match(Chain(TARGET, prefixes=prefixes)).prefix_ranges
    assert [f"{each.address_prefix}/{each.prefix_len.value}" for each in found] == expected


def test_a_name_that_another_chain_has_in_other_letters_is_that_one_s() -> None:
    first, second = Chain(TARGET, server_names=("a.x",)), Chain(TARGET, server_names=("A.X", "b.x"))
    assert [chain.wanted_names for chain in apart((first, second))] == [("a.x",), ("b.x",)]
