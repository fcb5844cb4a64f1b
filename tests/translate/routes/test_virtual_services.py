"""VirtualServices before routing: names, order, delegates."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from controlplane.model import kinds
from controlplane.model.objects import ObjectKey
from controlplane.registry.virtual_services import (
    ResolvedVirtualService,
    gateway_virtual_services,
    mesh_virtual_services,
    resolved_gateway,
    virtual_service,
)
from tests.translate.routes import world
from tests.translate.routes.world import World


def resolved(held: World, name: str = "v", namespace: str = "default") -> ResolvedVirtualService:
    found = held.registry.memo.get(virtual_service, ObjectKey(kinds.VIRTUAL_SERVICE, namespace, name))
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        pytest.param("mesh", "mesh", id="mesh"),
        pytest.param("gw", "shop/gw", id="bare"),
        pytest.param("./gw", "shop/gw", id="own"),
        pytest.param("bank/gw", "bank/gw", id="qualified"),
        pytest.param("gw.bank.svc.cluster.local", "bank/gw", id="old-form"),
    ],
)
def test_gateway_names(name: str, expected: str) -> None:
    assert resolved_gateway(name, "shop") == expected


def test_short_names_are_completed() -> None:
    held = resolved(
        World(
            world.virtual_service(
                "v",
                """
hosts: [Reviews, a.b, '*.c.com']
gateways: [gw, mesh]
http:
- match: [{gateways: [gw]}]
  route: [{destination: {host: reviews}}]
  mirror: {host: copy}
- route: [{destination: {host: b.com}}]
  mirrors: [{destination: {host: copy}}]
