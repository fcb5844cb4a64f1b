"""Which connections end with a listener that is another."""

from __future__ import annotations

import pytest
from envoy.config.listener.v3.listener_pb2 import Listener

from controlplane.plan.drains import Drains, drains


def listener(*chains: str, default: str = "", prefix: str = "") -> bytes:
    made = Listener(name="a", stat_prefix=prefix)
    for name in chains:
        made.filter_chains.add(name=name)
    if default:
        made.default_filter_chain.name = default
    return bytes(made.SerializeToString())


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        pytest.param(None, Drains(listeners=1), id="gone"),
        pytest.param(listener("a", "b", default="d", prefix="x"), Drains(listeners=1), id="another-field"),
        pytest.param(listener("a", "c", default="d"), Drains(filter_chains=1), id="one-chain-is-another"),
        pytest.param(listener("b", "a", "c", default="d"), Drains(), id="one-chain-more"),
        pytest.param(listener("a", "b", default="e"), Drains(filter_chains=1), id="the-default-chain"),
        pytest.param(listener("a"), Drains(filter_chains=2), id="chains-that-go"),
    ],
)
def test_what_is_drained(after: bytes | None, expected: Drains) -> None:
    assert drains(listener("a", "b", default="d"), after) == expected
