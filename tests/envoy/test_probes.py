"""Probes of applications over TLS that speak HTTP/2 and nothing else: an Envoy is one."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from controlplane.agent.environment import Environment
from controlplane.agent.status.pages import Pages
from controlplane.agent.status.probes import Probes, probes
from samples.control_plane import LOOPBACK, free_port
from tests.agent.test_status import agent, get
from tests.envoy.bare import HTTP_CONNECTION_MANAGER, ROUTER, BareEnvoy
from tests.feature.key_pairs import Issuer

LONG = "x" * 200_000  # longer than the window that a connection begins with
ANSWERS = {"/live": (200, "fine"), "/bad": (503, LONG), "/moved": (302, "")}


@pytest.fixture
async def port(tmp_path: Path) -> AsyncIterator[int]:
    found = free_port()
    pair = Issuer().pair("app.test")
    context = {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        "common_tls_context": {
            "alpn_protocols": ["h2"],
            "tls_certificates": [
                {
                    "certificate_chain": {"inline_string": pair.certificate.decode()},
                    "private_key": {"inline_string": pair.key.decode()},
                }
            ],
        },
    }
    routes: list[dict[str, Any]] = [
        {"match": {"path": path}, "direct_response": {"status": status, "body": {"inline_string": body}}}
        for path, (status, body) in ANSWERS.items()
    ]
    routes[-1] = {"match": {"path": "/moved"}, "redirect": {"path_redirect": "/live"}}
    manager = {
        "@type": HTTP_CONNECTION_MANAGER,
        "codec_type": "HTTP2",
        "stat_prefix": "app",
        "route_config": {
            "max_direct_response_body_size_bytes": len(LONG),
            "virtual_hosts": [{"name": "app", "domains": ["*"], "routes": routes}],
        },
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {"@type": ROUTER}}],
    }
    chain = {
        "filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}],
        "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": context},
    }
    address = {"socket_address": {"address": LOOPBACK, "port_value": found}}
    listeners = [{"name": "app", "address": address, "filter_chains": [chain]}]
    envoy = BareEnvoy({"static_resources": {"listeners": listeners}}, tmp_path)
    try:
        await envoy.start()
        yield found
    finally:
        await envoy.stop()


@pytest.mark.parametrize(("http2", "expected"), [(True, [200, 503, 200, 404]), (False, [500, 500, 500, 500])])
async def test_an_application_may_speak_http2_alone(port: int, http2: bool, expected: list[int]) -> None:  # noqa: FBT001
    """Unless nobody is to try; redirections are followed and long answers cut, as over HTTP/1.1."""
    known = {
        f"/app-health/{name}/livez": {"httpGet": {"port": port, "path": f"/{name}", "scheme": "HTTPS"}}
        for name in ("live", "bad", "moved", "absent")
    }
    found = probes(Environment({"ISTIO_KUBE_APP_PROBERS": json.dumps(known)}))
    prober = Probes(found, LOOPBACK, 15020, from_loopback=False, http2=http2)
    async with agent(Pages({}, prober.find)) as where:
        replies = [await get(where, path, host="10.0.0.7:15020", connection="keep-alive") for path in known]
    assert [reply.status for reply in replies] == expected
    if http2:
        assert replies[0].body == replies[2].body == b"fine"
        assert replies[1].body == LONG[: 10 << 10].encode()
