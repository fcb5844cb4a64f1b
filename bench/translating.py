"""How the time to make proxies' configuration grows: each row is a mesh with more and more of one thing.

``python -m bench.translating [SIZE]`` prints the table; tests/validation holds that none grows faster than its size.
"""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Callable, Sequence
from time import thread_time
from typing import Any

from controlplane.compiler.compiler import Compiler
from controlplane.frontends import FRONTENDS
from controlplane.model.objects import ChangeSet, Object
from controlplane.model.parse import Parsed
from controlplane.model.proxy import Proxy
from controlplane.registry.store import Registry
from controlplane.watchers.kinds import parse

Obj = dict[str, Any]
NETWORKING, SECURITY = "networking.istio.io/v1", "security.istio.io/v1"
ROUTE = [{"destination": {"host": "web"}}]
PROXIES = (
    Proxy("sidecar", "web-1.shop", ("10.9.1.1",), "shop", "shop.svc.cluster.local", {"app": "web"}),
    Proxy(
        "router",
        "gateway.shop",
        ("10.9.1.9",),
        "shop",
        "shop.svc.cluster.local",
        {"app": "gateway", "istio": "ingressgateway"},
    ),
)


def obj(kind: str, spec: Obj, name: str = "x", api_version: str = NETWORKING) -> Obj:
    """Return an object of the namespace in which the proxies are."""
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": name, "namespace": "shop"}, "spec": spec}


def _service(name: str, number: int = 1, ports: int = 1) -> Obj:
    stated = [{"name": f"http-{i}", "port": 80 + i, "targetPort": 8080 + i} for i in range(ports)]
    address = f"10.8.{number // 250}.{number % 250 + 1}"
    return obj("Service", {"clusterIP": address, "selector": {"app": name}, "ports": stated}, name, "v1")


def _slice(n: int, ports: int = 1) -> Obj:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "web-1", "namespace": "shop", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4",
        "ports": [{"name": f"http-{i}", "port": 8080 + i} for i in range(ports)],
        "endpoints": [{"addresses": [f"10.{9 + i // 62500}.{i // 250 % 250 + 1}.{i % 250 + 1}"]} for i in range(n)],
    }


def _gateway(servers: list[Obj]) -> Obj:
    return obj("Gateway", {"selector": {"app": "gateway"}, "servers": servers})


def _server(i: int, *hosts: str, **more: object) -> Obj:
    return {"port": {"number": 80, "name": f"http-{i}", "protocol": "HTTP"}, "hosts": list(hosts), **more}


def _routes(http: list[Obj], name: str = "x", **more: object) -> Obj:
    return obj("VirtualService", {"hosts": ["web"], "gateways": ["mesh"], "http": http, **more}, name)


def _matches(n: int, match: Callable[[int], Obj]) -> list[Obj]:
    return [_routes([{"match": [match(i)], "route": ROUTE} for i in range(n)])]


MOST = 64
"""What is stated of one object where Istio lets there be no more than a few hundred; more is in further objects."""


def _entries(of: str, n: int, protocol: str = "TCP", **more: object) -> list[Obj]:
    """Return ServiceEntries with so many ``hosts``, ``addresses`` or ``ports`` in all."""
    found = []
    for number, begin in enumerate(range(0, n, MOST)):
        many = range(begin, min(begin + MOST, n))
        hosts = many if of == "hosts" else [number]
        addresses = many if of == "addresses" else [number] if protocol == "TCP" else []
        ports = many if of == "ports" else [0]
        spec = {
            "hosts": ["one.example" if of == "ports" else f"h{i}.example" for i in hosts],
            "addresses": [f"10.7.{i // 250}.{i % 250 + 1}" for i in addresses],
            "ports": [{"number": 1000 + i, "name": f"p{i}", "protocol": protocol} for i in ports],
            "resolution": "NONE",
            **more,
        }
        found.append(obj("ServiceEntry", spec, f"e{number}"))
    return found


def _endpoints(n: int) -> list[Obj]:
    endpoints = [{"address": f"10.6.{i // 250}.{i % 250 + 1}"} for i in range(n)]
    return _entries("hosts", 1, resolution="STATIC", endpoints=endpoints)


