"""Which Ingresses are ours, and the Gateways and VirtualServices they become."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.apis.virtual_service import HTTPRoute
from controlplane.frontends import FRONTENDS
from controlplane.frontends.ingress import (
    gateway_addresses,
    gateway_nodes,
    ingress_gateways,
    ingress_virtual_services,
    served_ingresses,
)
from controlplane.model import kinds
from controlplane.model.objects import ChangeSet, ObjectKey
from controlplane.registry.store import Registry
from controlplane.registry.virtual_services import gateway_virtual_services
from tests.compiler.histories import manifest, parsed

OURS = {"kubernetes.io/ingress.class": "istio"}
CLASSES = [
    {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "IngressClass",
        "metadata": {"name": name},
        "spec": {"controller": controller},
    }
    for name, controller in (("mesh", "istio.io/ingress-controller"), ("nginx", "k8s.io/ingress-nginx"))
]


def backend(service: str, port: int | str) -> dict[str, Any]:
    return {"service": {"name": service, "port": {"number" if isinstance(port, int) else "name": port}}}


def path(text: str, kind: str | None = "Prefix", service: str = "a", port: int | str = 80) -> dict[str, Any]:
    stated = {} if kind is None else {"pathType": kind}
    return {"path": text, **stated, "backend": backend(service, port)}


def ingress(name: str, *paths: dict[str, Any], host: str = "x.com", created: str = "", **spec: Any) -> dict[str, Any]:
    rules = [{"host": host, "http": {"paths": list(paths)}}] if paths else []
    stamp = {"creationTimestamp": created} if created else {}
    annotations = {} if "ingressClassName" in spec else spec.pop("annotations", OURS)
    return manifest(
        "networking.k8s.io/v1", "Ingress", "shop", name, annotations=annotations, spec={"rules": rules, **spec}, **stamp
    )


def registry(*raw: dict[str, Any], mesh: str = "") -> Registry:
    config = manifest("v1", "ConfigMap", "istio-system", "istio", data={"mesh": mesh})
    service = manifest("v1", "Service", "shop", "a", spec={"ports": [{"name": "web", "port": 8080}]})
    held = Registry(frontends=FRONTENDS)
    held.apply(ChangeSet(upserts=tuple(parsed(obj) for obj in (config, service, *CLASSES, *raw))))
    return held


def described(route: HTTPRoute) -> str:
    uri = route.match[0].uri if route.match else None
    where = "any" if uri is None else f"={uri.exact}" if uri.exact is not None else f"{uri.prefix}*"
    port = route.route[0].destination.port
    assert port is not None
    return f"{where} {route.route[0].destination.host.partition('.')[0]}:{port.number}"


def routes(held: Registry) -> dict[str, list[str]]:
    found = held.memo.get(ingress_virtual_services, ()).by_key.values()
    return {obj.spec.hosts[0]: [described(route) for route in obj.spec.http] for obj in found}


@pytest.mark.parametrize(
    ("mesh", "spec", "ours"),
    [
        pytest.param("", {"annotations": OURS}, True, id="annotation"),
        pytest.param("", {"annotations": {"kubernetes.io/ingress.class": "nginx"}}, False, id="other-annotation"),
        pytest.param("", {"annotations": {}}, False, id="strict-asks-for-a-class"),
        pytest.param("", {"ingressClassName": "mesh"}, True, id="class"),
        pytest.param("", {"ingressClassName": "nginx"}, False, id="other-class"),
        pytest.param("", {"ingressClassName": "none"}, False, id="missing-class"),
        pytest.param("ingressControllerMode: DEFAULT", {"annotations": {}}, True, id="default-takes-classless"),
        pytest.param("ingressControllerMode: DEFAULT", {"ingressClassName": "nginx"}, False, id="default-other-class"),
        pytest.param("ingressControllerMode: DEFAULT", {"ingressClassName": "none"}, True, id="default-missing-class"),
        pytest.param("ingressControllerMode: 'OFF'", {"annotations": OURS}, False, id="off"),
        pytest.param("ingressControllerMode: 'OFF'", {"ingressClassName": "mesh"}, False, id="off-with-a-class"),
        pytest.param("ingressClass: edge", {"annotations": OURS}, False, id="renamed-class"),
        pytest.param(
            "ingressClass: edge",
            {"annotations": {"kubernetes.io/ingress.class": "edge"}},
            True,
            id="renamed-annotation",
        ),
    ],
)
def test_which_ingresses_are_served(mesh: str, spec: dict[str, Any], ours: bool) -> None:  # noqa: FBT001 - a table
    held = registry(ingress("i", path("/"), **spec), mesh=mesh)
    assert [obj.meta.name for obj in held.memo.get(served_ingresses, ())] == (["i"] if ours else [])


@pytest.mark.parametrize(
    ("mesh", "label"),
    [
        pytest.param("", "ingressgateway", id="default"),
        pytest.param("ingressService: edge", "edge", id="service"),
        pytest.param("{ingressService: edge, ingressSelector: front}", "front", id="selector"),
    ],
)
def test_which_proxies_serve_them(mesh: str, label: str) -> None:
    (gateway,) = registry(ingress("i", path("/")), mesh=mesh).memo.get(ingress_gateways, ())
    assert gateway.spec.selector == {"istio": label}


def test_the_gateway_of_an_ingress() -> None:
    """One server for each secret, and one for plain HTTP."""
    tls = [{"hosts": ["a.com"], "secretName": "one"}, {"hosts": ["b.com"]}, {"secretName": "two"}]
    (gateway,) = registry(ingress("i", path("/"), tls=tls)).memo.get(ingress_gateways, ())
    assert gateway.key == ObjectKey(kinds.GATEWAY, "istio-system", "i-istio-autogenerated-k8s-ingress-shop")
    assert [(s.port.number, s.port.name, s.hosts, s.tls and s.tls.credential_name) for s in gateway.spec.servers] == [
        (443, "https-443-ingress-i-shop-0", ("a.com",), "one"),
        (443, "https-443-ingress-i-shop-2", ("*",), "two"),
        (80, "http-80-ingress-i-shop", ("*",), None),
    ]


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        pytest.param([path("/"), path("/b/c")], ["/b/c* a:80", "/* a:80"], id="longer-first"),
        pytest.param([path("/b"), path("/b", "Exact", port=81)], ["=/b a:81", "/b* a:80"], id="exact-before-prefix"),
        pytest.param([path("/b", None), path("/c/*", None)], ["=/b a:80", "/c* a:80"], id="no-type"),
        pytest.param([path("/*", "ImplementationSpecific"), path("/")], ["/* a:80", "any a:80"], id="any-path"),
        pytest.param([path("/", port="web")], ["/* a:8080"], id="port-by-name"),
        pytest.param([path("/", port="nope"), path("/b")], ["/b* a:80"], id="port-unknown"),
        pytest.param([path("/", service="gone", port="web")], [], id="service-unknown"),
        pytest.param([{"path": "/", "pathType": "Prefix", "backend": {"resource": {}}}], [], id="no-service"),
    ],
)
def test_routes(paths: list[dict[str, Any]], expected: list[str]) -> None:
    assert routes(registry(ingress("i", *paths))) == {"x.com": expected}


def test_rules_of_one_host_are_one_virtual_service() -> None:
    """The oldest Ingress names it and lends its Gateway; without a host it is for all."""
    held = registry(
        ingress("young", path("/young"), created="2020-01-02T00:00:00Z"),
        ingress("old", path("/o"), created="2020-01-01T00:00:00Z"),
        ingress("all", path("/"), host=""),
    )
    assert routes(held) == {"*": ["/* a:80"], "x.com": ["/young* a:80", "/o* a:80"]}
    named = {key.name for key in held.memo.get(ingress_virtual_services, ()).by_key}
    assert named == {"*-all-istio-autogenerated-k8s-ingress", "x-com-old-istio-autogenerated-k8s-ingress"}
    bound = held.memo.get(
        gateway_virtual_services, ("istio-system", "istio-system/old-istio-autogenerated-k8s-ingress-shop")
    )
    assert [(vs.key.namespace, vs.key.name, vs.semantics) for vs in bound] == [
        ("shop", "x-com-old-istio-autogenerated-k8s-ingress", "ingress")
    ]


def test_a_port_that_gets_its_name_later_is_found() -> None:
    """The Service is read through the view, even where it has no such port yet."""
    held = registry(ingress("i", path("/", port="late")))
    assert routes(held) == {"x.com": []}
    late = manifest("v1", "Service", "shop", "a", spec={"ports": [{"name": "late", "port": 9000}]})
    held.memo.invalidate(held.apply(ChangeSet(upserts=(parsed(late),))))
    assert routes(held) == {"x.com": ["/* a:9000"]}


def gateway_service(name: str, status: Any = None, namespace: str = "istio-system", **spec: Any) -> dict[str, Any]:
    spec = {"type": "LoadBalancer", "ports": [{"port": 80}], **spec}
    entries = {"loadBalancer": {"ingress": status or []}}
    return manifest("v1", "Service", namespace, name, spec=spec, status=entries)


@pytest.mark.parametrize(
    ("mesh", "services", "expected"),
    [
        pytest.param("", [], (), id="no-service"),
        pytest.param("", [gateway_service("istio-ingressgateway")], (), id="no-address-yet"),
        pytest.param(
            "",
            [gateway_service("istio-ingressgateway", [{"hostname": "lb.test"}, {"ip": "1.2.3.4"}])],
            ("lb.test", "1.2.3.4"),
            id="balancer",
        ),
        pytest.param(
            "",
            [gateway_service("istio-ingressgateway", [{"ip": "1.2.3.4"}], externalIPs=["5.6.7.8", "1.2.3.4"])],
            ("1.2.3.4", "5.6.7.8"),
            id="external-addresses",
        ),
        pytest.param(
            "ingressService: edge",
            [
                gateway_service("istio-ingressgateway", [{"ip": "1.2.3.4"}]),
                gateway_service("edge", [{"ip": "5.6.7.8"}]),
            ],
            ("5.6.7.8",),
            id="another-service",
        ),
        pytest.param(
            "ingressService: edge",
            [gateway_service("edge", type="ExternalName", externalName="edge.test")],
            ("edge.test",),
            id="a-name",
        ),
        pytest.param(
            "", [gateway_service("istio-ingressgateway", [{"ip": "1.2.3.4"}], "shop")], (), id="other-namespace"
        ),
        pytest.param("ingressService: ''", [gateway_service("istio-ingressgateway")], None, id="nodes-instead"),
    ],
)
def test_where_ingresses_are_reached(
    mesh: str, services: list[dict[str, Any]], expected: tuple[str, ...] | None
) -> None:
    assert registry(*services, mesh=mesh).memo.get(gateway_addresses, ()) == expected


@pytest.mark.parametrize(("selector", "nodes"), [("''", {"n1"}), ("edge", {"n2"})])
def test_the_nodes_of_the_gateway(selector: str, nodes: set[str]) -> None:
    """Those of pods in the system namespace that have an address and still run."""

    def pod(name: str, node: str, label: str, namespace: str = "istio-system", **status: Any) -> dict[str, Any]:
        status = {"podIP": "10.0.0.1", "phase": "Running", **status}
        return manifest("v1", "Pod", namespace, name, labels={"istio": label}, spec={"nodeName": node}, status=status)

    held = registry(
        pod("a", "n1", "ingressgateway"),
        pod("b", "n2", "edge"),
        pod("c", "n3", "ingressgateway", "shop"),
        pod("d", "n4", "ingressgateway", phase="Succeeded"),
        pod("e", "", "ingressgateway", podIP=""),
        mesh=f"{{ingressService: '', ingressSelector: {selector}}}",
    )
    assert held.memo.get(gateway_nodes, ()) == nodes
