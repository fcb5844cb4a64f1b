"""Short specs of each kind, for tables of rules."""

from __future__ import annotations

from typing import Any

Rows = dict[str, tuple[dict[str, Any], str]]
"""A spec and how a problem of it starts, by the name of the rule."""

TO_A: list[dict[str, Any]] = [{"destination": {"host": "a.shop"}}]


def route(**fields: Any) -> dict[str, Any]:
    """A VirtualService with one HTTP route of these fields, beside its destination."""
    return {"hosts": ["a.shop"], "http": [{"route": TO_A} | fields]}


def policy(**fields: Any) -> dict[str, Any]:
    return {"host": "a.shop", "trafficPolicy": fields}


def server(**fields: Any) -> dict[str, Any]:
    base: dict[str, Any] = {"port": {"number": 80, "protocol": "HTTP", "name": "http"}, "hosts": ["a.example"]}
    return {"servers": [base | fields]}


def https(**tls: Any) -> dict[str, Any]:
    return server(port={"number": 443, "protocol": "HTTPS", "name": "https"}, tls=tls)


def entry(**fields: Any) -> dict[str, Any]:
    base = {"hosts": ["a.example"], "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}], "resolution": "DNS"}
    return base | fields


def egress(*listeners: dict[str, Any]) -> dict[str, Any]:
    return {"egress": list(listeners)}


def ingress(**fields: Any) -> dict[str, Any]:
    base: dict[str, Any] = {
        "port": {"number": 80, "protocol": "HTTP", "name": "http"},
        "defaultEndpoint": "127.0.0.1:8080",
    }
    return {"ingress": [base | fields]}


def rule(**fields: Any) -> dict[str, Any]:
    return {"rules": [fields]}
