"""How the time to read and check an object grows: each row is made of one thing that once took quadratic time or worse.

``python -m bench.growth [SIZE]`` prints the table; tests/validation holds that none grows faster than its size.
"""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Callable
from contextlib import suppress
from time import thread_time
from typing import Any

from controlplane.documents.json_reader import json_documents, json_pruned
from controlplane.documents.limits import UnreadableError
from controlplane.documents.yaml_reader import chunks, yaml_documents
from controlplane.validation.verdict import verdict
from controlplane.watchers.kinds import parse

Obj = dict[str, Any]
NETWORKING, SECURITY = "networking.istio.io/v1", "security.istio.io/v1"
ROUTE = [{"destination": {"host": "web"}}]


def _istio(kind: str, spec: Obj, api_version: str = NETWORKING) -> Obj:
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": "a", "namespace": "b"}, "spec": spec}


def _routes(http: list[Obj], **more: object) -> Obj:
    return _istio("VirtualService", {"hosts": ["a.example"], "http": http, **more})


def _policy(**fields: object) -> Obj:
    return _istio("AuthorizationPolicy", {"rules": [fields]}, SECURITY)


def _match(n: int, match: Callable[[int], Obj]) -> Obj:
    return _routes([{"match": [match(i)], "route": ROUTE} for i in range(n)])


def _tls(n: int) -> Obj:
    hosts = [f"h{i}.example" for i in range(n)]
    tls = [{"match": [{"sniHosts": [host]}], "route": ROUTE} for host in hosts]
    return _istio("VirtualService", {"hosts": hosts, "gateways": ["b/g"], "tls": tls})


def _locality(n: int) -> Obj:
    places = {f"r{i}/z": 1 for i in range(n)}
    setting = {"distribute": [{"from": f"r{i}/*", "to": places if i == 0 else {"r": 100}} for i in range(n)]}
    return _istio("DestinationRule", {"host": "web", "trafficPolicy": {"loadBalancer": {"localityLbSetting": setting}}})


OBJECTS: dict[str, Callable[[int], Obj]] = {
    "condition-key": lambda n: _policy(when=[{"key": "request.headers" + "[a]" * n + "x", "values": ["v"]}]),
    "condition-key-open": lambda n: _policy(when=[{"key": "request.headers" + "[" * n, "values": ["v"]}]),
    "path-template": lambda n: _policy(to=[{"operation": {"paths": ["/" + "{x/" * n]}}]),
    "duration": lambda n: _routes([{"route": ROUTE, "timeout": "1" * n * 10}]),
    "durations": lambda n: _routes([{"route": ROUTE, "timeout": f"{i + 1}ms"} for i in range(n)]),
    "header-value": lambda n: _routes([{"route": ROUTE, "headers": {"request": {"set": {"a": "%A(" * n * 10}}}}]),
    "header-value-closed": lambda n: _routes(
        [{"route": ROUTE, "headers": {"request": {"set": {"a": "%REQ(" + "a)" * n * 10}}}}]
    ),
    "routes": lambda n: _match(n, lambda i: {"uri": {"prefix": f"/p{i}"}}),
    "routes-alike": lambda n: _match(n, lambda _: {"uri": {"prefix": "/p"}, "headers": {"a": {"exact": "b"}}}),
    "routes-nested": lambda n: _match(n, lambda i: {"uri": {"prefix": "/" + "p" * (i % 500)}, "port": i % 3}),
    "routes-bad": lambda n: _match(n, lambda _: {"uri": {"regex": "("}}),
    "hosts": lambda n: _istio(
        "VirtualService", {"hosts": [f"h{i}.example" for i in range(n)], "http": [{"route": ROUTE}]}
    ),
    "hosts-wild": lambda n: _istio(
        "VirtualService", {"hosts": [f"*.{'a.' * (i % 100)}h{i}.example" for i in range(n)], "gateways": ["b/g"]}
    ),
    "hosts-same": lambda n: _istio("VirtualService", {"hosts": ["*.a"] * n, "http": [{"route": ROUTE}]}),
    "tls": _tls,
    "locality": _locality,
    "egress": lambda n: _istio("Sidecar", {"egress": [{"hosts": [f"ns/h{i}.example" for i in range(n)]}]}),
    "unknown-fields": lambda n: _routes([{"route": ROUTE} | {f"x{i}": 1 for i in range(n)}]),
    "unknown-and-broken": lambda n: _routes([{"route": ROUTE, "timeout": "x", "y": 1} for _ in range(n)]),
    "regexes": lambda n: _match(n, lambda i: {"uri": {"regex": f"/[a-z]+/{i}"}}),
    "subsets": lambda n: _istio(
        "DestinationRule", {"host": "web", "subsets": [{"name": f"s{i}", "labels": {"v": str(i)}} for i in range(n)]}
    ),
    "labels": lambda n: _istio(
        "DestinationRule", {"host": "web", "subsets": [{"name": "s", "labels": {f"k{i}": "v" for i in range(n)}}]}
    ),
    "export-to": lambda n: _routes([{"route": ROUTE}], exportTo=[f"n{i}" for i in range(n)]),
    "servers": lambda n: _istio(
        "Gateway",
        {
            "servers": [
                {"port": {"number": 80, "name": f"p{i}", "protocol": "HTTP"}, "hosts": [f"h{i}.example"]}
                for i in range(n)
            ]
        },
    ),
    "endpoints": lambda n: _istio(
        "ServiceEntry",
        {
            "hosts": ["a.example"],
            "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}],
            "resolution": "STATIC",
            "endpoints": [{"address": f"10.{i % 250}.{i // 250}.1"} for i in range(min(n, 4096))],
        },
    ),
    "service-ports": lambda n: {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "a", "namespace": "b"},
        "spec": {"clusterIP": "10.0.0.1", "ports": [{"name": f"p{i}", "port": i % 65535 + 1} for i in range(n)]},
    },
    "slice-endpoints": lambda n: {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "a", "namespace": "b", "labels": {"kubernetes.io/service-name": "a"}},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 80}],
        "endpoints": [{"addresses": [f"10.{i % 250}.{i // 250 % 250}.1"]} for i in range(n)],
    },
    "config-map": lambda n: {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "a", "namespace": "b"},
        "data": {f"k{i}": "v" for i in range(n)},
    },
}
"""By what grows: an object with about this many of it, good or bad."""


