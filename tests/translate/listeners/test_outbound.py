"""Outbound listeners: where services are listened for, what tells them apart, what becomes of the rest."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.extensions.filters.network.tcp_proxy.v3.tcp_proxy_pb2 import TcpProxy

from controlplane.snapshots import ResourceType
from tests.translate.listeners.world import World, chains, connection_manager, leads_to, sidecar

PLAIN_HTTP = ["http/1.1", "h2c"]


def service(name: str, ports: str, *, ip: str = "10.0.0.5", namespace: str = "ns1") -> str:
    return f"""
---
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: {namespace}}}
spec: {{clusterIP: {ip}, selector: {{app: {name}}}, ports: [{ports}]}}
"""


def entry(name: str, spec: str) -> str:
    return f"""
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: {name}, namespace: ns1}}
spec: {{{spec}}}
"""


def slice_of(name: str, port: str, number: int, *addresses: str) -> str:
    endpoints = ",".join(f"{{addresses: ['{address}']}}" for address in addresses)
    return f"""
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: {name}-1, namespace: ns1, labels: {{kubernetes.io/service-name: {name}}}}}
addressType: IPv4
ports: [{{name: {port}, port: {number}}}]
endpoints: [{endpoints}]
"""


def virtual_service(spec: str, name: str = "vs") -> str:
    return f"""
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}, namespace: ns1}}
spec: {{{spec}}}
"""


def sidecar_resource(spec: str) -> str:
    return f"""
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {{name: sc, namespace: ns1}}
spec: {{{spec}}}
"""


def outbound(yaml: str, **proxy: Any) -> dict[str, Listener]:
    """Return the outbound listeners of a sidecar in ns1, but the virtual one."""
    found = World(yaml).listeners(sidecar("ns1", **proxy))
    return {name: held for name, held in found.items() if not name.startswith("virtual")}


def table(listener: Listener) -> list[tuple[Any, str]]:
    """Return what each chain matches (nothing: an empty tuple) and where it leads."""
    rows = []
    for chain in chains(listener):
        match = chain.filter_chain_match
        ranges = [f"{each.address_prefix}/{each.prefix_len.value}" for each in match.prefix_ranges]
        parts = (*match.application_protocols, *match.server_names, *ranges)
        rows.append((parts, leads_to(chain)))
    return rows


def inspected(listener: Listener) -> list[str]:
    return [each.name.rsplit(".", 1)[1] for each in listener.listener_filters]


HTTP = (tuple(PLAIN_HTTP), "rds:80")
REST = ((), "tcp:PassthroughCluster")
WEB = "web.ns1.svc.cluster.local"
DB = "db.ns1.svc.cluster.local"
SNI_ENTRY = (
    "hosts: [api.ext.com], location: MESH_EXTERNAL, resolution: DNS, ports: [{number: 443, name: t, protocol: TLS}]"
)
CIDR_ENTRY = "hosts: [cidr.ext], addresses: [%s], resolution: NONE, ports: [{number: 5432, name: t, protocol: TCP}]"

CASES = [
    pytest.param(
        service("web", "{name: http, port: 80}") + service("web2", "{name: http2, port: 80}", ip="10.0.0.6"),
        {"0.0.0.0_80": ([HTTP, REST], ["http_inspector"])},
        id="http-shared-by-port",
    ),
    pytest.param(
        service("web", "{port: 9000}"),
        {
            "10.0.0.5_9000": (
                [(tuple(PLAIN_HTTP), f"rds:{WEB}:9000"), ((), f"tcp:outbound|9000||{WEB}")],
                ["http_inspector"],
            )
        },
        id="detected",
    ),
    pytest.param(
        service("db", "{name: tcp, port: 5432}"),
        {"10.0.0.5_5432": ([((), f"tcp:outbound|5432||{DB}")], [])},
        id="tcp-with-address",
    ),
    pytest.param(
        service("db", "{name: https, port: 443}"),
        {"10.0.0.5_443": ([((), f"tcp:outbound|443||{DB}")], [])},
        id="tls-with-address-needs-no-name",
    ),
    pytest.param(
        entry("ext", SNI_ENTRY),
        {"0.0.0.0_443": ([(("api.ext.com",), "tcp:outbound|443||api.ext.com"), REST], ["tls_inspector"])},
        id="tls-without-address-by-name",
    ),
    pytest.param(
        entry("ext", SNI_ENTRY.replace("resolution: DNS", "resolution: STATIC, addresses: [192.0.2.1, 10.1.0.0/16]")),
        {
            "192.0.2.1_443": ([((), "tcp:outbound|443||api.ext.com")], []),
            "0.0.0.0_443": (
                [(("api.ext.com", "10.1.0.0/16"), "tcp:outbound|443||api.ext.com"), REST],
                ["tls_inspector"],
            ),
        },
        id="tls-by-address-and-by-range",
    ),
    pytest.param(
        entry("ext", CIDR_ENTRY % "10.1.0.0/16"),
        {"0.0.0.0_5432": ([(("10.1.0.0/16",), "tcp:outbound|5432||cidr.ext"), REST], [])},
        id="tcp-by-range",
    ),
    pytest.param(
        entry("ext", CIDR_ENTRY % "10.1.0.7/32"),
        {"10.1.0.7_5432": ([((), "tcp:outbound|5432||cidr.ext")], [])},
        id="full-prefix-is-an-address",
    ),
    pytest.param(
        entry("a", CIDR_ENTRY % "10.1.2.3/16") + entry("b", CIDR_ENTRY.replace("cidr", "other") % "10.1.0.0/16"),
        {"0.0.0.0_5432": ([(("10.1.2.3/16",), "tcp:outbound|5432||cidr.ext"), REST], [])},
        id="equal-range-dropped",
    ),
    pytest.param(
        entry("ext", SNI_ENTRY.replace("DNS", "STATIC, addresses: [10.1.0.7, 10.2.0.0/16]")),
        {
            "10.1.0.7_443": ([((), "tcp:outbound|443||api.ext.com")], []),
            "0.0.0.0_443": (
                [(("api.ext.com", "10.2.0.0/16"), "tcp:outbound|443||api.ext.com"), REST],
                ["tls_inspector"],
            ),
        },
        id="tls-by-name-only-where-an-address-is-shared",
    ),
    pytest.param(
        entry("a", CIDR_ENTRY.replace("addresses: [%s], ", "")),
        {"0.0.0.0_5432": ([((), "tcp:outbound|5432||cidr.ext")], [])},
        id="no-address-no-endpoints",
    ),
    pytest.param(
        service("db", "{name: tcp, port: 5432}", ip="None") + slice_of("db", "tcp", 5432, "10.2.0.1", "10.2.0.2"),
        {
            "10.2.0.1_5432": ([((), f"tcp:outbound|5432||{DB}")], []),
            "10.2.0.2_5432": ([((), f"tcp:outbound|5432||{DB}")], []),
        },
        id="headless-by-endpoint",
    ),
    pytest.param(
        service("db", "{name: tcp, port: 5432}", ip="None") + slice_of("db", "tcp", 5432, "10.9.0.1", "10.2.0.2"),
        {"10.2.0.2_5432": ([((), f"tcp:outbound|5432||{DB}")], [])},
        id="headless-not-oneself",
    ),
    pytest.param(service("db", "{name: tcp, port: 5432}", ip="None"), {}, id="headless-without-endpoints"),
    pytest.param(
        service("web", "{name: http, port: 80}", ip="None") + slice_of("web", "http", 80, "10.2.0.1"),
        {"0.0.0.0_80": ([HTTP, REST], ["http_inspector"])},
        id="headless-http-shared",
    ),
    pytest.param(
        service("a", "{name: http, port: 80}") + entry("raw", CIDR_ENTRY.replace("5432", "80") % "10.1.0.0/16"),
        {
            "0.0.0.0_80": (
                [HTTP, (("10.1.0.0/16",), "tcp:outbound|80||cidr.ext"), REST],
                ["http_inspector"],
            )
        },
        id="tcp-joins-http",
    ),
    pytest.param(service("dns", "{name: dns, port: 53, protocol: UDP}"), {}, id="udp"),
    pytest.param(service("web", "{name: http, port: 15021}"), {}, id="port-of-the-proxy"),
]


@pytest.mark.parametrize(("yaml", "expected"), CASES)
def test_listeners(yaml: str, expected: dict[str, tuple[list[Any], list[str]]]) -> None:
    found = outbound(yaml)
    assert {name: (table(held), inspected(held)) for name, held in found.items()} == expected
    assert all(not held.bind_to_port.value and held.HasField("bind_to_port") for held in found.values())


ROUTE = "route: [{destination: {host: %s, port: {number: %d}}%s}]"
VIRTUAL_SERVICES = [
    pytest.param(
        service("db", "{name: tcp, port: 5432}")
        + virtual_service("hosts: [db], tcp: [{" + ROUTE % ("db2", 1, "") + "}]"),
        {"10.0.0.5_5432": [((), "tcp:outbound|1||db2.ns1.svc.cluster.local")]},
        id="tcp-all",
    ),
    pytest.param(
        service("db", "{name: tcp, port: 5432}")
        + virtual_service("hosts: [db], tcp: [{match: [{port: 1}], " + ROUTE % ("db2", 1, "") + "}]"),
        {"10.0.0.5_5432": [((), f"tcp:outbound|5432||{DB}")]},
        id="tcp-other-port",
    ),
    pytest.param(
        service("db", "{name: tcp, port: 5432}")
        + virtual_service(
            "hosts: [db], tcp: [{match: [{destinationSubnets: [10.0.0.0/8]}], " + ROUTE % ("db2", 1, "") + "}]"
        ),
        {
            "10.0.0.5_5432": [
                (("10.0.0.0/8",), "tcp:outbound|1||db2.ns1.svc.cluster.local"),
                ((), f"tcp:outbound|5432||{DB}"),
            ]
        },
        id="tcp-subnet-and-rest",
    ),
    pytest.param(
        service("db", "{name: tcp, port: 5432}")
        + virtual_service("hosts: [db], tcp: [{match: [{sourceNamespace: ns2}], " + ROUTE % ("db2", 1, "") + "}]"),
        {"10.0.0.5_5432": [((), f"tcp:outbound|5432||{DB}")]},
        id="tcp-other-source",
    ),
    pytest.param(
        service("db", "{name: tcp, port: 5432}")
        + virtual_service(
            "hosts: [db], tcp: [{route: [{destination: {host: db}, weight: 80}, "
            "{destination: {host: db, subset: v2}, weight: 20}]}]"
        ),
        {"10.0.0.5_5432": [((), f"tcp:outbound|5432||{DB}=80,outbound|5432|v2|{DB}=20")]},
        id="tcp-weighted",
    ),
    pytest.param(
        entry("ext", SNI_ENTRY)
        + virtual_service(
            "hosts: ['*.ext.com'], tls: [{match: [{sniHosts: [a.ext.com, api.ext.com]}], "
            + ROUTE % ("egress.ns1.svc.cluster.local", 15443, "")
            + "}]"
        ),
        {
            "0.0.0.0_443": [
                (("a.ext.com", "api.ext.com"), "tcp:outbound|15443||egress.ns1.svc.cluster.local"),
                REST,
            ]
        },
        id="tls-replaces-own-name",
    ),
    pytest.param(
        entry("ext", SNI_ENTRY)
        + entry("ext2", SNI_ENTRY.replace("api", "b"))
        + virtual_service(
            "hosts: [api.ext.com, b.ext.com], tls: [{match: [{sniHosts: [api.ext.com, b.ext.com]}], "
            + ROUTE % ("egress", 15443, "")
            + "}]"
        )
        + virtual_service(
            "hosts: [b.ext.com, c.ext.com], tls: [{match: [{sniHosts: [b.ext.com, c.ext.com]}], "
            + ROUTE % ("db", 1, "")
            + "}]",
            name="zz",
        ),
        {
            "0.0.0.0_443": [
                (("api.ext.com", "b.ext.com"), "tcp:outbound|15443||egress.ns1.svc.cluster.local"),
                (("c.ext.com",), "tcp:outbound|1||db.ns1.svc.cluster.local"),
                REST,
            ]
        },
        id="tls-name-belongs-to-the-first",
    ),
    pytest.param(
        entry("ext", SNI_ENTRY)
        + virtual_service(
            "hosts: [api.ext.com], tls: [{match: [{sniHosts: [api.ext.com], gateways: [gw]}], "
            + ROUTE % ("egress", 15443, "")
            + "}]"
        ),
        {"0.0.0.0_443": [(("api.ext.com",), "tcp:outbound|443||api.ext.com"), REST]},
        id="tls-of-a-gateway-only",
    ),
]


@pytest.mark.parametrize(("yaml", "expected"), VIRTUAL_SERVICES)
def test_virtual_services(yaml: str, expected: dict[str, list[Any]]) -> None:
    assert {name: table(held) for name, held in outbound(yaml).items()} == expected


def test_weighted_statistics() -> None:
    yaml = service("db", "{name: tcp, port: 5432}") + virtual_service(
        "hosts: [db], tcp: [{route: [{destination: {host: db}, weight: 80}, {destination: {host: a}, weight: 20}]}]"
    )
    held = chains(outbound(yaml)["10.0.0.5_5432"])[0]
    assert TcpProxy.FromString(held.filters[-1].typed_config.value).stat_prefix == "vs.ns1"
    origin = held.metadata.filter_metadata["istio"].fields["config"].string_value
    assert origin == "/apis/networking.istio.io/v1/namespaces/ns1/virtual-service/vs"


ALL = "hosts: ['*/*']"
SIDECARS = [
    pytest.param(
        "egress: [{port: {number: 9080, protocol: HTTP, name: h}, hosts: ['*/*']}]",
        {"0.0.0.0_9080": ([(tuple(PLAIN_HTTP), "rds:9080"), REST], False)},
        id="http-port",
    ),
    pytest.param(
        "egress: [{port: {number: 5432, protocol: TCP, name: t}, bind: 127.0.0.1, hosts: ['*/*']}]",
        {"127.0.0.1_5432": ([((), f"tcp:outbound|5432||{DB}")], False)},
        id="tcp-bind",
    ),
    pytest.param(
        "egress: [{port: {number: 9080, protocol: HTTP, name: h}, captureMode: NONE, hosts: ['*/*']}]",
        {"127.0.0.1_9080": ([((), "rds:9080")], True)},
        id="really-bound",
    ),
    pytest.param(
        "egress: [{port: {number: 0, protocol: HTTP, name: h}, bind: 'unix:///run/x', captureMode: NONE,"
        " hosts: ['*/*']}]",
        {"unix:///run/x_0": ([((), "rds:unix:///run/x")], True)},
        id="unix-socket",
    ),
    pytest.param(
        "egress: [{port: {number: 9080, protocol: HTTP, name: h}, hosts: ['ns1/web.ns1.svc.cluster.local']},"
        " {hosts: ['ns1/*']}]",
        {
            "0.0.0.0_9080": ([(tuple(PLAIN_HTTP), "rds:9080"), REST], False),
            "10.0.0.6_5432": ([((), f"tcp:outbound|5432||{DB}")], False),
        },
        id="port-then-everything",
    ),
    pytest.param("egress: [{hosts: ['~/*']}]", {}, id="nothing"),
]


@pytest.mark.parametrize(("spec", "expected"), SIDECARS)
def test_sidecar_egress(spec: str, expected: dict[str, tuple[list[Any], bool]]) -> None:
    services = service("web", "{name: http, port: 9080}") + service("db", "{name: tcp, port: 5432}", ip="10.0.0.6")
    found = outbound(services + sidecar_resource(spec))
    bound = {name: not held.HasField("bind_to_port") for name, held in found.items()}
    assert {name: (table(held), bound[name]) for name, held in found.items()} == expected


def test_no_interception() -> None:
    """Nothing is captured: every listener is really bound, on localhost."""
    yaml = service("web", "{name: http, port: 80}") + service("db", "{name: tcp, port: 5432}", ip="10.0.0.6")
    found = World(yaml).listeners(sidecar("ns1", metadata={"INTERCEPTION_MODE": "NONE"}))
    assert {name: table(held) for name, held in found.items()} == {
        "127.0.0.1_80": [((), "rds:80")],
        "127.0.0.1_5432": [((), f"tcp:outbound|5432||{DB}")],
    }
    assert not any(held.HasField("bind_to_port") for held in found.values())


def test_capture_asked_for_in_vain() -> None:
    """Without interception a Sidecar's listeners are bound, whatever they say of capture."""
    yaml = service("web", "{name: http, port: 80}") + sidecar_resource(
        "egress: [{captureMode: IPTABLES, hosts: ['*/*']}],"
        " ingress: [{captureMode: IPTABLES, port: {number: 8080, protocol: HTTP, name: web}}]"
    )
    found = World(yaml).listeners(sidecar("ns1", metadata={"INTERCEPTION_MODE": "NONE"}))
    assert set(found) == {"127.0.0.1_80", "10.9.0.1_8080"}
    assert not any(held.HasField("bind_to_port") for held in found.values())


