"""Counters by istiod's names."""

from __future__ import annotations

from controlplane import metrics
from controlplane.snapshots import ResourceType


def value(name: str, **labels: str) -> float:
    """Return one sample of the page as it is written, 0 where it is not there."""
    inside = ",".join(f'{label}="{text}"' for label, text in sorted(labels.items()))
    start = f"{name}{{{inside}}} " if inside else f"{name} "
    lines = metrics.exposition().decode().splitlines()
    return next((float(line.removeprefix(start)) for line in lines if line.startswith(start)), 0.0)


def test_every_resource_type_has_its_label() -> None:
    assert set(metrics.PUSHES) == {type_.value for type_ in ResourceType}


def test_istiods_counters_have_no_suffix() -> None:
    before = value("pilot_xds_pushes", type="lds")
    metrics.PUSHES[ResourceType.LISTENER.value].inc()
    assert value("pilot_xds_pushes", type="lds") == before + 1
    assert b"pilot_xds_pushes_total" not in metrics.exposition()


def test_names_that_begin_alike_are_left_alone() -> None:
    metrics.PUSH_TIME[ResourceType.LISTENER.value].observe(0.2)
    assert value("pilot_xds_push_time_count", type="lds") >= 1


def test_our_own_counters_keep_prometheus_suffix() -> None:
    metrics.TARGETS_BUILT[ResourceType.ROUTE.value].inc(3)
    assert value("controlplane_targets_built_total", type="rds") >= 3


def test_sizes_are_by_type_url() -> None:
    metrics.CONFIG_SIZE[ResourceType.CLUSTER.value].observe(20_000)
    assert value("pilot_xds_config_size_bytes_bucket", type=ResourceType.CLUSTER.value, le="1e+06") >= 1


def test_version() -> None:
    metrics.set_version("0.1.0")
    assert value("pilot_info", version="0.1.0") == 1
    assert value("istio_build", component="pilot", tag="0.1.0") == 1


def test_the_page_has_no_family_twice() -> None:
    headings = [line for line in metrics.exposition().decode().splitlines() if line.startswith("# TYPE")]
    assert len(headings) == len(set(headings))
