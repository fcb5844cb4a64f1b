"""Each analyzer finds its mistakes, with the field that is meant, and nothing where there is none."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from controlplane.analysis.analyzers import table
from controlplane.analysis.analyzers.table import ANALYZERS, BEFORE_UPGRADE, Analyzer, analyze
from controlplane.analysis.codes import ALL_CODES, INTERNAL_ERROR, Level
from controlplane.analysis.resources import Labelled, Mesh, Message, Resource, Resources, message, resource
from controlplane.apis.mesh import MeshConfig
from controlplane.apis.mesh_fields import read
from controlplane.apis.mesh_networks import MeshNetworks
from controlplane.documents.limits import Document
from controlplane.documents.pieces import Place, objects, pieces
from controlplane.model import kinds

ISTIO = "networking.istio.io/v1"
NETWORKS = "networks: {n1: {endpoints: [{fromRegistry: Kubernetes}, {fromRegistry: far}]}}"
POD = "apiVersion: v1\nkind: Pod\nmetadata: {name: web, namespace: shop, labels: {app: web}}\n"
WEB = (
    "apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: shop}\n"
    "spec: {selector: {app: web}, ports: [{name: http, port: 80}]}\n"
)
GATEWAY = (
    "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: NAME, namespace: shop}\n"
    "spec: {selector: {app: web}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: [HOST]}]}\n"
)


def found(text: str, analyzer: str, mesh: str = "", networks: Resource | None = None) -> list[tuple[str, str, str]]:
    """Return code, object and path of what one analyzer says of manifests."""
    config = MeshConfig.parse(mesh)
    made = Resources(_resources(text), Mesh(config, read(MeshNetworks, NETWORKS), networks, stated=bool(mesh)))
    chosen = [each for each in ANALYZERS if each.name == analyzer]
    assert chosen, analyzer
    return [(each.code.id, each.resource.origin, each.path) for each in analyze(made, chosen).messages]


def _resources(text: str, cluster: str = "") -> Iterator[Resource]:
    for document, piece in pieces(text.encode(), "test.yaml", is_json=False):
        assert isinstance(document, Document)
        for within, obj in objects(document.value):
            made = resource(obj, Place(piece, document.line, within, obj), namespace="default", cluster=cluster)
            assert made is not None
            yield made


def route(**fields: object) -> str:
    """Return a VirtualService whose only route leads to ``web`` with these fields of a destination, or another host."""
    destination = {"host": "web"} | fields
    return (
        f"apiVersion: {ISTIO}\nkind: VirtualService\nmetadata: {{name: web, namespace: shop}}\n"
        f"spec: {{hosts: [web], http: [{{route: [{{destination: {destination}}}]}}]}}\n"
    )


DESTINATION = "spec.http[0].route[0].destination.host"
WILDCARD = (
    f"apiVersion: {ISTIO}\nkind: ServiceEntry\nmetadata: {{name: out, namespace: other}}\n"
    "spec: {hosts: ['*.example.com'], ports: [{number: 80}]}\n"
)
HOSTS = "virtualservice.DestinationHostAnalyzer"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (route() + "---\n" + WEB, []),
        (route(host="web.shop.svc.cluster.local") + "---\n" + WEB, []),
        (route(port={"number": 80}) + "---\n" + WEB, []),
        (route(), ["IST0101"]),
        (route(host="web.other.svc.cluster.local") + "---\n" + WEB, ["IST0101"]),
        (route(port={"number": 81}) + "---\n" + WEB, ["IST0101"]),
        (route() + "---\n" + WEB.replace("port: 80}", "port: 80}, {name: tls, port: 443}"), ["IST0112"]),
        (
            route()
            + "---\n"
            + WEB.replace("namespace: shop}", "namespace: shop, annotations: {networking.istio.io/exportTo: x}}"),
            ["IST0101"],
        ),
        (
            route(host="a.example.com") + "---\n" + WILDCARD,
            [],
        ),
        (
            route(host="a.example.com") + "---\n" + WILDCARD.replace("ports:", "exportTo: ['.'], ports:"),
            ["IST0101"],
        ),
    ],
)
def test_destinations(text: str, expected: list[str]) -> None:
    assert found(text, HOSTS) == [(code, "VirtualService shop/web", DESTINATION) for code in expected]


def test_a_mirror_that_is_not_there() -> None:
    text = route().replace("http: [{", "http: [{mirrors: [{destination: {host: copy}}], ") + "---\n" + WEB
    path = "spec.http[0].mirrors[0].destination.host"
    assert found(text, HOSTS) == [("IST0101", "VirtualService shop/web", path)]


def test_a_subset_that_is_not_there() -> None:
    stated = rule("subsets: [{name: v1}]")
    analyzer = "virtualservice.DestinationRuleAnalyzer"
    assert found(f"{route(subset='v1')}---\n{stated}", analyzer) == []
    assert found(f"{route(subset='v2')}---\n{stated}", analyzer) == [
        ("IST0101", "VirtualService shop/web", DESTINATION)
    ]


@pytest.mark.parametrize(
    ("gateway", "hosts", "expected"),
    [
        ("gate", "[a.com]", []),
        ("shop/gate", "['*.com']", []),
        ("mesh", "[b.com]", []),
        ("gate", "[b.com]", ["IST0132"]),
        ("other/gate", "[a.com]", ["IST0101", "IST0132"]),
        ("gate-istio-autogenerated-k8s-gateway-http", "[a.com]", ["IST0165"]),
    ],
)
def test_gateways_of_routes(gateway: str, hosts: str, expected: list[str]) -> None:
    service = (
        f"apiVersion: {ISTIO}\nkind: VirtualService\nmetadata: {{name: web, namespace: shop}}\n"
        f"spec: {{gateways: [{gateway}], hosts: {hosts}}}\n"
    )
    text = f"{service}---\n{GATEWAY.replace('NAME', 'gate').replace('HOST', 'a.com')}"
    codes = [code for code, _, _ in found(text, "virtualservice.GatewayAnalyzer")]
    assert codes == expected


@pytest.mark.parametrize(
    ("listener", "expected"),
    [("{}", []), ("{hostname: '*.com'}", []), ("{hostname: b.com}", ["IST0132"])],
)
def test_gateways_of_kubernetes(listener: str, expected: list[str]) -> None:
    service = (
        f"apiVersion: {ISTIO}\nkind: VirtualService\nmetadata: {{name: web, namespace: shop}}\n"
        "spec: {gateways: [gate], hosts: [a.com]}\n"
    )
    gateway = (
        "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: gate, namespace: shop}\n"
        f"spec: {{listeners: [{listener}]}}\n"
    )
    told = found(f"{service}---\n{gateway}", "virtualservice.GatewayAnalyzer")
    assert [code for code, _, _ in told] == expected


def test_hosts_that_several_have_in_the_mesh() -> None:
    second = route().replace("name: web", "name: again")
    analyzer = "virtualservice.ConflictingMeshGatewayHostsAnalyzer"
    both = [("IST0109", f"VirtualService shop/{name}", "spec.hosts") for name in ("again", "web")]
    assert found(f"{route()}---\n{second}", analyzer) == both
    assert found(f"{route()}---\n{second.replace('spec: {', 'spec: {gateways: [gate], ')}", analyzer) == []
    assert found(f"{route()}---\n{second.replace('spec: {', 'spec: {exportTo: [x], ')}", analyzer) == both
    apart = route().replace("spec: {", "spec: {exportTo: [z], ")
    assert found(f"{apart}---\n{second.replace('spec: {', 'spec: {exportTo: [x], ')}", analyzer) == []


def gateways(*hosts: str, selector: str = "{app: web}") -> str:
    made = [GATEWAY.replace("NAME", f"gate-{at}").replace("HOST", host) for at, host in enumerate(hosts)]
    made[-1] = made[-1].replace("{app: web}", selector)
    return "---\n".join([*made, POD])


def test_hosts_that_gateways_share() -> None:
    analyzer = "gateway.ConflictingGatewayAnalyzer"
    both = [("IST0145", f"Gateway shop/gate-{at}", "spec.servers[0]") for at in (0, 1)]
    assert found(gateways("a.com", "a.com"), analyzer) == both
    assert found(gateways("a.com", "a.com", selector="{}"), analyzer) == both  # one pod has the labels of both
    assert found(gateways("a.com", "b.com"), analyzer) == []
    assert found(gateways("a.com", "a.com", selector="{app: other}"), analyzer) == []


def test_ports_and_pods_of_gateways() -> None:
    analyzer = "gateway.IngressGatewayPortAnalyzer"
    assert found(f"{gateways('a')}---\n{WEB}", analyzer) == []
    assert found(f"{gateways('a')}---\n{WEB.replace('port: 80', 'port: 8080, targetPort: 80')}", analyzer) == []
    missing = [("IST0162", "Gateway shop/gate-0", "spec.servers[0].port.number")]
    assert found(f"{gateways('a')}---\n{WEB.replace('port: 80', 'port: 81')}", analyzer) == missing
    assert found(f"{gateways('a')}---\n{WEB.replace('port: 80', 'port: 80, protocol: UDP')}", analyzer) == missing
    no_pod = [("IST0101", "Gateway shop/gate-0", "spec.selector")]
    assert found(gateways("a", selector="{app: none}"), analyzer) == no_pod


def test_certificates_that_gateways_share() -> None:
    tls = gateways("a", "b").replace("protocol: HTTP}", "protocol: HTTPS}, tls: {credentialName: one}")
    found_both = found(tls, "gateway.CertificateAnalyzer")
    assert found_both == [("IST0138", f"Gateway shop/gate-{at}", "spec.servers[0].tls") for at in (0, 1)]
    assert found(tls.replace("credentialName: one", "credentialName: two", 1), "gateway.CertificateAnalyzer") == []


def pair(begin: datetime, end: datetime) -> tuple[str, str]:
    """Return a certificate and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), begin, end)
    encoded = serialization.Encoding.PEM
    secret = key.private_bytes(encoded, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return builder.sign(key, hashes.SHA256()).public_bytes(encoded).decode(), secret.decode()


def secret(certificate: str, key: str) -> str:
    lines = "".join(
        f"  {name}: |\n" + "".join(f"    {line}\n" for line in text.splitlines())
        for name, text in (("tls.crt", certificate), ("tls.key", key))
    )
    return f"apiVersion: v1\nkind: Secret\nmetadata: {{name: one, namespace: shop}}\nstringData:\n{lines}"


def test_secrets_of_gateways() -> None:
    now, day = datetime.now(UTC), timedelta(days=1)
    gateway = gateways("a").replace("protocol: HTTP}", "protocol: HTTPS}, tls: {mode: SIMPLE, credentialName: one}")
    path, analyzer = "spec.servers[0].tls.credentialName", "gateway.SecretAnalyzer"
    good, other = pair(now - day, now + day), pair(now - day, now + day)
    assert found(gateway, analyzer) == [("IST0101", "Gateway shop/gate-0", path)]
    assert found(f"{gateway}---\n{secret(*good)}", analyzer) == []
    for bad in (
        pair(now - 2 * day, now - day),
        pair(now + day, now + 2 * day),
        ("no certificate", good[1]),
        (good[0], "no key"),
        (good[0], other[1]),
    ):
        assert found(f"{gateway}---\n{secret(*bad)}", analyzer) == [("IST0161", "Gateway shop/gate-0", path)]


def rule(spec: str) -> str:
    metadata = "metadata: {name: web, namespace: shop}"
    return f"apiVersion: {ISTIO}\nkind: DestinationRule\n{metadata}\nspec: {{host: web, {spec}}}\n"


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("trafficPolicy: {tls: {mode: SIMPLE}}", [("IST0128", "spec.trafficPolicy.tls")]),
        ("trafficPolicy: {tls: {mode: SIMPLE, caCertificates: a.pem}}", []),
        ("trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}", []),
        ("trafficPolicy: {tls: {mode: MUTUAL, credentialName: a}}", [("IST0128", "spec.trafficPolicy.tls")]),
        ("workloadSelector: {}, trafficPolicy: {tls: {mode: MUTUAL, credentialName: a}}", []),
        (
            "trafficPolicy: {portLevelSettings: [{port: {number: 1}}, {port: {number: 2}, tls: {mode: SIMPLE}}]}",
            [("IST0129", "spec.trafficPolicy.portLevelSettings[1].tls")],
        ),
    ],
)
def test_verification_of_servers(spec: str, expected: list[tuple[str, str]]) -> None:
    told = found(rule(spec), "destinationrule.CaCertificateAnalyzer")
    assert told == [(code, "DestinationRule shop/web", path) for code, path in expected]


