"""Random meshes: services of all sorts with their pods, objects of Istio's kinds, and proxies of them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any, NamedTuple

from controlplane.apis.kinds import KINDS
from controlplane.model.parse import Parsed
from controlplane.model.proxy import Proxy
from controlplane.watchers.kinds import parse
from tests.compiler.histories import manifest
from tests.fuzz.generate import Generator

Json = dict[str, Any]
NAMESPACES = ("shop", "fuzz")
_NAMES = ("web", "own", "head", "api")
_PORTS = (
    ("http", 80), ("http2", 8080), ("grpc", 81), ("tcp", 90), ("", 70), ("https", 443), ("tls", 444), ("mongo", 27017),
)  # fmt: skip
_KINDS = tuple(sorted(set(KINDS) - {"EnvoyFilter"}))
_MESHES = (
    "{}", "{}", "{}", "{}", "{enableAutoMtls: false}", "{accessLogFile: /dev/stdout}", "{proxyHttpPort: 15080}",
    "{outboundTrafficPolicy: {mode: REGISTRY_ONLY}}", "{defaultConfig: {tracing: {zipkin: {address: 'web.shop:80'}}}}",
)  # fmt: skip
_METADATA: tuple[Json, ...] = (
    {},
    {"DNS_CAPTURE": "true"},
    {"INTERCEPTION_MODE": "TPROXY"},
    {"INTERCEPTION_MODE": "NONE"},
)


class Drawn(NamedTuple):
    """One mesh: raw objects, and who connects."""

    objects: tuple[Json, ...]
    proxies: tuple[Proxy, ...]


def mesh(chance: random.Random) -> Drawn:
    """Return a mesh whose objects are all accepted; there is always a service ``web`` in ``shop``, and a gateway."""
    places = [(namespace, name) for namespace in NAMESPACES for name in _NAMES]
    workloads = [("shop", "web"), *chance.sample(places[1:], chance.randint(0, 4))]
    objects: list[Json] = []
    for number, (namespace, name) in enumerate(workloads, 1):
        objects += _service(chance, namespace, name, number)
    settings = {"mesh": chance.choice(_MESHES)}
    objects.append(manifest("v1", "ConfigMap", "istio-system", "istio", data=settings))
    objects += _objects(chance)
    chosen = chance.sample(list(enumerate(workloads, 1)), min(len(workloads), 2))
    proxies = [_proxy(chance, "sidecar", place, number) for number, place in chosen]
    return Drawn(tuple(objects), (*proxies, _proxy(chance, "router", ("shop", "web"), 1)))


def _service(chance: random.Random, namespace: str, name: str, number: int) -> Iterator[Json]:
    ports = chance.sample(_PORTS, chance.randint(1, 4))
    stated = [{"name": protocol or f"p{port}", "port": port} for protocol, port in ports]
    address = "None" if chance.random() < 0.2 else f"10.0.0.{number}"
    spec = {"clusterIP": address, "selector": {"app": name}, "ports": stated}
    yield manifest("v1", "Service", namespace, name, spec=spec)
    pods = [f"10.1.{number}.{each}" for each in range(1, 1 + chance.randint(1, 2))]
    for each, ip in enumerate(pods, 1):
        labels = {"app": name, "version": f"v{each}", "topology.istio.io/locality": chance.choice(["r1/z1", "r2/z1"])}
        containers = [{"ports": [{"containerPort": port} for _, port in ports]}]
        pod = {"spec": {"containers": containers}, "status": {"podIP": ip}}
        yield manifest("v1", "Pod", namespace, f"{name}-{each}", labels=labels, **pod)
    yield manifest(
        "discovery.k8s.io/v1",
        "EndpointSlice",
        namespace,
        f"{name}-s",
        labels={"kubernetes.io/service-name": name},
        addressType="IPv4",
        ports=[{"name": protocol or f"p{port}", "port": port} for protocol, port in ports],
        endpoints=[
            {"addresses": [ip], "targetRef": {"kind": "Pod", "name": f"{name}-{each}"}}
            for each, ip in enumerate(pods, 1)
        ],
    )


def _objects(chance: random.Random) -> Iterator[Json]:
    """Yield objects of Istio's kinds, of those tried the ones that are accepted."""
    for number in range(chance.randint(0, 8)):
        raw = Generator(chance).object(chance.choice(_KINDS))
        place = {"name": f"o{number}", "namespace": chance.choice((*NAMESPACES, "istio-system"))}
        raw["metadata"] |= place
        if isinstance(parse(raw, "fuzz"), Parsed):
            yield raw


def _proxy(chance: random.Random, kind: str, place: tuple[str, str], number: int) -> Proxy:
    namespace, name = place
    domain, labels = f"{namespace}.svc.cluster.local", {"app": name, "version": "v1"}
    address, metadata = f"10.1.{number}.1", chance.choice(_METADATA)
    return Proxy(kind, f"{name}-1.{namespace}", (address,), namespace, domain, labels, metadata=metadata)
