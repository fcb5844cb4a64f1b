"""Nodes become proxies, or a reason why not."""

from __future__ import annotations

from typing import Any

import pytest
from envoy.config.core.v3.base_pb2 import Locality as EnvoyLocality
from envoy.config.core.v3.base_pb2 import Node
from google.protobuf.json_format import ParseDict
from google.protobuf.struct_pb2 import Struct

from controlplane.ads.node import proxy_of
from controlplane.ads.refusal import Refusal, StreamRefused
from controlplane.model.proxy import Locality

ID = "sidecar~10.1.1.5~reviews-v1.shop~shop.svc.cluster.local"


def node(node_id: str = ID, **metadata: Any) -> Node:
    return Node(id=node_id, metadata=ParseDict(metadata, Struct()))


def test_stock_envoy() -> None:
    proxy = proxy_of(Node(id=ID, locality=EnvoyLocality(region="eu", zone="eu-1")))
    assert (proxy.type, proxy.id, proxy.name, proxy.namespace) == ("sidecar", "reviews-v1.shop", "reviews-v1", "shop")
    assert (proxy.ips, proxy.domain, proxy.istio_version) == (("10.1.1.5",), "shop.svc.cluster.local", "")
    assert proxy.locality == Locality("eu", "eu-1")


def test_istio_proxy() -> None:
    proxy = proxy_of(
        node(
            LABELS={"app": "reviews"},
            STATIC_LABELS={"zone": "1"},
            INSTANCE_IPS="10.9.9.9,fe80::1,nonsense",
            NAMESPACE="other",
            CLUSTER_ID="east",
            NETWORK="n1",
            ISTIO_VERSION="1.28.0",
            DNS_CAPTURE="true",
            ENABLE_HBONE="false",
            ENVOY_STATUS_PORT=15021,
            SOMETHING_NEW={"a": [1, None]},
        )
    )
    assert (proxy.labels, proxy.static_labels) == ({"app": "reviews"}, {"zone": "1"})
    assert proxy.ips == ("10.9.9.9", "fe80::1")
    assert (proxy.namespace, proxy.cluster_id, proxy.network, proxy.istio_version) == ("other", "east", "n1", "1.28.0")
    assert (proxy.metadata["DNS_CAPTURE"], proxy.metadata["ENABLE_HBONE"]) == (True, False)
    assert (proxy.metadata["ENVOY_STATUS_PORT"], proxy.metadata["SOMETHING_NEW"]) == (15021, {"a": [1, None]})


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        pytest.param(Node(), "missing node information", id="no-id"),
        pytest.param(node("a~b~c"), 'node.id "a~b~c" must have four parts', id="three-parts"),
        pytest.param(node("sidecar~1.1.1.1~a.b~c~d"), "must have four parts", id="five-parts"),
        pytest.param(node("waypoint~1.1.1.1~a.b~c.d"), 'type "waypoint" is not served here', id="waypoint"),
        pytest.param(node("car~1.1.1.1~a.b~c.d"), 'type "car" is unknown', id="unknown-type"),
        pytest.param(node("sidecar~1.1.1.1~~c.d"), "empty third part", id="no-name"),
        pytest.param(node("sidecar~~a.b~c.d"), "no valid IP address", id="no-address"),
        pytest.param(node(LABELS="app=x"), "node.metadata.LABELS must be a map of strings", id="labels-text"),
        pytest.param(node(LABELS={"app": 1}), "node.metadata.LABELS must be a map of strings", id="label-number"),
        pytest.param(node(NAMESPACE=1), "node.metadata.NAMESPACE must be a string", id="namespace-number"),
        pytest.param(node(DNS_CAPTURE=True), "node.metadata.DNS_CAPTURE must be", id="json-boolean"),
        pytest.param(node(DNS_CAPTURE="maybe"), "node.metadata.DNS_CAPTURE must be", id="no-boolean"),
    ],
)
def test_refused(given: Node, reason: str) -> None:
    with pytest.raises(StreamRefused) as caught:
        proxy_of(given)
    assert reason in str(caught.value)
    assert caught.value.kind is Refusal.INVALID


@pytest.mark.parametrize(("domain", "namespace"), [("shop.svc.cluster.local", "shop"), ("shop", ""), ("", "")])
def test_namespace_of_domain(domain: str, namespace: str) -> None:
    assert proxy_of(node(f"router~10.0.0.1~gw.x~{domain}")).namespace == namespace


def nested(levels: int) -> Any:
    value: Any = "x"
    for _ in range(levels):
        value = {"a": [value]}
    return value


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        pytest.param({"X": nested(13)}, "nested deeper than 24 levels", id="deep"),
        pytest.param({"X": "x" * 600_000}, "more than 524288", id="large"),
    ],
)
def test_metadata_beyond_reason(metadata: dict[str, Any], reason: str) -> None:
    with pytest.raises(StreamRefused, match=reason):
        proxy_of(node(**metadata))


def test_metadata_within_reason() -> None:
    assert proxy_of(node(X=nested(11))).metadata["X"] == nested(11)