def test_subsets_without_pods() -> None:
    analyzer, path = "destinationrule.SubsetSelectPodAnalyzer", "spec.subsets[0].labels"
    text = rule("subsets: [{name: v1, labels: {version: v1}}]")
    assert found(text, analyzer) == [("IST0174", "DestinationRule shop/web", "spec.host")]
    assert found(f"{text}---\n{WEB}---\n{POD}", analyzer) == [("IST0173", "DestinationRule shop/web", path)]
    labelled = POD.replace("app: web}", "app: web, version: v1}")
    assert found(f"{text}---\n{WEB}---\n{labelled}", analyzer) == []
    other = labelled.replace("app: web", "app: other")
    assert found(f"{text}---\n{WEB}---\n{other}", analyzer) == [("IST0173", "DestinationRule shop/web", path)]


def test_subsets_by_the_place_of_pods() -> None:
    text = rule("subsets: [{name: a, labels: {topology.kubernetes.io/zone: a}}]")
    node = "apiVersion: v1\nkind: Node\nmetadata: {name: n1, labels: {topology.kubernetes.io/zone: a}}\n"
    assert (
        found(
            f"{text}---\n{WEB}---\n{POD}spec: {{nodeName: n1}}\n---\n{node}", "destinationrule.SubsetSelectPodAnalyzer"
        )
        == []
    )