def test_only_the_first_own_address_is_left_out() -> None:
    """The endpoint of a headless service at a second address of the caller's pod is a destination like any other."""
    yaml = service("db", "{name: tcp, port: 5432}", ip="None") + slice_of("db", "tcp", 5432, "10.9.0.1", "10.9.0.2")
    proxy = replace(sidecar("ns1"), ips=("10.9.0.1", "10.9.0.2"))
    assert {name for name in World(yaml).listeners(proxy) if "virtual" not in name} == {"10.9.0.2_5432"}


def test_unprivileged() -> None:
    """A pod without the right to low ports is not asked to bind them, but may have them captured."""
    yaml = service("web", "{name: http, port: 80}")
    metadata = {"UNPRIVILEGED_POD": "true"}
    assert set(outbound(yaml, metadata=metadata)) == {"0.0.0.0_80"}
    assert outbound(yaml, metadata={**metadata, "INTERCEPTION_MODE": "NONE"}) == {}


def test_address_of_the_clients_family() -> None:
    """A dual-stack service is listened for at its first address that the client can use."""
    yaml = service("db", "{name: tcp, port: 5432}").replace(
        "clusterIP: 10.0.0.5", "clusterIP: 10.0.0.5, clusterIPs: [10.0.0.5, 'fd00::5']"
    )
    assert set(outbound(yaml)) == {"10.0.0.5_5432"}
    assert set(outbound(yaml, ip="fd00::99")) == {"fd00::5_5432"}


