"""The mesh of these tests: three services, with one VirtualService and its DestinationRule to be spoiled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Json = dict[str, Any]
NETWORKING = "networking.istio.io/v1"
CART = "cart.shop.svc.cluster.local"
PORT = 8000


def manifest(api: str, kind: str, name: str, namespace: str = "shop", **fields: Any) -> Json:
    return {"apiVersion": api, "kind": kind, "metadata": {"name": name, "namespace": namespace}, **fields}


def service(name: str, number: int) -> Sequence[Json]:
    """Return a service and its endpoint."""
    endpoints = manifest(
        "discovery.k8s.io/v1",
        "EndpointSlice",
        f"{name}-1",
        addressType="IPv4",
        ports=[{"name": "http", "port": 8080, "protocol": "TCP"}],
        endpoints=[{"addresses": [f"10.9.1.{number}"], "conditions": {"ready": True}}],
    )
    endpoints["metadata"]["labels"] = {"kubernetes.io/service-name": name}
    spec = {
        "clusterIP": f"10.9.0.{number}",
        "selector": {"app": name},
        "ports": [{"name": "http", "port": PORT, "targetPort": 8080}],
    }
    return manifest("v1", "Service", name, spec=spec), endpoints


def virtual_service(*rules: Json, name: str = "cart", **spec: Any) -> Json:
    return manifest(NETWORKING, "VirtualService", name, spec={"hosts": ["cart"], "http": list(rules), **spec})


def to(subset: str, **fields: Any) -> Json:
    return {"destination": {"host": "cart", "subset": subset}, **fields}


def cluster(host: str, subset: str = "", port: int = PORT) -> str:
    return f"outbound|{port}|{subset}|{host}"


def marker(number: int) -> Json:
    """Return an object that gives every proxy one more cluster and listener and touches nothing else."""
    spec = {
        "hosts": [f"marker-{number}.test"],
        "addresses": [f"240.1.{number // 256}.{number % 256}"],
        "ports": [{"number": 7000, "name": "tcp", "protocol": "TCP"}],
        "resolution": "STATIC",
        "location": "MESH_EXTERNAL",
        "endpoints": [{"address": "10.9.2.1"}],
    }
    return manifest(NETWORKING, "ServiceEntry", f"marker-{number}", spec=spec)


GOOD = virtual_service({"route": [to("v1")], "retries": {"attempts": 7}})
RULE = manifest(
    NETWORKING,
    "DestinationRule",
    "cart",
    spec={"host": "cart", "subsets": [{"name": "v1", "labels": {"version": "v1"}}]},
)
MESH = [*service("cart", 1), *service("reviews", 2), *service("ratings", 3), RULE]