def entry(name: str, protocol: str, more: str = "") -> str:
    return (
        f"apiVersion: {ISTIO}\nkind: ServiceEntry\nmetadata: {{name: {name}}}\n"
        f"spec: {{hosts: [a.com], ports: [{{number: 80, name: p, protocol: {protocol}}}]{more}}}\n"
    )


def test_addresses_of_entries() -> None:
    needed = [("IST0134", "ServiceEntry default/a", "spec.ports[0]")]
    allocated = "defaultConfig: {proxyMetadata: {ISTIO_META_DNS_CAPTURE: 'true', ISTIO_META_DNS_AUTO_ALLOCATE: 'true'}}"
    assert found(entry("a", "TCP"), "serviceentry.Analyzer") == needed
    assert found(entry("a", "HTTP"), "serviceentry.Analyzer") == []
    assert found(entry("a", "TCP", ", addresses: []"), "serviceentry.Analyzer") == needed
    assert found(entry("a", "TCP", ", addresses: [10.0.0.1]"), "serviceentry.Analyzer") == []
    assert found(entry("a", "TCP") + "status: {addresses: [{value: 240.240.0.1}]}\n", "serviceentry.Analyzer") == []
    assert found(entry("a", "TCP"), "serviceentry.Analyzer", allocated) == []