tcp: [{match: [{gateways: [gw]}], route: [{destination: {host: tcp}}]}]
""",
            )
        )
    )
    full = "{}.default.svc.cluster.local".format
    assert held.hosts == (full("reviews"), "a.b", "*.c.com")
    assert held.gateways == ("default/gw", "mesh")
    first, second = held.http
    assert (first.match[0].gateways, first.route[0].destination.host) == (("default/gw",), full("reviews"))
    assert first.mirror is not None
    assert (first.mirror.host, second.mirrors[0].destination.host) == (full("copy"), full("copy"))
    assert second.route[0].destination.host == "b.com"
    assert (held.tcp[0].match[0].gateways, held.tcp[0].route[0].destination.host) == (("default/gw",), full("tcp"))


SPEC = "{hosts: [a.com], exportTo: [%s], http: [{route: [{destination: {host: a}}]}]}"


def test_order() -> None:
    """Private to the own namespace, exported by name, public; the older first, then by name."""
    held = World(
        world.virtual_service("public-new", SPEC % "'*'", created="2021-01-01T00:00:00Z"),
        world.virtual_service("public-b", SPEC % "'*'", "bank", created="2020-01-01T00:00:00Z"),
        world.virtual_service("public-a", SPEC % "'*'", created="2020-01-01T00:00:00Z"),
        world.virtual_service("named", SPEC % "shop", created="2022-01-01T00:00:00Z"),
        world.virtual_service("private", SPEC % "'.'", "shop", created="2023-01-01T00:00:00Z"),
        world.virtual_service("hidden", SPEC % "bank"),
        world.virtual_service(
            "gateway", "{hosts: [a.com], gateways: [gw], http: [{route: [{destination: {host: a}}]}]}"
        ),
    )
    found = held.registry.memo.get(mesh_virtual_services, "shop")
    assert [each.key.name for each in found] == ["private", "named", "public-a", "public-b", "public-new"]
    found = held.registry.memo.get(gateway_virtual_services, ("shop", "default/gw"))
    assert [each.key.name for each in found] == ["gateway"]


def delegated(root: str, leaf: str, export: str = "'*'", namespace: str = "default") -> tuple[Any, ...]:
    """Return the routes of a root with one rule that delegates, and of the delegate with one rule."""
    rule = {**yaml.safe_load(root), "delegate": {"name": "leaf", "namespace": namespace}}
    inner = yaml.safe_load(leaf)
    inner.setdefault("route", [{"destination": {"host": "a"}}])
    held = World(
        world.virtual_service("v", yaml.safe_dump({"hosts": ["a.com"], "http": [rule]})),
        world.virtual_service(
            "leaf", yaml.safe_dump({"exportTo": [yaml.safe_load(export)], "http": [inner]}), namespace
        ),
    )
    return resolved(held).http


@pytest.mark.parametrize(
    ("root", "leaf", "expected"),
    [
        pytest.param("{}", "{match: [{uri: {prefix: /a}}]}", ["/a"], id="root-has-none"),
        pytest.param("{match: [{uri: {prefix: /a}}]}", "{}", ["/a"], id="leaf-has-none"),
        pytest.param("{match: [{uri: {prefix: /a}}]}", "{match: [{uri: {prefix: /a/b}}]}", ["/a/b"], id="within"),
        pytest.param("{match: [{uri: {prefix: /a}}]}", "{match: [{uri: {prefix: /b}}]}", None, id="outside"),
        pytest.param("{match: [{uri: {prefix: /a}}]}", "{match: [{uri: {regex: /a}}]}", None, id="regex"),
        pytest.param("{match: [{uri: {exact: /a}}]}", "{match: [{uri: {prefix: /a}}]}", None, id="exact-root"),
        pytest.param(
            "{match: [{uri: {prefix: /a}}, {uri: {prefix: /b}}]}",
            "{match: [{uri: {prefix: /b/c}}]}",
            ["/b/c"],
            id="one",
        ),
        pytest.param(
            "{match: [{uri: {prefix: /a}}]}",
            "{match: [{uri: {prefix: /a/b}}, {uri: {prefix: /c}}]}",
            None,
            id="a-match-that-fits-nowhere-drops-the-route",
        ),
        pytest.param(
            "{match: [{headers: {x: {exact: '1'}}}]}", "{match: [{headers: {x: {exact: '2'}}}]}", None, id="headers"
        ),
        pytest.param(
            "{match: [{headers: {x: {}}}]}", "{match: [{headers: {x: {exact: '2'}}}]}", None, id="presence-of-a-header"
        ),
        pytest.param("{match: [{port: 80}]}", "{match: [{port: 81}]}", None, id="ports"),
        pytest.param("{match: [{sourceNamespace: a}]}", "{match: [{port: 81}]}", None, id="leaf-namespace-unset"),
        pytest.param("{match: [{sourceLabels: {a: b}}]}", "{match: [{sourceLabels: {a: c}}]}", None, id="labels"),
    ],
)
def test_delegate_matches(root: str, leaf: str, expected: list[str] | None) -> None:
    http = delegated(root, leaf)
    assert [match.uri.prefix for route in http for match in route.match] == (expected or [])
    assert len(http) == (expected is not None)


def test_delegate_fields() -> None:
    (route,) = delegated(
        "{name: r, timeout: 1s, retries: {attempts: 1}, match: [{name: rm, headers: {a: {exact: x}}}]}",
        "{name: d, timeout: 2s, match: [{name: dm, headers: {b: {exact: y}}, uri: {exact: /}}]}",
    )
    assert (route.name, route.timeout.total_seconds(), route.retries.attempts) == ("r-d", 2, 1)
    (match,) = route.match
    assert (match.name, sorted(match.headers), match.uri.exact) == ("rm-dm", ["a", "b"], "/")
    assert route.route[0].destination.host == "a.default.svc.cluster.local"


@pytest.mark.parametrize(
    ("export", "found"),
    [
        pytest.param("'*'", True, id="public"),
        pytest.param("default", True, id="to-the-root"),
        pytest.param("'.'", False, id="private"),
    ],
)
def test_delegate_of_another_namespace(export: str, found: bool) -> None:  # noqa: FBT001 - a column
    """Names in a delegate are of its own namespace."""
    http = delegated("{}", "{}", export, "shop")
    assert [route.route[0].destination.host for route in http] == (["a.shop.svc.cluster.local"] if found else [])


def test_missing_delegate_drops_its_rule_only() -> None:
    spec = "{hosts: [a.com], http: [{delegate: {name: gone}}, {name: rest, route: [{destination: {host: a}}]}]}"
    assert [route.name for route in resolved(World(world.virtual_service("v", spec))).http] == ["rest"]


def test_delegate_change_reaches_the_root() -> None:
    held = World(
        world.virtual_service("v", "{hosts: [a.com], http: [{delegate: {name: leaf}}]}"),
        world.virtual_service("leaf", "{http: [{route: [{destination: {host: a}}]}]}"),
    )
    assert resolved(held).http[0].route[0].destination.host == "a.default.svc.cluster.local"
    held.add(world.virtual_service("leaf", "{http: [{route: [{destination: {host: b}}]}]}"))
    assert resolved(held).http[0].route[0].destination.host == "b.default.svc.cluster.local"
    assert resolved(held).sources == tuple(ObjectKey(kinds.VIRTUAL_SERVICE, "default", name) for name in ("v", "leaf"))
