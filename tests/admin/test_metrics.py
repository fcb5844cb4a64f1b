"""Counters by istiod's names."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, generate_latest

from controlplane import metrics
from controlplane.snapshots import ResourceType


def page() -> str:
    return "".join(metrics.exposition())


def value(name: str, **labels: str) -> float:
    """Return one sample of the page as it is written, 0 where it is not there."""
    inside = ",".join(f'{label}="{text}"' for label, text in sorted(labels.items()))
    start = f"{name}{{{inside}}} " if inside else f"{name} "
    lines = page().splitlines()
    return next((float(line.removeprefix(start)) for line in lines if line.startswith(start)), 0.0)


def test_every_resource_type_has_its_label() -> None:
    assert set(metrics.SHORT_TYPE_NAMES) == {type_.value for type_ in ResourceType}


def test_istiods_counters_have_no_suffix() -> None:
    before = value("pilot_xds_pushes", type="lds")
    metrics.PUSHES.count(ResourceType.LISTENER.value, 100)
    metrics.PUSHES.count("type.googleapis.com/unknown", 100)
    assert value("pilot_xds_pushes", type="lds") == before + 1
    assert "pilot_xds_pushes_total" not in page()


def test_names_that_begin_alike_are_left_alone() -> None:
    metrics.CONVERGENCE_TIME.observe(0.2)
    assert value("pilot_proxy_convergence_time_count") >= 1


def test_our_own_counters_keep_prometheus_suffix() -> None:
    assert "controlplane_event_loop_lag_seconds_count" in page()


def test_sizes_are_by_type_url() -> None:
    url = ResourceType.CLUSTER.value
    name = "pilot_xds_config_size_bytes"
    before = [value(f"{name}_bucket", type=url, le=le) for le in ("10000.0", "1e+06", "+Inf")]
    total = value(f"{name}_sum", type=url)
    for size in (10_000, 20_000, 90_000_000):
        metrics.PUSHES.count(url, size)
    after = [value(f"{name}_bucket", type=url, le=le) for le in ("10000.0", "1e+06", "+Inf")]
    assert [b - a for a, b in zip(before, after, strict=True)] == [1, 2, 3]
    assert value(f"{name}_sum", type=url) - total == 90_030_000


def test_version() -> None:
    metrics.set_version("0.1.0")
    assert value("pilot_info", version="0.1.0") == 1
    assert value("istio_build", component="pilot", tag="0.1.0") == 1


def test_a_metric_of_many_samples_is_written_in_pieces() -> None:
    whole = CollectorRegistry()
    many = Counter("objects", "Objects.", ["name"], registry=whole)
    for number in range(500):
        many.labels(f'a"{number}').inc()
    (metric,) = whole.collect()
    pieces = list(metrics.family(metric))
    assert len(pieces) > 5
    assert "".join(pieces).encode() == generate_latest(whole)


def test_the_page_has_no_family_twice() -> None:
    headings = [line for line in page().splitlines() if line.startswith("# TYPE")]
    assert len(headings) == len(set(headings))


def test_labels_that_objects_choose_are_bounded() -> None:
    name = "pilot_total_rejected_configs"
    for number in range(2 * metrics.MOST_LABEL_SETS):
        metrics.REJECTED_CONFIGS.count("VirtualService", f"route-{number}")
    metrics.REJECTED_CONFIGS.count("VirtualService", "x" * 100_000 + "\udce4")
    lines = [line for line in page().splitlines() if line.startswith(f"{name}{{")]
    assert len(lines) <= metrics.MOST_LABEL_SETS + 1
    assert max(map(len, lines)) < 3 * metrics.LONGEST_LABEL
    (others,) = (line for line in lines if 'name="other",type="other"' in line or 'type="other",name="other"' in line)
    assert float(others.rpartition(" ")[2]) > metrics.MOST_LABEL_SETS


def test_a_label_can_be_written_whatever_it_is() -> None:
    assert metrics.label("1.27\udce4") == "1.27\\udce4"
    assert metrics.label("v" * 1000) == "v" * metrics.LONGEST_LABEL