def test_protocols_of_entries() -> None:
    analyzer = "serviceentry.ConflictingServiceEntryProtocolAnalyzer"
    both = [("IST0177", f"ServiceEntry default/{name}", "spec.ports") for name in ("a", "b")]
    assert found(f"{entry('a', 'HTTP')}---\n{entry('b', 'TLS')}", analyzer) == both
    assert found(f"{entry('a', 'HTTP')}---\n{entry('b', 'http')}", analyzer) == []
    assert found(f"{entry('a', 'HTTP', ', exportTo: [x]')}---\n{entry('b', 'TLS')}", analyzer) == both
    apart = f"{entry('a', 'HTTP', ', exportTo: [x]')}---\n{entry('b', 'TLS', ', exportTo: [z]')}"
    assert found(apart, analyzer) == []


def condition(kind: str, type_: str, status: str, reason: str = "Because") -> str:
    return (
        f"{kind}\nmetadata: {{name: a}}\nstatus: {{conditions: "
        f"[{{type: {type_}, status: '{status}', reason: {reason}, message: m}}]}}\n"
    )


SERVICE_KIND, POLICY_KIND = (
    "apiVersion: v1\nkind: Service",
    "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy",
)
GATEWAY_KIND = "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway"


@pytest.mark.parametrize(
    ("text", "is_told"),
    [
        (condition(SERVICE_KIND, "istio.io/WaypointBound", "False"), True),
        (condition(SERVICE_KIND, "istio.io/WaypointBound", "True"), False),
        (condition(SERVICE_KIND, "Accepted", "False"), False),
        (condition(POLICY_KIND, "ZtunnelAccepted", "False"), True),
        (condition(POLICY_KIND, "WaypointAccepted", "True", "PartiallyInvalid"), True),
        (condition(GATEWAY_KIND, "Programmed", "False"), True),
        (condition(f"apiVersion: {ISTIO}\nkind: Gateway", "Programmed", "False"), False),
    ],
)
def test_conditions(text: str, is_told: bool) -> None:  # noqa: FBT001 - a column
    told = found(text, "conditions.ConditionAnalyzer")
    assert [(code, path) for code, _, path in told] == [("IST0171", "status.conditions[0]")] * is_told