def test_any_address_of_both_families() -> None:
    """A proxy with both families hands to the listener for any address what was sent to an IPv6 one."""
    world = World(service("web", "{name: http, port: 80}, {name: tcp, port: 5432}"))
    both = replace(sidecar("ns1"), ips=("10.9.0.1", "fd00::1"))
    held = world.listeners(both)
    (extra,) = held["0.0.0.0_80"].additional_addresses
    assert (extra.address.socket_address.address, extra.address.socket_address.port_value) == ("::", 80)
    assert not held["10.0.0.5_5432"].additional_addresses
    assert not world.listeners(sidecar("ns1"))["0.0.0.0_80"].additional_addresses
    assert not world.listeners(replace(both, metadata={"INTERCEPTION_MODE": "NONE"}))[
        "127.0.0.1_80"
    ].additional_addresses


@pytest.mark.parametrize(
    ("spec", "cluster"),
    [
        pytest.param("", "PassthroughCluster", id="default"),
        pytest.param("outboundTrafficPolicy: {mode: REGISTRY_ONLY}", "BlackHoleCluster", id="registry-only"),
        pytest.param("outboundTrafficPolicy: {}", "BlackHoleCluster", id="empty-message"),
        pytest.param(
            "outboundTrafficPolicy: {mode: ALLOW_ANY, egressProxy: {host: e.ns1.svc.cluster.local, port: {number: 8}}}",
            "outbound|8||e.ns1.svc.cluster.local",
            id="egress-proxy",
        ),
    ],
)
def test_unknown_destinations(spec: str, cluster: str) -> None:
    yaml = service("web", "{name: http, port: 80}")
    yaml += sidecar_resource("egress: [{hosts: ['*/*']}], " + spec) if spec else ""
    found = World(yaml).resources(sidecar("ns1"))
    virtual = Listener.FromString(found["virtualOutbound"].body)
    assert [leads_to(chain) for chain in virtual.filter_chains] == ["tcp:BlackHoleCluster", f"tcp:{cluster}"]
    assert found["virtualOutbound"].named(ResourceType.CLUSTER) == {"BlackHoleCluster", cluster}
    assert [chain.name for chain in virtual.filter_chains] == [
        "virtualOutbound-blackhole",
        "virtualOutbound-catchall-tcp",
    ]
    assert leads_to(Listener.FromString(found["0.0.0.0_80"].body).default_filter_chain) == f"tcp:{cluster}"
    assert found["0.0.0.0_80"].named(ResourceType.ROUTE) == {"80"}


