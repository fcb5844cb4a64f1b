"""What users add to the proxies, as traffic shows it: rate limits and scripts, and what a bad patch costs: nothing."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml
from envoy.service.ratelimit.v3 import rls_pb2

from samples.control_plane import LOOPBACK, free_port
from samples.traffic import Answer, Entrance, send
from tests.envoy.mesh import HOST, Mesh, eventually, eventually_all, istio, routes, service, subsets, to

pytestmark = pytest.mark.asyncio(loop_scope="session")

SAMPLE = Path(__file__).parents[2] / "samples" / "rate-limit"
FILTERS = "type.googleapis.com/envoy.extensions.filters"
Json = dict[str, Any]


def sample(name: str, **texts: str) -> list[Json]:
    """Return the EnvoyFilters of the sample, in the namespace of the test, for its clients, with other names in it."""
    text = (SAMPLE / name).read_text()
    for before, after in texts.items():
        text = text.replace(before, after)
    found = [obj for obj in yaml.safe_load_all(text) if obj["kind"] == "EnvoyFilter"]
    for obj in found:
        obj["metadata"]["namespace"] = "default"
        obj["spec"].pop("workloadSelector", None)
        for patch in obj["spec"]["configPatches"]:
            patch["match"]["context"] = "SIDECAR_OUTBOUND"
    return found


async def statuses(web: Entrance, count: int = 6, path: str = "/") -> list[int]:
    return sorted(answer.status for answer in await send(web, path, {}, count))


async def test_a_local_rate_limit_lets_so_many_through(mesh: Mesh) -> None:
    """The sample as Istio's documentation has it: of six requests in a minute four pass, the others are 429."""
    v1 = await mesh.backend("v1")
    mesh.write(service([v1]), routes({"route": [to()]}))
    web = await mesh.sidecar()
    await eventually_all(web, Answer(200, "v1", "/"))
    mesh.write(*sample("local.yaml"))

    async def limited() -> bool:
        return set(await statuses(web)) == {429}  # the tokens are used up, and none comes for a minute

    await eventually(limited, "requests beyond the limit are refused")


class RateLimits:
    """A rate limit service: it refuses requests whose path is ``/paid``, and remembers what it was asked."""

    def __init__(self) -> None:
        self.port = free_port()
        self.asked: list[tuple[str, str]] = []
        self._server = grpc.aio.server()

    async def start(self) -> None:
        handler = grpc.unary_unary_rpc_method_handler(
            self._answer,
            request_deserializer=rls_pb2.RateLimitRequest.FromString,
            response_serializer=rls_pb2.RateLimitResponse.SerializeToString,
        )
        name = "envoy.service.ratelimit.v3.RateLimitService"
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(name, {"ShouldRateLimit": handler}),)
        )
        self._server.add_insecure_port(f"{LOOPBACK}:{self.port}")
        await self._server.start()

    async def stop(self) -> None:
        await self._server.stop(None)

    async def _answer(self, request: Any, _context: Any) -> Any:
        await asyncio.sleep(0)
        entries = [(entry.key, entry.value) for each in request.descriptors for entry in each.entries]
        self.asked += entries
        code = rls_pb2.RateLimitResponse.OVER_LIMIT if ("PATH", "/paid") in entries else rls_pb2.RateLimitResponse.OK
        return rls_pb2.RateLimitResponse(overall_code=code)


async def test_a_global_rate_limit_asks_its_service(mesh: Mesh) -> None:
    """The sample as Istio's documentation has it: the service is told each path, and what it refuses is 429."""
    v1 = await mesh.backend("v1")
    limits = await mesh.serving(RateLimits())
    host = "ratelimit.test"
    answering = istio(
        "ServiceEntry",
        "ratelimit",
        hosts=[host],
        ports=[{"number": 8081, "name": "grpc", "protocol": "GRPC"}],
        resolution="STATIC",
        endpoints=[{"address": LOOPBACK, "ports": {"grpc": limits.port}}],
    )
    mesh.write(service([v1]), routes({"route": [to()]}), answering)
    web = await mesh.sidecar()
    await eventually_all(web, Answer(200, "v1", "/"))
    mesh.write(*sample("global.yaml", **{"ratelimit.default.svc.cluster.local": host}))

    async def limited() -> bool:
        return set(await statuses(web, path="/paid")) == {429} and set(await statuses(web, path="/free")) == {200}

    await eventually(limited, "what the service refuses is refused")
    assert {("PATH", "/paid"), ("PATH", "/free")} <= set(limits.asked)


async def test_a_script_sees_requests(mesh: Mesh) -> None:
    """Lua of a TrafficExtension runs in a stock Envoy."""
    v1 = await mesh.backend("v1")
    mesh.write(service([v1]), routes({"route": [to()]}))
    web = await mesh.sidecar()
    await eventually_all(web, Answer(200, "v1", "/"))
    code = "function envoy_on_request(h) h:respond({[':status'] = '418'}, 'no') end"
    extension = istio("TrafficExtension", "teapot", lua={"inlineCode": code}, match=[{"mode": "CLIENT"}])
    mesh.write(extension | {"apiVersion": "extensions.istio.io/v1alpha1"})
    await eventually_all(web, Answer(418))


async def test_a_patch_that_envoy_would_refuse_costs_nothing_else(mesh: Mesh) -> None:
    """Of three patches of one filter the bad one is left out; proxies refuse nothing (``Mesh.reset`` looks)."""
    v1 = await mesh.backend("v1")
    mesh.write(service([v1]), routes({"route": [to()]}), subsets())
    web = await mesh.sidecar()
    await eventually_all(web, Answer(200, "v1", "/"))

    def respond(status: int, operation: str) -> Json:
        code = f"function envoy_on_request(h) h:respond({{[':status'] = '{status}'}}, '') end"
        config = {"@type": f"{FILTERS}.http.lua.v3.Lua", "default_source_code": {"inline_string": code}}
        match = {"context": "SIDECAR_OUTBOUND"}
        value = {"name": "envoy.filters.http.lua", "typed_config": config}
        return {"applyTo": "HTTP_FILTER", "match": match, "patch": {"operation": operation, "value": value}}

    removed = {"applyTo": "CLUSTER", "match": {"cluster": {"service": HOST}}, "patch": {"operation": "MERGE"}}
    removed["patch"] = {"operation": "MERGE", "value": {"lb_policy": "CLUSTER_PROVIDED"}}
    filter_ = istio("EnvoyFilter", "some", configPatches=[respond(500, "ADD"), removed, respond(418, "INSERT_FIRST")])
    mesh.write(filter_ | {"apiVersion": "networking.istio.io/v1alpha3"})
    await eventually_all(web, Answer(418))