def test_conditions_of_a_route_at_its_parents() -> None:
    text = (
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: a}\n"
        "status: {parents: [{conditions: [{type: Accepted, status: 'False'}]}]}\n"
    )
    assert found(text, "conditions.ConditionAnalyzer") == [
        ("IST0171", "HTTPRoute default/a", "status.parents[0].conditions[0]")
    ]


def test_networks_of_unknown_clusters() -> None:
    about = resource({"kind": "MeshNetworks", "metadata": {"name": "meshnetworks"}}, None, namespace="istio-system")
    known = "apiVersion: v1\nkind: Secret\nmetadata: {name: s, labels: {istio/multiCluster: 'true'}}\ndata: {far: ''}\n"
    analyzer = "meshnetworks.MeshNetworksAnalyzer"
    assert found("", analyzer, networks=about) == [
        ("IST0126", "MeshNetworks istio-system/meshnetworks", "data.meshNetworks")
    ]
    assert found(known, analyzer, networks=about) == []
    assert found(known.replace("'true'", "'false'"), analyzer, networks=about) != []


def test_services_of_several_clusters() -> None:
    def told(other: str) -> list[str]:
        both = [*_resources(WEB, "east"), *_resources(other, "west")]
        chosen = [each for each in ANALYZERS if each.name == "services.MultiClusterServiceAnalyzer"]
        return [each.text for each in analyze(Resources(both, Mesh()), chosen).messages]

    assert told(WEB) == []
    assert told(WEB.replace("port: 80", "nodePort: 30001, port: 80")) == []
    prefix = "the service web in namespace shop is not the same in the clusters east, west: "
    assert told(WEB.replace("port: 80", "port: 81")) == [f"{prefix}its ports differ"]
    assert told(WEB.replace("spec: {", "spec: {clusterIP: None, ")) == [f"{prefix}it is headless in some"]
    assert told(WEB.replace("spec: {", "spec: {type: LoadBalancer, ")) == [f"{prefix}its type differs"]


@pytest.mark.parametrize(
    ("port", "expected"),
    [
        ("{name: http, port: 80}", []),
        ("{name: http-web, port: 80}", []),
        ("{name: GRPC-Web-a, port: 80}", []),
        ("{name: web, port: 80}", ["IST0118"]),
        ("{port: 80}", ["IST0118"]),
        ("{port: 3306}", []),
        ("{name: web, port: 80, protocol: UDP}", []),
        ("{name: web, port: 80, appProtocol: http}", []),
        ("{name: web, port: 80, appProtocol: kubernetes.io/h2c}", []),
        ("{name: http, port: 80, appProtocol: mine}", ["IST0118"]),
    ],
)
def test_names_of_ports(port: str, expected: list[str]) -> None:
    text = WEB.replace("{name: http, port: 80}", port)
    assert [code for code, _, _ in found(text, "service.PortNameAnalyzer")] == expected
    external = text.replace("spec: {", "spec: {type: ExternalName, ")
    assert [code for code, _, _ in found(external, "service.PortNameAnalyzer")] == ["IST0150"] * len(expected)
    assert found(text.replace("namespace: shop", "namespace: kube-system"), "service.PortNameAnalyzer") == []