def _filter(apply_to: str, operation: str, value: Callable[[int], Obj], n: int, **match: object) -> list[Obj]:
    patches = [
        {
            "applyTo": apply_to,
            "match": {"context": "ANY", **match},
            "patch": {"operation": operation, "value": value(i)},
        }
        for i in range(n)
    ]
    return [obj("EnvoyFilter", {"configPatches": patches}, api_version="networking.istio.io/v1alpha3")]


def _renamed(objects: list[Obj]) -> list[Obj]:
    return [each | {"metadata": each["metadata"] | {"name": f"{each['metadata']['name']}-2"}} for each in objects]


_LUA = "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua"


def _lua(i: int) -> Obj:
    code = {"inline_string": "function envoy_on_request(handle) end"}
    return {"name": f"f{i}", "typed_config": {"@type": _LUA, "default_source_code": code}}


def _named(http_filter: str) -> Obj:
    """Return the match of an HTTP filter."""
    manager = {"name": "envoy.filters.network.http_connection_manager", "subFilter": {"name": http_filter}}
    return {"filterChain": {"filter": manager}}


def _policy(rules: list[Obj], name: str = "x") -> Obj:
    return obj("AuthorizationPolicy", {"rules": rules}, name, SECURITY)


def _jwt(i: int) -> Obj:
    return {"issuer": f"i{i}", "jwks": '{"keys":[]}'}


def _telemetry(**spec: object) -> list[Obj]:
    return [obj("Telemetry", spec, api_version="telemetry.istio.io/v1")]


def _plugin(i: int) -> Obj:
    spec = {"selector": {"matchLabels": {"app": "web"}}, "url": f"oci://registry.example/p{i}:1", "priority": i}
    return obj("WasmPlugin", spec, f"p{i}", "extensions.istio.io/v1alpha1")


def _mesh(text: str) -> Obj:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "istio", "namespace": "istio-system"},
        "data": {"mesh": text},
    }


def _providers(n: int) -> list[Obj]:
    listed = "".join(f"- name: p{i}\n  envoyFileAccessLog: {{path: /dev/stdout}}\n" for i in range(n))
    logging = [{"providers": [{"name": f"p{i}"} for i in range(n)]}]
    return [_mesh(f"extensionProviders:\n{listed}"), *_telemetry(accessLogging=logging)]


def _delegates(n: int) -> list[Obj]:
    roots = [{"match": [{"uri": {"prefix": f"/p{i}"}}], "delegate": {"name": f"d{i}"}} for i in range(n)]
    parts = [
        obj("VirtualService", {"http": [{"match": [{"uri": {"prefix": f"/p{i}/a"}}], "route": ROUTE}]}, f"d{i}")
        for i in range(n)
    ]
    return [_routes(roots), *parts]


INGRESS = "networking.k8s.io/v1"
_OURS = {"annotations": {"kubernetes.io/ingress.class": "istio"}}


def _ingress(rules: list[Obj]) -> Obj:
    made = obj("Ingress", {"rules": rules}, api_version=INGRESS)
    return made | {"metadata": made["metadata"] | _OURS}


def _ingress_paths(n: int) -> list[Obj]:
    backend = {"service": {"name": "web", "port": {"number": 80}}}
    return [{"path": f"/p{i}", "pathType": "Prefix", "backend": backend} for i in range(n)]


def _ingress_hosts(n: int) -> list[Obj]:
    return [{"host": f"h{i}.example", "http": {"paths": _ingress_paths(1)}} for i in range(n)]


def _ingresses(n: int) -> list[Obj]:
    backend = {"paths": _ingress_paths(1)}
    made = [obj("Ingress", {"rules": [{"host": f"h{i}.example", "http": backend}]}, f"x{i}", INGRESS) for i in range(n)]
    return [each | {"metadata": each["metadata"] | _OURS} for each in made]


def _tcp_routes(n: int, **of: object) -> list[Obj]:
    return [
        obj("VirtualService", {"hosts": [f"h{i}.example"], "tcp": [{"route": ROUTE}], **of}, f"v{i}") for i in range(n)
    ]