def test_http_proxy() -> None:
    listener = outbound("", metadata={"HTTP_PROXY_PORT": "15080"})["127.0.0.1_15080"]
    assert table(listener) == [((), "rds:http_proxy")]
    assert not listener.HasField("bind_to_port")
    assert connection_manager(listener.filter_chains[0]).http_protocol_options.allow_absolute_url.value


RULE = """
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: db, namespace: ns1}
spec:
  host: db.ns1.svc.cluster.local
  trafficPolicy:
    loadBalancer: {consistentHash: {useSourceIp: true}}
    connectionPool: {tcp: {idleTimeout: 30s, maxConnectionDuration: 60s}}
    tunnel: {protocol: POST, targetHost: far.example.com, targetPort: 443}
"""


def test_destination_rule() -> None:
    """The rule of the destination sets the connection; the proxy's own idle timeout gives way to it."""
    yaml = service("db", "{name: tcp, port: 5432}") + service("other", "{name: tcp, port: 1}", ip="10.0.0.6")
    found = outbound(yaml + RULE, metadata={"IDLE_TIMEOUT": "5s"})
    proxies = {
        name: TcpProxy.FromString(held.filter_chains[0].filters[-1].typed_config.value) for name, held in found.items()
    }
    ruled = proxies["10.0.0.5_5432"]
    assert (ruled.idle_timeout.seconds, ruled.max_downstream_connection_duration.seconds) == (30, 60)
    assert ruled.hash_policy[0].HasField("source_ip")
    assert (ruled.tunneling_config.hostname, ruled.tunneling_config.use_post) == ("far.example.com:443", True)
    assert proxies["10.0.0.6_1"].idle_timeout.seconds == 5
    assert not proxies["10.0.0.6_1"].hash_policy