def definition(name: str, version: str = "") -> str:
    annotations = f", annotations: {{gateway.networking.k8s.io/bundle-version: {version}}}" if version else ""
    kind = "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition"
    return f"{kind}\nmetadata: {{name: {name}{annotations}}}\n"


@pytest.mark.parametrize(
    ("version", "is_told"),
    [("v1.4.0", True), ("v1.5.0", False), ("v1.5.0-rc.1", False), ("v2", False), ("none", False), ("", False)],
)
def test_versions_of_definitions(version: str, is_told: bool) -> None:  # noqa: FBT001 - a column
    text = definition("tlsroutes.gateway.networking.k8s.io", version)
    assert bool(found(text, "k8sgateway.CRDVersionAnalyzer")) is is_told


def test_definitions_of_kinds_that_are_gone() -> None:
    told = found(definition("serviceroles.rbac.istio.io"), "deprecation.DeprecationAnalyzer")
    assert told == [("IST0002", "CustomResourceDefinition serviceroles.rbac.istio.io", "metadata.name")]
    assert found(definition("gateways.networking.istio.io"), "deprecation.DeprecationAnalyzer") == []


def test_a_provider_that_is_gone() -> None:
    text = (
        "apiVersion: telemetry.istio.io/v1\nkind: Telemetry\nmetadata: {name: a}\n"
        "spec: {tracing: [{providers: [{name: old}]}]}\n"
    )
    mesh = "extensionProviders: [{name: old, lightstep: {service: a, port: 1}}]"
    path = "spec.tracing[0].providers[0].name"
    assert found(text, "telemetry.LightstepAnalyzer", mesh) == [("IST0002", "Telemetry default/a", path)]
    assert found(text, "telemetry.LightstepAnalyzer") == []


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("proxy.istio.io/config", "'concurrency: 2'", []),
        ("proxy.istio.io/config", "'concurrency: [2]'", ["IST0125"]),
        ("proxy.istio.io/config", "'concurency: 2'", ["IST0125"]),
        ("sidecar.istio.io/proxyCPU", "100m", []),
        ("sidecar.istio.io/proxyCPU", "much", ["IST0125"]),
        ("traffic.sidecar.istio.io/includeOutboundIPRanges", "10.0.0.0/33", ["IST0125"]),
        ("sidecar.istio.io/status", "x", []),
        ("sidecar.istio.io/inject", "'true'", ["IST0135"]),
        ("networking.istio.io/exportTo", "'*'", ["IST0107"]),
        ("sidecar.istio.io/injct", "'true'", ["IST0108"]),
        ("galley.istio.io/analyze-suppress", "IST0001", []),
        ("example.com/whatever", "x", []),
    ],
)
def test_annotations(name: str, value: str, expected: list[str]) -> None:
    text = POD.replace("name: web,", f"name: web, annotations: {{{name}: {value}}},")
    told = found(text, "annotations.K8sAnalyzer")
    assert told == [(code, "Pod shop/web", f"metadata.annotations.{name}") for code in expected]


@pytest.mark.parametrize(
    ("name", "value", "is_alpha"),
    [
        ("sidecar.istio.io/interceptionMode", "REDIRECT", True),
        ("networking.istio.io/exportTo", "'*'", True),
        ("sidecar.istio.io/inject", "'true'", False),
        ("proxy.istio.io/config", "'{}'", False),
        ("sidecar.istio.io/status", "x", False),
        ("sidecar.istio.io/injct", "x", False),
    ],
)
@pytest.mark.parametrize("by_cni", [True, False])
def test_annotations_of_alpha_features(name: str, value: str, *, is_alpha: bool, by_cni: bool) -> None:
    """They are told before an upgrade alone; what the CNI plugin's injection puts on a pod is nobody's wish."""
    text = POD.replace("name: web,", f"name: web, annotations: {{{name}: {value}}},")
    text += "spec: {initContainers: [{name: istio-validation}]}\n" if by_cni else ""
    made = Resources(_resources(text), Mesh(MeshConfig.parse(""), read(MeshNetworks, NETWORKS), None))
    expected = ["IST0136"] if is_alpha and not (by_cni and value == "REDIRECT") else []
    assert [each.code.id for each in analyze(made, BEFORE_UPGRADE).messages] == expected
    assert "IST0136" not in [each.code.id for each in analyze(made).messages]


