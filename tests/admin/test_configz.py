"""``/debug/configz``: the objects in force, in the shape in which Kubernetes has them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import aiohttp
import pytest

from tests.admin import world
from tests.compiler.histories import manifest, parsed

NETWORKING = "networking.istio.io/v1beta1"


def rule(name: str, **spec: Any) -> dict[str, Any]:
    return manifest(NETWORKING, "DestinationRule", "shop", name, labels={"team": "a"}, spec={"host": name, **spec})


async def test_objects_in_force() -> None:
    """Each has the newest version of its kind and, of its spec, what was stated; durations as istiod writes them."""
    web = rule("web", trafficPolicy={"outlierDetection": {"interval": "5m"}})
    asked = replace(world.sources(), objects=lambda: [parsed(web), parsed(rule("cart"))])
    async with world.serving(asked) as address, aiohttp.ClientSession() as session:
        async with session.get(f"http://{address}/debug/configz") as response:
            found = await response.json()
        async with session.get(f"http://{address}/debug/configz?limit=1") as response:
            first, link = await response.json(), response.headers["Link"]
    meta = {"namespace": "shop", "labels": {"team": "a"}}
    assert found == [
        {
            "kind": "DestinationRule",
            "apiVersion": "networking.istio.io/v1",
            "metadata": {"name": name, **meta},
            "spec": {"host": name, **spec},
        }
        for name, spec in (("cart", {}), ("web", {"trafficPolicy": {"outlierDetection": {"interval": "300s"}}}))
    ]
    assert (first, "after=" in link) == (found[:1], True)


CANARY = "-----BEGIN PRIVATE KEY----- canary"
TLS = {
    "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
    "commonTlsContext": {
        "tls_certificates": [
            {"privateKey": {"inline_string": CANARY}, "certificate_chain": {"inlineString": "public"}},
            {"private_key": {"inlineBytes": "Y2FuYXJ5"}, "password": {"inlineString": CANARY}},
        ]
    },
    "session_ticket_keys": {"keys": [{"inline_string": CANARY}]},
}
USERS = {"users": {"inline_string": CANARY}}
BASIC = "type.googleapis.com/envoy.extensions.filters.http.basic_auth.v3.BasicAuth"


@pytest.mark.parametrize(
    ("apply_to", "value", "shown"),
    [
        pytest.param("CLUSTER", {"name": "a", "transport_socket": {"typed_config": TLS}}, "public", id="packed"),
        pytest.param("FILTER_CHAIN", {"transportSocket": {"typedConfig": TLS}}, "public", id="other-names"),
        pytest.param("LISTENER", {"filter_chains": [{"transport_socket": {"typed_config": TLS}}]}, "public", id="list"),
        pytest.param("HTTP_FILTER", {"name": "shown", "typed_config": {"@type": BASIC, **USERS}}, "shown", id="filter"),
        pytest.param(
            "HTTP_FILTER",
            {
                "name": "a",
                "typed_config": {
                    "@type": "type.googleapis.com/udpa.type.v1.TypedStruct",
                    "type_url": BASIC,
                    "value": {**USERS, "forward_username_header": "shown"},
                },
            },
            "shown",
            id="typed-struct",
        ),
        pytest.param(
            "VIRTUAL_HOST",
            {"name": "a", "domains": ["shown"], "typed_per_filter_config": {"a": {"@type": BASIC, **USERS}}},
            "shown",
            id="map",
        ),
        pytest.param("CLUSTER", {"name": "private_key", "alt_stat_name": "password"}, "private_key", id="nothing"),
    ],
)
async def test_what_envoy_marks_as_sensitive_is_not_shown(apply_to: str, value: dict[str, Any], shown: str) -> None:
    patch = {"applyTo": apply_to, "patch": {"operation": "MERGE", "value": value}}
    obj = manifest("networking.istio.io/v1alpha3", "EnvoyFilter", "shop", "keys", spec={"configPatches": [patch]})
    asked = replace(world.sources(), objects=lambda: [parsed(obj)])
    async with (
        world.serving(asked) as address,
        aiohttp.ClientSession() as session,
        session.get(f"http://{address}/debug/configz") as response,
    ):
        text = await response.text()
    assert ("canary" in text, "Y2FuYXJ5" in text, shown in text) == (False, False, True)
    assert ("[redacted]" in text) == ("canary" in str(value))
