"""The strict check of one object."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.validation.verdict import verdict


def rule(**spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "DestinationRule",
        "metadata": {"name": "r", "namespace": "shop"},
        "spec": {"host": "a", **spec},
    }


@pytest.mark.parametrize(
    ("obj", "errors"),
    [
        pytest.param(rule(), [], id="good"),
        pytest.param([], ["is not an object"], id="list"),
        pytest.param({}, ["apiVersion: is required", "kind: is required"], id="empty"),
        pytest.param({"apiVersion": 1, "kind": "X"}, ["apiVersion: is required"], id="number-as-version"),
        pytest.param(
            {"apiVersion": "security.istio.io/v1", "kind": "Gateway", "metadata": None},
            [
                (
                    "kind: security.istio.io has no Gateway, but AuthorizationPolicy, PeerAuthentication, "
                    "RequestAuthentication"
                )
            ],
            id="kind-of-another-group",
        ),
        pytest.param(rule() | {"data": {}}, ["data: unknown field"], id="top-level"),
        pytest.param(rule(hots="a"), ["spec.hots: unknown field"], id="unknown-field"),
        pytest.param(rule(host="a..b"), ["spec.host: 'a..b' is not a host name or wildcard"], id="quoted-once"),
        pytest.param(
            rule(trafficPolicy={"connectionPool": {"tcp": {"connectTimeout": "1us"}}}),
            [
                (
                    "spec.trafficPolicy.connectionPool.tcp.connectTimeout: must be a valid duration greater than 1ms "
                    "(got '1us')"
                )
            ],
            id="value-quoted",
        ),
        pytest.param(
            rule(trafficPolicy={"tls": {"mode": "SIMPLE", "privateKey": ["-----BEGIN"]}}),
            ["spec.trafficPolicy.tls.privateKey: Input should be a valid string"],
            id="no-key-material",
        ),
        pytest.param(
            rule() | {"metadata": {"name": "r", "annotations": {"internal.istio.io/parents": "x"}}},
            ["metadata.annotations.internal.istio.io/parents: is reserved (got 'x')"],
            id="reserved-annotation",
        ),
    ],
)
def test_errors(obj: Any, errors: list[str]) -> None:
    found = verdict(obj)
    assert found is not None
    assert [str(each).lower() for each in found.errors] == [each.lower() for each in errors]


def test_warnings_stand_apart() -> None:
    found = verdict(rule(trafficPolicy={"outlierDetection": {"consecutiveErrors": 5}}))
    assert found is not None
    assert (str(found.key), found.errors) == ("DestinationRule shop/r", ())
    assert [each.path for each in found.warnings] == ["spec.trafficPolicy.outlierDetection.consecutiveErrors"]


def test_other_groups_are_not_checked() -> None:
    assert verdict({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "spec": {"x": 1}}) is None
    assert verdict({"apiVersion": "v1", "kind": "Service"}) is None
