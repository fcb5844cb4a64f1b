"""The WorkloadEntry of a machine that registers itself: its name, what is in it, its health, and when it goes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from controlplane.controllers.workload_entries import (
    condition,
    entry_name,
    entry_of,
    is_due,
    read_time,
    without_health,
    written_time,
)
from controlplane.model.objects import Object
from controlplane.model.parse import Parsed, parse
from controlplane.model.proxy import Locality, Proxy

NOW = datetime(2026, 11, 30, 12, 0, 0, 123456, tzinfo=UTC)
GRACE, AGE = timedelta(seconds=10), timedelta(minutes=30)


def group(**spec: Any) -> Object:
    raw = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "WorkloadGroup",
        "metadata": {"name": "db", "namespace": "shop"},
        "spec": {"template": {}, **spec},
    }
    found = parse("WorkloadGroup", raw)
    assert isinstance(found, Parsed), found
    return found.object


def proxy(ip: str = "10.0.0.9", network: str = "", **more: Any) -> Proxy:
    return Proxy(
        "sidecar", "vm.shop", (ip,), "shop", "shop.svc.cluster.local", more.pop("labels", {}), network=network, **more
    )


@pytest.mark.parametrize(
    ("ip", "network", "name"),
    [
        ("10.0.0.9", "", "db-10.0.0.9"),
        ("10.0.0.9", "east", "db-10.0.0.9-east"),
        ("fd00::9", "", "db-fd00--9"),
    ],
)
def test_its_name(ip: str, network: str, name: str) -> None:
    assert entry_name("db", proxy(ip, network)) == name


def test_a_name_that_is_too_long_loses_its_beginning() -> None:
    name = entry_name("g" * 253, proxy())
    assert (len(name), name[-9:]) == (253, "-10.0.0.9")


def test_what_is_in_it() -> None:
    """Labels of the machine win over those of the group's metadata, and these over the template's."""
    stated = group(
        metadata={"labels": {"a": "metadata", "b": "metadata"}, "annotations": {"note": "x"}},
        template={
            "labels": {"a": "template", "b": "template", "c": "template"},
            "ports": {"tcp": 3306},
            "serviceAccount": "db",
            "weight": 3,
            "network": "west",
            "locality": "eu/a",
        },
    )
    own = {"a": "machine", "istio-locality": "us"}
    metadata = {"ENABLE_HBONE": True, "PROXY_CONFIG": {"readinessProbe": {"exec": {}}}}
    found = entry_of(stated, "uid-1", proxy(labels=own, metadata=metadata), {"istio.io/connectedAt": "now"})
    labels = {"a": "machine", "b": "metadata", "c": "template", "networking.istio.io/tunnel": "http"}
    assert found["metadata"]["labels"] == labels
    assert found["metadata"]["annotations"] == {
        "note": "x",
        "istio.io/autoRegistrationGroup": "db",
        "istio.io/connectedAt": "now",
        "proxy.istio.io/health-checks-enabled": "true",
    }
    (owner,) = found["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"], owner["uid"], owner["controller"]) == ("WorkloadGroup", "db", "uid-1", True)
    assert found["spec"] == {
        "address": "10.0.0.9",
        "labels": labels,
        "ports": {"tcp": 3306},
        "serviceAccount": "db",
        "weight": 3,
        "network": "west",
        "locality": "eu/a",
    }


def test_where_a_machine_is_goes_before_what_its_group_says() -> None:
    stated = group(template={"network": "west", "locality": "eu/a"})
    found = entry_of(stated, "", proxy(network="east", locality=Locality("us", "b", "")), {})["spec"]
    assert (found["network"], found["locality"]) == ("east", "us/b")
    assert found.keys() == {"address", "network", "locality"} | ({"labels"} & found.keys())


def test_health_is_one_condition_beside_others() -> None:
    other = {"type": "Other", "status": "True"}
    well = condition("", {"conditions": [other]}, "t1")
    assert well == [
        other,
        {"type": "Healthy", "status": "True", "lastProbeTime": "t1", "lastTransitionTime": "t1"},
    ]
    still = condition("", {"conditions": well}, "t2")[1]
    assert (still["lastProbeTime"], still["lastTransitionTime"]) == ("t2", "t1")
    ill = condition("no answer", {"conditions": well}, "t3")[1]
    assert (ill["status"], ill["message"], ill["lastTransitionTime"]) == ("False", "no answer", "t3")
    assert without_health({"conditions": [other, ill]}) == [other]
    assert without_health(None) == []


@pytest.mark.parametrize(
    ("annotations", "goes"),
    [
        ({}, False),
        ({"istio.io/disconnectedAt": written_time(NOW - AGE)}, False),  # written by hand
        ({"istio.io/autoRegistrationGroup": "db"}, False),
        ({"istio.io/autoRegistrationGroup": "db", "istio.io/disconnectedAt": written_time(NOW - GRACE)}, True),
        ({"istio.io/autoRegistrationGroup": "db", "istio.io/disconnectedAt": written_time(NOW)}, False),
        ({"istio.io/autoRegistrationGroup": "db", "istio.io/connectedAt": written_time(NOW - AGE * 1.4)}, False),
        ({"istio.io/autoRegistrationGroup": "db", "istio.io/connectedAt": written_time(NOW - AGE * 1.6)}, True),
        ({"istio.io/autoRegistrationGroup": "db", "istio.io/disconnectedAt": "yesterday"}, False),
    ],
)
def test_when_it_goes(annotations: dict[str, str], goes: bool) -> None:  # noqa: FBT001 - a column
    assert is_due(annotations, NOW, GRACE, AGE) is goes


@pytest.mark.parametrize("text", ["2026-11-30T12:00:00.123456Z", "2026-11-30T12:00:00.123456789Z"])
def test_times_of_istiod_are_read_too(text: str) -> None:
    assert read_time(text) == NOW
    assert read_time("2026-11-30T12:00:00Z") == NOW.replace(microsecond=0)