def test_rules_that_are_not_reached() -> None:
    match = "match: [{uri: {prefix: /a}}], route: [{destination: {host: web}}]"
    text = (
        f"apiVersion: {ISTIO}\nkind: VirtualService\nmetadata: {{name: a}}\n"
        f"spec: {{hosts: [a], http: [{{{match}}}, {{{match}}}, {{route: [{{destination: {{host: web}}}}]}}]}}\n"
    )
    told = found(text, "schema.ValidationAnalyzer.VirtualService")
    assert told == [
        ("IST0130", "VirtualService default/a", "spec.http[1]"),
        ("IST0131", "VirtualService default/a", "spec.http[1].match[0]"),
    ]


def test_a_failing_analyzer_is_a_finding_and_stops_no_other() -> None:
    def fail(resources: Resources) -> Iterator[Message]:
        raise ValueError(f"{len(list(resources))} objects")

    told = analyze(Resources([], Mesh()), [Analyzer("broken", "", fail), *ANALYZERS]).messages
    assert [(each.code.id, each.text) for each in told] == [
        ("IST0001", "the analyzer broken failed, which is a bug: ValueError: 0 objects")
    ]


def test_secrets_of_ingresses() -> None:
    now, day = datetime.now(UTC), timedelta(days=1)
    gateway = "apiVersion: v1\nkind: Pod\nmetadata: {name: g, namespace: shop, labels: {istio: ingressgateway}}\n"
    ingress = (
        "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: web, namespace: front}\n"
        "spec: {ingressClassName: istio, tls: [{hosts: [a.test]}, {hosts: [b.test], secretName: one}]}\n"
    )
    path, analyzer = "spec.tls[1].secretName", "controlplane.IngressSecrets"
    mesh = f"{gateway}---\n{ingress}"
    assert found(mesh, analyzer) == [("IST0101", "Ingress front/web", path)]
    assert found(mesh.replace("Name: istio", "Name: nginx"), analyzer) == []
    assert found(ingress, analyzer) == [], "nobody serves it here"
    assert found(f"{mesh}---\n{secret(*pair(now - day, now + day))}", analyzer) == []
    ended = pair(now - 2 * day, now - day)
    assert found(f"{mesh}---\n{secret(*ended)}", analyzer) == [("IST0106", "Ingress front/web", path)]


def test_a_mesh_configuration_that_is_none() -> None:
    written = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio, namespace: istio-system}\ndata: {mesh: TEXT}\n"
    analyzer = "controlplane.MeshConfiguration"
    assert found(written.replace("TEXT", '"a: [b"'), analyzer) == [
        ("IST0106", "ConfigMap istio-system/istio", "data.mesh")
    ]
    assert found(written.replace("TEXT", '"enableTracing: true"'), analyzer) == []
    assert found(written.replace("name: istio,", "name: other,").replace("TEXT", '"a: [b"'), analyzer) == []


def test_analyzers_that_need_what_may_not_be_read_are_named() -> None:
    tls = gateways("a").replace("protocol: HTTP}", "protocol: HTTPS}, tls: {credentialName: one}")
    outcome = analyze(Resources(_resources(tls), Mesh(), unreadable=[kinds.SECRET]))
    assert outcome.skipped["gateway.SecretAnalyzer"] == kinds.SECRET
    assert any(each.code.id == "IST0162" for each in outcome.messages)


def test_findings_are_sorted_by_level_code_and_object() -> None:
    told = analyze(Resources(_resources(f"{route()}---\n{WEB}---\n{gateways('a', 'a')}"), Mesh())).messages
    order = [(each.code.level.rank, each.code.id, each.resource.origin) for each in told]
    assert order == sorted(order)
    assert len(order) > 3