def _repeated_keys(n: int) -> str:
    return "{" + ",".join(f'"k{i % (n // 2 + 1)}": {i}' for i in range(n)) + "}"


def _aliases(n: int) -> str:
    return f"a: &a {'x' * n}\nb: [{', '.join(['*a'] * n)}]\n"


JSON_TEXTS: dict[str, Callable[[int], str]] = {
    "repeated-keys": _repeated_keys,
    "deep": lambda n: "[" * n * 10,
    "quotes": lambda n: '["' + '\\"' * n * 10,
    "object": lambda n: json.dumps(OBJECTS["routes"](n)),
}
YAML_TEXTS: dict[str, Callable[[int], str]] = {
    "aliases": _aliases,
    "repeated-keys": lambda n: "a: 1\n" * n,
    "merges": lambda n: (
        f"a: &a {{{', '.join(f'k{i}: 1' for i in range(n))}}}\nb:\n"
        + "".join(f"  x{i}: {{<<: *a}}\n" for i in range(n))
    ),
    "documents": lambda n: "---\na: 1\n" * n,
    "colons": lambda n: "[" + "a::," * n + "]",
    "brackets": lambda n: "[a, " * n,
    "comments": lambda n: "# x\n" * n + "a: 1",
}


def spent(work: Callable[[Any], object], value: object) -> float:
    """Return seconds of the processor that one run takes, the least of three."""
    taken = []
    for _ in range(3):
        gc.collect()
        begun = thread_time()
        work(value)
        taken.append(thread_time() - begun)
    return min(taken)


def _json(text: str) -> None:
    json_documents(text)
    with suppress(UnreadableError):
        json_pruned(text.encode())


def _yaml(text: str) -> None:
    for _, piece in chunks(text):
        yaml_documents(piece)
    yaml_documents(text)


def _object(obj: Obj) -> None:
    verdict(obj)
    parse(obj, "bench")


ROWS: dict[str, tuple[Callable[[Any], object], Callable[[int], Any]]] = {
    **{name: (_object, make) for name, make in OBJECTS.items()},
    **{f"json-{name}": (_json, make) for name, make in JSON_TEXTS.items()},
    **{f"yaml-{name}": (_yaml, make) for name, make in YAML_TEXTS.items()},
}
"""Everything that is measured, by name: what is done, and what it is done with for a size."""


def main() -> None:
    """Print the processor time of each row at a size and at its double."""
    size = int(sys.argv[1]) if len(sys.argv) > 1 else 4000
    print(f"| what | CPU at {size:,} | at {2 * size:,} | times |\n|---|---|---|---|")
    for name, (work, make) in ROWS.items():
        once, twice = spent(work, make(size)), spent(work, make(2 * size))
        print(f"| {name} | {once * 1e3:.1f} ms | {twice * 1e3:.1f} ms | {twice / max(once, 1e-9):.1f} |", flush=True)


if __name__ == "__main__":
    main()