ROWS: dict[str, Callable[[int], Sequence[Obj]]] = {
    "routes": lambda n: _matches(n, lambda i: {"uri": {"prefix": f"/p{i}"}}),
    "routes-exact": lambda n: _matches(n, lambda i: {"uri": {"exact": f"/p{i}"}, "headers": {"a": {"exact": "b"}}}),
    "routes-nested": lambda n: _matches(n, lambda i: {"uri": {"prefix": "/" + "p" * (i % 500)}}),
    "matches": lambda n: [_routes([{"match": [{"uri": {"prefix": f"/p{i}"}} for i in range(n)], "route": ROUTE}])],
    "destinations": lambda n: [_routes([{"route": [{"destination": {"host": "web"}, "weight": 1} for _ in range(n)]}])],
    "vs-hosts": lambda n: [_routes([{"route": ROUTE}], hosts=[f"h{i}.example" for i in range(n)])],
    "vs-hosts-gateway": lambda n: [
        _gateway([_server(0, "*")]),
        _routes([{"route": ROUTE}], hosts=[f"h{i}.example" for i in range(n)], gateways=["x"]),
    ],
    "virtual-services": lambda n: [_routes([{"route": ROUTE}], f"v{i}", hosts=[f"h{i}.example"]) for i in range(n)],
    "delegates": _delegates,
    "subsets": lambda n: [
        obj(
            "DestinationRule",
            {"host": "web", "subsets": [{"name": f"s{i}", "labels": {"v": str(i)}} for i in range(n)]},
        )
    ],
    "entry-hosts": lambda n: _entries("hosts", n, "HTTP", resolution="DNS"),
    "entry-hosts-tcp": lambda n: _entries("hosts", n),
    "entry-addresses": lambda n: _entries("addresses", n),
    "entry-addresses-http": lambda n: _entries("addresses", n, "HTTP"),
    "entry-ports": lambda n: _entries("ports", n),
    "entry-ports-http": lambda n: _entries("ports", n, "HTTP"),
    "entry-ports-dns": lambda n: _entries("ports", n, "HTTP", resolution="DNS"),
    "entry-endpoints": _endpoints,
    "listeners-moved": lambda n: [
        *_entries("addresses", n),
        *_filter("LISTENER", "MERGE", lambda _: {"address": {"socket_address": {"port_value": 9}}}, 1),
    ],
    "rules": lambda n: [
        *_entries("hosts", n, "HTTP", resolution="DNS"),
        *(obj("DestinationRule", {"host": f"h{i}.example"}, f"r{i}") for i in range(n)),
    ],
    "rules-of-others": lambda n: [
        *_entries("hosts", n, "HTTP", resolution="DNS"),
        *(obj("DestinationRule", {"host": f"o{i}.example"}, f"r{i}") for i in range(n)),
    ],
    "rules-alike": lambda n: [
        obj("DestinationRule", {"host": "web", "subsets": [{"name": f"s{i}", "labels": {"v": str(i)}}]}, f"r{i}")
        for i in range(n)
    ],
    "filters": lambda n: _filter("HTTP_FILTER", "INSERT_BEFORE", _lua, n),
    "filters-first": lambda n: _filter("HTTP_FILTER", "INSERT_FIRST", _lua, n),
    "network-filters": lambda n: _filter(
        "NETWORK_FILTER",
        "INSERT_FIRST",
        lambda i: {
            "name": f"f{i}",
            "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.network.direct_response.v3.Config"},
        },
        n,
    ),
    "clusters-merged": lambda n: _filter("CLUSTER", "MERGE", lambda i: {"connect_timeout": f"{i + 1}s"}, n),
    "clusters-added": lambda n: _filter(
        "CLUSTER", "ADD", lambda i: {"name": f"c{i}", "type": "STATIC", "connect_timeout": "1s"}, n
    ),
    "filters-merged": lambda n: [
        *_filter("HTTP_FILTER", "INSERT_FIRST", _lua, 1),
        *_renamed(_filter("HTTP_FILTER", "MERGE", lambda _: _lua(0), n, listener=_named("f0"))),
    ],
    "filters-of-other-types": lambda n: _filter(
        "HTTP_FILTER", "MERGE", _lua, n, listener=_named("envoy.filters.http.router")
    ),
    "filters-behind-the-last": lambda n: _filter(
        "HTTP_FILTER", "INSERT_AFTER", _lua, n, listener=_named("envoy.filters.http.router")
    ),
    "routes-merged": lambda n: _filter("HTTP_ROUTE", "MERGE", lambda i: {"route": {"timeout": f"{i + 1}s"}}, n),
    "routes-inserted": lambda n: _filter(
        "HTTP_ROUTE",
        "INSERT_FIRST",
        lambda i: {"name": f"r{i}", "match": {"prefix": f"/{i}"}, "direct_response": {"status": 200}},
        n,
    ),
    "virtual-hosts-added": lambda n: _filter(
        "VIRTUAL_HOST", "ADD", lambda i: {"name": f"v{i}", "domains": [f"v{i}.example"]}, n
    ),
    "listeners-added": lambda n: _filter(
        "LISTENER",
        "ADD",
        lambda i: {"name": f"l{i}", "address": {"socket_address": {"address": "127.0.0.1", "port_value": 20000 + i}}},
        n,
    ),
    "egress": lambda n: [obj("Sidecar", {"egress": [{"hosts": [f"*/h{i}.example" for i in range(n)]}]})],
    "egress-matched": lambda n: [
        *_entries("hosts", n, "HTTP", resolution="DNS"),
        obj("Sidecar", {"egress": [{"hosts": [f"*/h{i}.example" for i in range(n)]}]}),
    ],
    "egress-listeners": lambda n: [
        obj(
            "Sidecar",
            {
                "egress": [
                    {"port": {"number": 2000 + i, "protocol": "HTTP", "name": f"p{i}"}, "hosts": ["*/*"]}
                    for i in range(n)
                ]
            },
        )
    ],
    "servers": lambda n: [_gateway([_server(i, f"h{i}.example") for i in range(n)])],
    "servers-tls": lambda n: [
        _gateway(
            [
                {
                    "port": {"number": 443, "name": f"h{i}", "protocol": "HTTPS"},
                    "hosts": [f"h{i}.example"],
                    "tls": {"mode": "SIMPLE", "credentialName": f"c{i}"},
                }
                for i in range(n)
            ]
        ),
        _routes([{"route": ROUTE}], hosts=["*"], gateways=["x"]),
    ],
    "servers-ports": lambda n: [
        _gateway(
            [{"port": {"number": 1000 + i, "name": f"h{i}", "protocol": "HTTP"}, "hosts": ["*"]} for i in range(n)]
        ),
        _routes([{"route": ROUTE}], hosts=["h.example"], gateways=["x"]),
    ],
    "gateway-hosts": lambda n: [
        _gateway([_server(0, *(f"h{i}.example" for i in range(n)))]),
        _routes([{"route": ROUTE}], hosts=["h0.example"], gateways=["x"]),
    ],
    "gateway-hosts-served": lambda n: [
        _gateway([_server(0, *(f"h{i}.example" for i in range(n)))]),
        _routes([{"route": ROUTE}], hosts=[f"h{i}.example" for i in range(n)], gateways=["x"]),
    ],
    "authorization-rules": lambda n: [
        _policy(
            [
                {"from": [{"source": {"principals": [f"a{i}"]}}], "to": [{"operation": {"paths": [f"/{i}"]}}]}
                for i in range(begin, min(begin + MOST, n))
            ],
            f"p{begin}",
        )
        for begin in range(0, n, MOST)
    ],
    "authorization-values": lambda n: [_policy([{"to": [{"operation": {"paths": [f"/{i}" for i in range(n)]}}]}])],
    "conditions": lambda n: [
        _policy([{"when": [{"key": f"request.headers[h{i}]", "values": ["v"]} for i in range(n)]}])
    ],
    "authorization-policies": lambda n: [
        _policy([{"to": [{"operation": {"paths": [f"/{i}"]}}]}], f"p{i}") for i in range(n)
    ],
    "jwt-rules": lambda n: [obj("RequestAuthentication", {"jwtRules": [_jwt(i) for i in range(n)]}, "x", SECURITY)],
    "request-authentications": lambda n: [
        obj("RequestAuthentication", {"jwtRules": [_jwt(i)]}, f"r{i}", SECURITY) for i in range(n)
    ],
    "telemetry-overrides": lambda n: _telemetry(
        metrics=[
            {
                "providers": [{"name": "prometheus"}],
                "overrides": [
                    {"match": {"metric": "REQUEST_COUNT"}, "tagOverrides": {f"t{i}": {"value": "'x'"}}}
                    for i in range(n)
                ],
            }
        ]
    ),
    "telemetry-tags": lambda n: _telemetry(
        tracing=[{"customTags": {f"t{i}": {"literal": {"value": "x"}} for i in range(n)}}]
    ),
    "telemetries": lambda n: [
        obj(
            "Telemetry",
            {"selector": {"matchLabels": {"app": "web"}}, "accessLogging": [{"providers": [{"name": "envoy"}]}]},
            f"t{i}",
            "telemetry.istio.io/v1",
        )
        for i in range(n)
    ],
    "wasm-plugins": lambda n: [_plugin(i) for i in range(n)],
    "peer-ports": lambda n: [
        obj(
            "PeerAuthentication",
            {
                "selector": {"matchLabels": {"app": "web"}},
                "portLevelMtls": {str(1000 + i): {"mode": "STRICT"} for i in range(n)},
            },
            api_version=SECURITY,
        )
    ],
    "peer-authentications": lambda n: [
        obj("PeerAuthentication", {"mtls": {"mode": "STRICT"}}, f"p{i}", SECURITY) for i in range(n)
    ],
    "slice-endpoints": lambda n: [_slice(n)],
    "service-ports": lambda n: [_service("web", ports=n), _slice(1, n)],
    "services": lambda n: [_service(f"s{i}", i + 1) for i in range(n)],
    "providers": _providers,
    "tcp-routes": lambda n: [*_entries("hosts", n), *_tcp_routes(n)],
    "tcp-routes-of-others": lambda n: [
        *_entries("hosts", n),
        *(each | {"spec": each["spec"] | {"hosts": ["*.other"]}} for each in _tcp_routes(n)),
    ],
    "servers-passthrough": lambda n: [
        _gateway(
            [
                {
                    "port": {"number": 443, "name": f"h{i}", "protocol": "TLS"},
                    "hosts": [f"h{i}.example"],
                    "tls": {"mode": "PASSTHROUGH"},
                }
                for i in range(n)
            ]
        ),
        *(
            obj(
                "VirtualService",
                {
                    "hosts": [f"h{i}.example"],
                    "gateways": ["x"],
                    "tls": [{"match": [{"sniHosts": [f"h{i}.example"]}], "route": ROUTE}],
                },
                f"v{i}",
            )
            for i in range(n)
        ),
    ],
    "ingress-paths": lambda n: [_ingress([{"http": {"paths": _ingress_paths(n)}}])],
    "ingress-hosts": lambda n: [_ingress(_ingress_hosts(n))],
    "ingresses": _ingresses,
}
"""By what grows: the objects of a mesh with about this many of it."""


