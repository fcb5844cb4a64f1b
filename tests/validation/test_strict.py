"""What the API server refuses, ``validate`` and the webhook refuse: by the published schema, with its strictness."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.model.objects import Rejected
from controlplane.model.parse import parse
from controlplane.validation.verdict import verdict

NETWORKING = "networking.istio.io/v1"
TO_WEB = [{"destination": {"host": "web"}}]


def object_of(kind: str, spec: Any, **metadata: Any) -> dict[str, Any]:
    return {
        "apiVersion": NETWORKING,
        "kind": kind,
        "metadata": {"name": "a", "namespace": "default", **metadata},
        "spec": spec,
    }


def routes(**fields: Any) -> dict[str, Any]:
    return {"hosts": ["a.example"], "http": [{"route": TO_WEB, **fields}]}


def hashed(**fields: Any) -> dict[str, Any]:
    return {"host": "web", "trafficPolicy": {"loadBalancer": {"consistentHash": fields}}}


def errors(obj: dict[str, Any]) -> list[str]:
    found = verdict(obj)
    assert found is not None
    return list(map(str, found.errors))


@pytest.mark.parametrize(
    ("kind", "spec", "problem"),
    [
        pytest.param(
            "VirtualService",
            routes(retries={"attempts": "2"}),
            "spec.http[0].retries.attempts: must be an integer, not text",
        ),
        pytest.param("VirtualService", routes(timeout=5), "spec.http[0].timeout: 5 is not a duration"),
        pytest.param("VirtualService", routes(cors_policy={}), "spec.http[0].cors_policy: unknown field"),
        pytest.param("VirtualService", routes(match=None), "spec.http[0].match: must be a list, not null"),
        pytest.param(
            "VirtualService",
            routes(match=[{"headers": {"x": {"exact": "a", "prefix": "b"}}}]),
            "spec.http[0].match[0].headers.x: only one of exact, prefix, regex can be set",
        ),
        pytest.param(
            "VirtualService",
            routes(fault={"abort": {"percentage": {"value": "5"}}}),
            "spec.http[0].fault.abort",
        ),
        pytest.param("DestinationRule", hashed(httpHeaderName="x", useSourceIp=True), "spec.trafficPolicy"),
        pytest.param(
            "DestinationRule",
            hashed(useSourceIp=True, ringHash={}, maglev={}),
            "spec.trafficPolicy.loadBalancer.consistentHash: only one of ringHash, maglev can be set",
        ),
        pytest.param(
            "ServiceEntry",
            {"hosts": ["a.example"], "ports": [{"number": 80, "name": "a"}, {"number": 81, "name": "a"}]},
            "spec.ports[1]",
        ),
        pytest.param("Gateway", {"servers": {}}, "spec.servers: "),
        pytest.param("Sidecar", [], "spec: "),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_refused(kind: str, spec: Any, problem: str) -> None:
    found = errors(object_of(kind, spec))
    assert any(each.startswith(problem) for each in found), found


@pytest.mark.parametrize(
    "obj",
    [
        object_of("VirtualService", routes(match=[{"port": 0}], retries={"attempts": 2.0})),
        object_of("VirtualService", routes(timeout="1s"), uid="x", managedFields=[], creationTimestamp=None),
        object_of("DestinationRule", hashed(httpHeaderName="x", maglev={"tableSize": 5003})),
        object_of(
            "DestinationRule",
            {"host": "web", "trafficPolicy": {"outlierDetection": {"consecutive5xxErrors": None}}},
        ),
    ],
)
def test_accepted(obj: dict[str, Any]) -> None:
    assert errors(obj) == []


def test_metadata() -> None:
    found = errors(object_of("VirtualService", routes(), labels={"a": "b c", "x/y/z": ""}, annotation={}))
    assert [each.partition(":")[0] for each in found] == ["metadata.annotation", "metadata.labels.a", "metadata.labels"]


def test_a_problem_is_told_once() -> None:
    (found,) = errors(object_of("VirtualService", routes(weigth=1)))
    assert found == "spec.http[0].weigth: unknown field"


def test_files_are_read_all_the_same() -> None:
    """Names of protobuf and numbers as texts mean what they say."""
    spec = routes(retries={"attempts": "2", "per_try_timeout": "1s"})
    assert not isinstance(parse("VirtualService", object_of("VirtualService", spec)), Rejected)