def test_equally_old_service_entries_go_by_their_hosts() -> None:
    """Of two without an address that want the same port, the first host has it, whatever the objects are called."""
    spec = "hosts: [{}], resolution: DNS, ports: [{{number: 9000, name: tcp, protocol: TCP}}]"
    yaml = entry("z", spec.format("a.com")) + entry("a", spec.format("z.com"))
    assert table(outbound(yaml)["0.0.0.0_9000"]) == [((), "tcp:outbound|9000||a.com")]


RANGES = """
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: ranged, namespace: ns1}
spec:
  hosts: [db.com]
  tcp:
  - match: [{destinationSubnets: [10.1.0.0/16]}]
    route: [{destination: {host: first.com, port: {number: 1}}}]
  - match: [{destinationSubnets: [10.2.0.0/16]}]
    route: [{destination: {host: second.com, port: {number: 2}}}]
"""


def test_a_route_for_the_services_own_range_replaces_its_chain_only() -> None:
    """Later routes of the same VirtualService still have their chains."""
    spec = (
        "hosts: [db.com], resolution: NONE, addresses: [10.1.0.0/16], ports: [{number: 9000, name: t, protocol: TCP}]"
    )
    assert table(outbound(entry("db", spec) + RANGES)["0.0.0.0_9000"]) == [
        (("10.1.0.0/16",), "tcp:outbound|1||first.com"),
        (("10.2.0.0/16",), "tcp:outbound|2||second.com"),
        ((), "tcp:PassthroughCluster"),
    ]


