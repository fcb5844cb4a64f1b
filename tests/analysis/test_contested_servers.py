"""Which servers of Gateways are not served because an older Gateway for the same proxies has their port or host."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.analysis.contested_servers import contested_servers
from controlplane.analysis.findings import findings
from controlplane.model import kinds
from controlplane.model.objects import ChangeSet, ObjectKey
from controlplane.registry.store import Registry
from tests.compiler.histories import manifest, parsed

HTTP: dict[str, Any] = {"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": ["a.test"]}
TCP: dict[str, Any] = {"port": {"number": 80, "name": "tcp", "protocol": "TCP"}, "hosts": ["*"]}
TLS = {"mode": "SIMPLE", "serverCertificate": "/chain.pem", "privateKey": "/key.pem"}


def https(host: str, number: int = 443) -> dict[str, Any]:
    return {"port": {"number": number, "name": f"https-{host[0]}", "protocol": "HTTPS"}, "hosts": [host], "tls": TLS}


def gateway(name: str, *servers: dict[str, Any], selector: str = "ingress", namespace: str = "edge") -> Any:
    """Return a Gateway; those whose names come later in the alphabet are younger."""
    created = f"2026-01-01T00:00:{ord(name[0]) - ord('a'):02}Z"
    spec = {"selector": {"istio": selector}, "servers": list(servers)}
    return manifest("networking.istio.io/v1", "Gateway", namespace, name, creationTimestamp=created, spec=spec)


def registry(*raw: Any) -> Registry:
    held = Registry()
    held.apply(ChangeSet(upserts=tuple(parsed(each) for each in raw)))
    return held


@pytest.mark.parametrize(
    ("objects", "lost"),
    [
        pytest.param([gateway("a", HTTP), gateway("b", HTTP)], [], id="http-shares-a-port"),
        pytest.param([gateway("a", HTTP), gateway("b", HTTP, TCP)], [("b", 1, "a")], id="bytes-do-not"),
        pytest.param([gateway("b", HTTP), gateway("a", TCP)], [("b", 0, "a")], id="the-older-one-has-it"),
        pytest.param(
            [gateway("a", https("x.test")), gateway("b", https("y.test"), https("x.test"))],
            [("b", 1, "a")],
            id="host-with-tls",
        ),
        pytest.param([gateway("a", https("x.test")), gateway("b", https("x.test", 8443))], [], id="other-port"),
        pytest.param([gateway("a", https("x.test")), gateway("b", https("x.test"), selector="b")], [], id="others"),
        pytest.param(
            [gateway("a", https("x.test")), gateway("b", https("x.test"), namespace="bank")],
            [("b", 0, "a")],
            id="from-another-namespace",
        ),
        pytest.param([gateway("a", HTTP, TCP)], [], id="its-own"),
    ],
)
def test_what_is_not_served(objects: list[Any], lost: list[tuple[str, int, str]]) -> None:
    found = registry(*objects).memo.get(contested_servers, ())
    assert [(each.key.name, each.position, each.winner.name) for each in found] == lost


def test_it_is_served_once_the_other_goes() -> None:
    held = registry(gateway("a", https("x.test")), gateway("b", https("x.test")))
    first = ObjectKey(kinds.GATEWAY, "edge", "a")
    (finding,) = held.memo.get(findings, ()) or ()
    assert (finding.key.name, finding.path, finding.winner) == ("b", "spec.servers[0]", first)
    assert finding.reason.startswith("Gateway edge/a is for the same proxies")
    held.memo.invalidate(held.apply(ChangeSet(deletes=(first,))))
    assert not held.memo.get(findings, ())
