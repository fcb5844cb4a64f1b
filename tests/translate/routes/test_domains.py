"""The names under which a client reaches a service."""

from __future__ import annotations

from dataclasses import replace

import pytest

from controlplane.model import kinds
from controlplane.model.objects import ObjectKey
from controlplane.model.service import Protocol, Resolution, Service, ServiceKey, ServicePort
from controlplane.translate.routes.domains import Alias, DomainOptions, service_domains, shortening
from tests.translate.routes.world import World, client, istio, names, service, virtual_host


def stated(hostname: str, *addresses: str, headless: bool = False) -> Service:
    return Service(
        key=ServiceKey(hostname, ObjectKey(kinds.SERVICE, "default", hostname)),
        name=hostname,
        kubernetes=True,
        ports=(ServicePort(80, "http", Protocol.HTTP),),
        resolution=Resolution.PASSTHROUGH if headless else Resolution.CLIENT_SIDE,
        age_order=("", "", ""),
        addresses=addresses,
    )


ECHO = "echo.default.svc.cluster.local"
FIVE = [ECHO, f"{ECHO}.", "echo", "echo.default.svc", "echo.default"]


@pytest.mark.parametrize(
    ("domain", "host", "expected"),
    [
        pytest.param("default.svc.cluster.local", ECHO, FIVE, id="own-namespace"),
        pytest.param("mesh.svc.cluster.local", ECHO, [*FIVE[:2], "echo.default", "echo.default.svc"], id="other"),
        pytest.param(
            "default.svc.cluster.local",
            "foo.default.svc.bar.baz",
            ["foo.default.svc.bar.baz", "foo.default.svc.bar.baz."],
            id="other-cluster-domain",
        ),
        pytest.param("foo.svc.custom.k8s.local", "google.local", ["google.local", "google.local."], id="outside"),
        pytest.param(
            "local.campus.net",
            "foo.local.campus.net",
            ["foo.local.campus.net", "foo.local.campus.net.", "foo"],
            id="campus-own",
        ),
        pytest.param(
            "remote.campus.net",
            "foo.local.campus.net",
            ["foo.local.campus.net", "foo.local.campus.net.", "foo.local", "foo.local.campus"],
            id="campus-other",
        ),
        pytest.param("example.com", "1.2.3.4", ["1.2.3.4"], id="ipv4"),
        pytest.param("example.com", "2001:db8::1", ["[2001:db8::1]"], id="ipv6"),
    ],
)
def test_names(domain: str, host: str, expected: list[str]) -> None:
    found = service_domains(stated(host), 80, shortening(domain).of(host), DomainOptions())
    assert list(found.names) == expected


def test_headless_names_are_wildcards_too() -> None:
    found = service_domains(stated(ECHO, headless=True), 80, "=", DomainOptions())
    assert list(found.names) == FIVE + [f"*.{name}" for name in FIVE]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        pytest.param(DomainOptions(), ["1.2.3.4"], id="ipv4"),
        pytest.param(DomainOptions(ipv4=False, ipv6=True), ["[2001:db8::1]"], id="ipv6"),
        pytest.param(DomainOptions(ipv6=True), ["1.2.3.4", "[2001:db8::1]"], id="both"),
    ],
)
def test_addresses(options: DomainOptions, expected: list[str]) -> None:
    found = service_domains(stated(ECHO, "1.2.3.4", "2001:db8::1"), 80, "=", options)
    assert list(found.names[5:]) == expected


def test_an_address_of_a_family_that_the_client_lacks() -> None:
    """A Kubernetes service has none then; that of a ServiceEntry stands for its hosts, whatever its family."""
    inside, outside = stated(ECHO, "1.2.3.4"), replace(stated("ext.com", "1.2.3.4"), kubernetes=False)
    options = DomainOptions(ipv4=False, ipv6=True)
    assert "1.2.3.4" not in service_domains(inside, 80, "=", options).names
    assert "1.2.3.4" in service_domains(outside, 80, "", options).names


def test_address_ranges_stand_as_they_are() -> None:
    found = service_domains(stated("ext.com", "10.0.0.0/8", "2001:db8::/32"), 80, "", DomainOptions(ipv6=True))
    assert list(found.names) == ["ext.com", "ext.com.", "10.0.0.0/8", "[2001:db8::/32]"]


def test_port_mode_adds_each_name_with_the_port() -> None:
    found = service_domains(stated("bookinfo.com", "1.2.3.4"), 9999, "", DomainOptions(with_port=True))
    assert list(found.names) == [
        "bookinfo.com",
        "bookinfo.com:9999",
        "bookinfo.com.",
        "bookinfo.com.:9999",
        "1.2.3.4",
        "1.2.3.4:9999",
    ]


def test_no_address_is_no_domain() -> None:
    assert service_domains(stated("ext.com", "0.0.0.0"), 80, "", DomainOptions()).names == ("ext.com", "ext.com.")


def test_alias_names_come_before_addresses() -> None:
    found = service_domains(
        stated(ECHO, "1.2.3.4"), 80, "+", DomainOptions(), [Alias("old.default.svc.cluster.local", "=")]
    )
    assert list(found.names) == [
        *[ECHO, f"{ECHO}.", "echo.default", "echo.default.svc"],
        *["old.default.svc.cluster.local", "old.default.svc.cluster.local.", "old", "old.default.svc", "old.default"],
        "1.2.3.4",
    ]


def entry(host: str, number: int = 80) -> str:
    name = host.replace("*", "wild").replace(".", "-")
    return istio(
        "ServiceEntry", name, f"{{hosts: ['{host}'], ports: [{{number: {number}, name: http, protocol: HTTP}}]}}"
    )


def test_short_name_does_not_shadow_a_real_host() -> None:
    """``foo.default`` is short for a service of another namespace, and a host of its own."""
    world = World(service("foo"), entry("foo.default"))
    found = world.routes(client=client("shop"))
    assert list(virtual_host(found, "foo.default:80").domains) == ["foo.default", "foo.default."]
    assert "foo.default" not in virtual_host(found, "foo.default.svc.cluster.local:80").domains


def test_duplicate_domain_belongs_to_the_first() -> None:
    """Two services with one address: the address reaches the older one."""
    world = World(service("a", clusterIP="10.0.0.1"), service("b", clusterIP="10.0.0.1"))
    found = world.routes()
    assert "10.0.0.1" in virtual_host(found, "a.default.svc.cluster.local:80").domains
    assert "10.0.0.1" not in virtual_host(found, "b.default.svc.cluster.local:80").domains


def test_external_name_service_is_another_name_of_its_target() -> None:
    alias = service("old", type="ExternalName", externalName="echo.default.svc.cluster.local", ports=())
    found = World(service("echo"), alias).routes()
    assert names(found) == ["echo.default.svc.cluster.local:80", "allow_any"]
    assert {"old", "old.default.svc.cluster.local"} <= set(found.virtual_hosts[0].domains)