TUNNELS = """
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: db, namespace: ns1}
spec:
  host: db.ns1.svc.cluster.local
  trafficPolicy:
    connectionPool: {tcp: {idleTimeout: 30s}}
    tunnel: {targetHost: top.example.com, targetPort: 443}
    portLevelSettings: [{port: {number: 5432}, connectionPool: {tcp: {idleTimeout: 99s}}}]
  subsets:
  - name: v1
    trafficPolicy:
      connectionPool: {tcp: {idleTimeout: 77s}}
      tunnel: {targetHost: sub.example.com, targetPort: 443}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: db, namespace: ns1}
spec: {hosts: [db.ns1.svc.cluster.local], tcp: [{route: [ROUTE]}]}
"""
TO_V1 = "{destination: {host: db.ns1.svc.cluster.local, subset: v1}, weight: 1}"


@pytest.mark.parametrize(
    ("route", "tunnel"),
    [
        pytest.param(TO_V1.replace(", subset: v1", ""), "top.example.com:443", id="host"),
        pytest.param(TO_V1, "sub.example.com:443", id="subset"),
        pytest.param(f"{TO_V1}, {TO_V1}", "top.example.com:443", id="several"),
    ],
)
def test_port_and_subset_leave_the_connections_limits(route: str, tunnel: str) -> None:
    """The idle timeout is the rule's own; only the tunnel may be the subset's, where there is one destination."""
    found = outbound(service("db", "{name: tcp, port: 5432}") + TUNNELS.replace("ROUTE", route))
    chain = found["10.0.0.5_5432"].filter_chains[0]
    proxy = TcpProxy.FromString(chain.filters[-1].typed_config.value)
    assert (proxy.idle_timeout.seconds, proxy.tunneling_config.hostname) == (30, tunnel)


def test_external_name() -> None:
    """A service that is only another name adds names, no listeners."""
    alias = """
---
apiVersion: v1
kind: Service
metadata: {name: alias, namespace: ns1}
spec: {type: ExternalName, externalName: api.ext.com, ports: [{name: tls, port: 443}]}
"""
    found = outbound(entry("ext", SNI_ENTRY) + alias)
    assert list(found) == ["0.0.0.0_443"]
    assert table(found["0.0.0.0_443"])[0][0] == tuple(
        sorted(
            {
                "api.ext.com",
                "alias.ns1.svc.cluster.local",
                "alias.ns1.svc.cluster.local.",
                "alias",
                "alias.ns1",
                "alias.ns1.svc",
            }
        )
    )


def test_mongo() -> None:
    """Mongo's own filter goes before the TCP proxy."""
    held = outbound(service("db", "{name: mongo, port: 27017}"))["10.0.0.5_27017"].filter_chains[0]
    assert [each.name for each in held.filters] == [
        "envoy.filters.network.mongo_proxy",
        "envoy.filters.network.tcp_proxy",
    ]
