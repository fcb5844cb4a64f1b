"""Projections of a client: what it shares with others depends on what is to be built."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from controlplane.model.proxy import Locality
from controlplane.model.proxy_class import ClientScope, Shows, projected

CLIENT = ClientScope("shop", domain="shop.svc.cluster.local", locality=Locality("r", "z"), node="n1", http10=True)


@pytest.mark.parametrize(
    ("change", "shown"),
    [
        pytest.param({"node": "n2"}, Shows.PLACE, id="node"),
        pytest.param({"locality": Locality("r", "y")}, Shows.PLACE, id="locality"),
        pytest.param({"cluster_id": "east"}, Shows.CLUSTERS, id="cluster"),
        pytest.param({"domain": "else"}, Shows.LISTENERS, id="domain"),
        pytest.param({"http10": False}, Shows.ANY_LISTENERS, id="http10"),
        pytest.param({"dual_stack": True}, Shows.CLUSTERS | Shows.ANY_LISTENERS, id="families"),
        pytest.param({"istio": True}, Shows.EVERYWHERE, id="istio"),
    ],
)
def test_clients_that_differ_in_nothing_that_shows_are_the_same(change: dict[str, object], shown: Shows) -> None:
    other = replace(CLIENT, **change)  # type: ignore[arg-type]
    for what in (Shows.CLUSTERS, Shows.REACH, Shows.PLACE, Shows.LISTENERS, Shows.GATEWAY_LISTENERS):
        assert (projected(CLIENT, what) == projected(other, what)) is not bool(what & shown), what


def test_a_projection_keeps_what_it_shows() -> None:
    kept = projected(CLIENT, Shows.EVERYWHERE)
    assert {each.name for each in fields(CLIENT) if getattr(kept, each.name) != getattr(CLIENT, each.name)} == set()