def parsed(raw: Obj) -> Object:
    """Return the object as a watcher hands it on.

    Raises:
        TypeError: it is refused, or only partly taken.
    """
    found = parse(raw, "bench")
    if not isinstance(found, Parsed):
        raise TypeError(found)
    return found.object


def made(row: str, n: int) -> Callable[[], float]:
    """Return what makes a row's configuration from nothing and tells how many seconds of the processor that took."""
    base = ChangeSet(tuple(map(parsed, (_service("web"), _slice(1)))))
    more = ChangeSet(tuple(map(parsed, ROWS[row](n))))

    async def run() -> float:
        compiler = Compiler(Registry(frontends=FRONTENDS))
        await compiler.apply(base)
        for proxy in PROXIES:
            await compiler.open(proxy, _ignore)
        begun = thread_time()
        await compiler.apply(more)
        return thread_time() - begun

    return lambda: asyncio.run(run())


def _ignore() -> None:
    """Hear of a change."""


def seconds(row: str, n: int) -> float:
    """Return seconds of the processor that a row takes at a size, without the collection of garbage."""
    run = made(row, n)
    gc.collect()
    gc.disable()
    try:
        return run()
    finally:
        gc.enable()


def main() -> None:
    """Print the processor time of each row at a size and at its double."""
    size = int(sys.argv[1]) if len(sys.argv) > 1 else 800
    print(f"| what | CPU at {size:,} | at {2 * size:,} | times |\n|---|---|---|---|")
    for row in ROWS:
        once, twice = (min(seconds(row, n) for _ in range(3)) for n in (size, 2 * size))
        print(f"| {row} | {once * 1e3:.1f} ms | {twice * 1e3:.1f} ms | {twice / max(once, 1e-9):.1f} |", flush=True)


if __name__ == "__main__":
    main()
