"""Which clusters a patch is for, told by the cluster's name."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.apis.envoy_filter import ClusterMatch
from controlplane.patches.clusters import matches_cluster

OUTBOUND = "outbound|80|v1|a.b.svc"
SERVER_NAME = "outbound_.80_.v1_.a.b.svc"


@pytest.mark.parametrize("name", [OUTBOUND, SERVER_NAME])
@pytest.mark.parametrize(
    ("match", "matches"),
    [
        ({}, True),
        ({"service": "a.b.svc"}, True),
        ({"service": "a.b"}, False),
        ({"subset": "v1", "portNumber": 80}, True),
        ({"subset": "v2"}, False),
        ({"portNumber": 81}, False),
    ],
)
def test_parts_of_the_name_of_a_cluster(name: str, match: dict[str, Any], *, matches: bool) -> None:
    assert matches_cluster(ClusterMatch.model_validate(match), name) is matches


def test_a_cluster_that_is_named_is_looked_at_no_further() -> None:
    match = ClusterMatch.model_validate({"name": OUTBOUND, "subset": "v9"})
    assert (matches_cluster(match, OUTBOUND), matches_cluster(match, SERVER_NAME)) == (True, False)


@pytest.mark.parametrize("match", [{"service": "a.b"}, {"subset": "v1"}, {"portNumber": 80}])
def test_a_name_without_parts_has_none(match: dict[str, Any]) -> None:
    assert not matches_cluster(ClusterMatch.model_validate(match), "BlackHoleCluster")
