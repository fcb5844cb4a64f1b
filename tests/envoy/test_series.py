"""What a sidecar gives to Prometheus does not grow with the mesh, unless that is asked for."""

from __future__ import annotations

from tests.envoy.series import CHOICES, measured


async def test_the_series_of_a_sidecar_do_not_grow_with_the_mesh() -> None:
    small, large = await measured(2), await measured(12)
    chosen, all_clusters = CHOICES
    assert small.sidecars[chosen] == large.sidecars[chosen] > 0
    assert large.sidecars[all_clusters] > small.sidecars[all_clusters] > small.sidecars[chosen]
