"""What a change makes the compiler do, counted: it does not depend on the size of the mesh."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from bench.identity import policy_changes
from bench.mesh import Mesh
from bench.work import KINDS, work_by_size, work_table
from controlplane.registry import portions

SMALL, LARGE = 40, 160
SPACES = 4


@pytest.mark.parametrize("many", [8, 512])
def test_the_work_of_a_change_is_the_same_in_a_mesh_four_times_as_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, many: int
) -> None:
    """In everything that is counted: the dependencies that are looked at, too. Lists in portions (8) or not (512)."""
    monkeypatch.setattr(portions, "MANY", many)
    by_size = work_by_size(Mesh(tmp_path / "mesh", 0, 2, SPACES), (SMALL, LARGE))
    for kind in KINDS:
        small, large = by_size[SMALL][kind], by_size[LARGE][kind]
        assert (large.targets, large.queries, large.lists) == (small.targets, small.queries, small.lists), kind
        assert large.encoded <= small.encoded + 100, "names with one more digit"
        before_it = portions.PORTIONS if many < SMALL else 0  # as many portions are looked at as come before its own
        assert abs(large.compared - small.compared) <= before_it, kind
    endpoint, routes, service = (by_size[LARGE][kind] for kind in KINDS)
    assert (endpoint.targets, endpoint.lists) == (1, 1)
    assert routes.targets == SPACES
    assert service.targets == SPACES + 2, "a route configuration for each namespace, a cluster, its load assignment"
    console = Console(width=130)
    with console.capture() as capture:
        console.print(work_table(by_size))
    assert f"{endpoint.compared:,}" in capture.get()


async def test_a_policy_of_one_workload_reaches_that_one_alone(tmp_path: Path) -> None:
    (tmp_path / "mesh").mkdir()
    found = await policy_changes(Mesh(tmp_path / "mesh", SMALL, 2, SPACES), 3 * SPACES)
    one, namespace = found["one workload"], found["a namespace"]
    assert (one.selects, one.changed) == (1, 1)
    assert (namespace.selects, namespace.changed) == (3, 3)
    assert (one.targets, namespace.targets) == (1, 2), "workloads with the same policies share what is built"