LABELS = st.dictionaries(st.sampled_from("abc"), st.sampled_from("xy"))


@given(st.lists(LABELS), LABELS)
def test_an_index_of_labels_finds_what_looking_at_all_finds(
    labels: list[dict[str, str]], selector: dict[str, str]
) -> None:
    index = Labelled((each, at) for at, each in enumerate(labels))
    assert index.selected(selector) == [at for at, each in enumerate(labels) if selector.items() <= each.items()]


def test_each_code_is_another_and_its_sentence_can_be_filled_in() -> None:
    assert len({code.id for code in ALL_CODES}) == len(ALL_CODES) > 50
    assert list(Level) == [Level.ERROR, Level.WARNING, Level.INFO]
    assert message(INTERNAL_ERROR, table.NOTHING, analyzer="a", reason=["b", "c"]).text.endswith("b, c")


@pytest.mark.parametrize("wrong", ["7", "text", "[1]", "[[]]", "{a: 1}", "[{}]", "null"])
def test_no_shape_of_a_spec_makes_an_analyzer_fail(wrong: str) -> None:
    kinds_written = [
        *(f"apiVersion: {kind.group}/v1\nkind: {kind.name}" for kind in kinds_of_all()),
    ]
    text = "---\n".join(
        f"{each}\nmetadata: {{name: a}}\nspec: {wrong}\nstatus: {wrong}\ndata: {wrong}\nwebhooks: {wrong}\n"
        for each in kinds_written
    )
    told = analyze(Resources(_resources(text), Mesh())).messages
    assert [each.text for each in told if each.code.id == "IST0001"] == []


def kinds_of_all() -> list[kinds.GroupKind]:
    return [each for each in vars(kinds).values() if isinstance(each, kinds.GroupKind) and each.name]


def test_what_other_rules_take_and_what_has_no_effect() -> None:
    policy = rule("trafficPolicy: {loadBalancer: {simple: RANDOM}}")
    both = f"{policy}---\n{policy.replace('name: web', 'name: again')}"
    assert found(both, "controlplane.Conflicts") == [("C201", "DestinationRule shop/web", "spec.trafficPolicy")]
    strict = (
        "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: NAME, namespace: shop}\n"
        "spec: {mtls: {mode: STRICT}}\n"
    )
    both = f"{strict.replace('NAME', 'a')}---\n{strict.replace('NAME', 'b')}"
    assert [code for code, _, _ in found(both, "controlplane.Conflicts")] == ["C202"]
    tcp = (
        f"apiVersion: {ISTIO}\nkind: VirtualService\nmetadata: {{name: a}}\n"
        "spec: {hosts: [a], tcp: [{match: [{sourceSubnet: 10.0.0.0/8}], route: [{destination: {host: web}}]}]}\n"
    )
    path = "spec.tcp[].match[].sourceSubnet"
    assert found(tcp, "controlplane.Fields") == [("C301", "VirtualService default/a", path)]
    assert found(tcp.replace("sourceSubnet: 10.0.0.0/8", "port: 80"), "controlplane.Fields") == []


def asking(name: str, provider: str) -> str:
    """Return a policy that has a provider asked."""
    return (
        f"apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{name: {name}, namespace: shop}}\n"
        f"spec: {{action: CUSTOM, provider: {{name: {provider}}}, rules: [{{}}]}}\n"
    )


def test_policies_that_ask_a_provider_that_is_not_there() -> None:
    """Only where the mesh configuration is there: files without one do not say which providers there are."""
    mesh = (
        "extensionProviders: [{name: guard, envoyExtAuthzHttp: {service: guard.shop.svc.cluster.local, port: 80}},"
        " {name: log, envoyFileAccessLog: {path: /dev/stdout}}]"
    )
    text = "---\n".join([asking("a", "guard"), asking("b", "gard"), asking("c", "log")])
    path = "spec.provider.name"
    assert found(text, "controlplane.Authorisers") == []
    told = found(text, "controlplane.Authorisers", mesh)
    assert [(code, where) for code, _, where in told] == [("C206", path), ("C206", path)]
    assert [("/b" in each, "/c" in each) for _, each, _ in told] == [(True, False), (False, True)]
