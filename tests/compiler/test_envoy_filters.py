"""EnvoyFilters in the compiler: a change of one rebuilds what it touches, and nothing else is another than before."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.extensions.filters.http.wasm.v3.wasm_pb2 import Wasm

from controlplane.analysis.left_out import LeftOutParts
from controlplane.compiler.compiler import Compiler, Session
from controlplane.frontends import FRONTENDS
from controlplane.model import kinds
from controlplane.model.objects import ChangeSet, Object, ObjectKey
from controlplane.model.proxy import Proxy
from controlplane.registry.store import Registry
from controlplane.snapshots import ResourceType
from tests.compiler.histories import manifest, parsed
from tests.compiler.scratch import assert_as_from_scratch, contents
from tests.compiler.test_laws import CLIENTS, _mesh, opened
from tests.envoy.bare import HTTP_CONNECTION_MANAGER

CLUSTER = "outbound|80||svc-7.ns-7.svc.cluster.local"
GATEWAY = Proxy("router", "gw.ns-0", ("10.7.0.1",), "ns-0", "ns-0.svc.cluster.local", {"istio": "gw"})


def envoy_filter(*patches: dict[str, Any], namespace: str = "istio-system", name: str = "f", **spec: Any) -> Object:
    stated = {"configPatches": list(patches), **spec}
    return parsed(manifest("networking.istio.io/v1alpha3", "EnvoyFilter", namespace, name, spec=stated))


def patch(apply_to: str, operation: str, value: dict[str, Any] | None = None, **match: Any) -> dict[str, Any]:
    change = {"operation": operation} | ({"value": value} if value is not None else {})
    return {"applyTo": apply_to, "patch": change} | ({"match": match} if match else {})


def slower(seconds: int) -> Object:
    return envoy_filter(patch("CLUSTER", "MERGE", {"connect_timeout": f"{seconds}s"}, cluster={"name": CLUSTER}))


def with_mesh(*proxies: Proxy) -> Callable[[Callable[[Compiler, list[Session]], Awaitable[None]]], None]:
    """Run a test with a compiler of a small mesh, and sessions of these proxies."""

    def run(test: Callable[[Compiler, list[Session]], Awaitable[None]]) -> None:
        async def ran() -> None:
            compiler = Compiler(Registry(frontends=FRONTENDS))
            await compiler.apply(ChangeSet(upserts=tuple(_mesh(40))))
            await test(compiler, await opened(compiler, proxies))

        asyncio.run(ran())

    return run


def runs_of(compiler: Compiler) -> dict[str, int]:
    return dict(compiler.registry.memo.runs)


def test_a_changed_value_rebuilds_the_one_cluster_that_it_is_for() -> None:
    @with_mesh(*CLIENTS)
    async def changed(compiler: Compiler, sessions: list[Session]) -> None:
        plain = [contents(session) for session in sessions]
        await compiler.apply(ChangeSet(upserts=(slower(3),)))
        runs, builds = runs_of(compiler), compiler.builds
        await compiler.apply(ChangeSet(upserts=(slower(4),)))
        after = runs_of(compiler)
        assert compiler.builds == builds + 1
        assert after["patched_cluster"] == runs["patched_cluster"] + 1
        for name in ("cluster", "load_assignment", "_outbound_listener", "classify", "patched_clusters"):
            assert after[name] == runs[name], name
        for session, before in zip(sessions, plain, strict=True):
            now = contents(session)
            assert now[ResourceType.CLUSTER].pop(CLUSTER) != before[ResourceType.CLUSTER].pop(CLUSTER)
            assert now == before


def test_only_proxies_that_it_selects_are_other_than_before() -> None:
    """Their classes alone change; the others keep the very same snapshots."""

    @with_mesh(*CLIENTS)
    async def selected(compiler: Compiler, sessions: list[Session]) -> None:
        before = [session.snapshot for session in sessions]
        other = patch("CLUSTER", "MERGE", {"connect_timeout": "3s"})
        await compiler.apply(ChangeSet(upserts=(envoy_filter(other, namespace="ns-1"),)))
        kept = [session.snapshot is old for session, old in zip(sessions, before, strict=True)]
        assert kept == [True, False, True, True, True]


def test_a_filter_that_goes_leaves_nothing_behind() -> None:
    @with_mesh(*CLIENTS, GATEWAY)
    async def gone(compiler: Compiler, sessions: list[Session]) -> None:
        before = [contents(session) for session in sessions]
        every = envoy_filter(
            patch("CLUSTER", "REMOVE"),
            patch("LISTENER", "REMOVE"),
            patch("ROUTE_CONFIGURATION", "MERGE", {"request_headers_to_remove": ["a"]}),
        )
        await compiler.apply(ChangeSet(upserts=(every,)))
        assert all(contents(session)[ResourceType.CLUSTER] == {} for session in sessions)
        await compiler.apply(ChangeSet(deletes=(every.key,)))
        assert [contents(session) for session in sessions] == before


def test_a_patch_that_does_harm_is_left_out_alone_and_said_to_be() -> None:
    @with_mesh(CLIENTS[0])
    async def refused(compiler: Compiler, sessions: list[Session]) -> None:
        left_out = LeftOutParts(compiler.registry)
        good = patch("CLUSTER", "MERGE", {"connect_timeout": "3s"}, cluster={"name": CLUSTER})
        bad = patch("CLUSTER", "MERGE", {"connect_timeout": "-3s"}, cluster={"name": CLUSTER})
        another = patch("CLUSTER", "MERGE", {"alt_stat_name": "mine"}, cluster={"name": CLUSTER})
        await compiler.apply(ChangeSet(upserts=(envoy_filter(good, bad, another),)))
        body = contents(sessions[0])[ResourceType.CLUSTER][CLUSTER]
        assert b"mine" in body
        (rejected,) = left_out
        assert rejected.key == ObjectKey(kinds.ENVOY_FILTER, "istio-system", "f")
        (problem,) = rejected.problems
        assert problem.startswith("spec.configPatches[1] (CLUSTER MERGE) is left out, Envoy would refuse what it makes")
        await compiler.apply(ChangeSet(upserts=(envoy_filter(good, another),)))
        assert list(left_out) == []
        assert contents(sessions[0])[ResourceType.CLUSTER][CLUSTER] == body


def test_a_patch_that_changes_nothing_is_known_until_it_changes_something() -> None:
    """It is told of each patch that is for a proxy that is there; one for other proxies may well do something."""

    @with_mesh(*CLIENTS, GATEWAY)
    async def idle(compiler: Compiler, _sessions: list[Session]) -> None:
        parts = LeftOutParts(compiler.registry)
        changes: list[None] = []
        parts.on_change = lambda: changes.append(None)
        slow, late = {"connect_timeout": "3s"}, {"connect_timeout": "-3s"}
        stated = [
            patch("CLUSTER", "MERGE", slow, cluster={"name": CLUSTER}),
            patch("CLUSTER", "MERGE", slow, cluster={"name": "outbound|80||absent.ns-7.svc.cluster.local"}),
            patch("CLUSTER", "MERGE", late, cluster={"name": CLUSTER}),  # left out, which is told by itself
            patch("HTTP_FILTER", "REMOVE", listener={"name": "absent"}),
            patch("VIRTUAL_HOST", "REMOVE", routeConfiguration={"vhost": {"name": "absent:80"}}),
            patch("CLUSTER", "ADD", {"name": "mine", "type": "STATIC", **slow}),
            patch("CLUSTER", "MERGE", {"name": "x"}, proxy={"proxyVersion": "^1\\.3"}),  # for none of these proxies
        ]
        await compiler.apply(ChangeSet(upserts=(envoy_filter(*stated),)))
        assert [each.position for each in parts.idle_patches()] == [1, 3, 4]
        told = len(changes)
        assert told > 0
        await compiler.apply(ChangeSet(upserts=(slower(4),)))
        assert parts.idle_patches() == []
        assert len(changes) > told

    with_mesh()(_nothing_of_it)


async def _nothing_of_it(compiler: Compiler, _sessions: list[Session]) -> None:
    """Without a proxy nothing is known of a patch."""
    parts = LeftOutParts(compiler.registry)
    await compiler.apply(ChangeSet(upserts=(slower(4),)))
    assert parts.idle_patches() == []


def test_a_filter_of_some_workloads_is_work_for_their_class_alone() -> None:
    """Of five classes the one of its namespace is made anew: as many builds as it has clusters, and no other query."""

    @with_mesh(*CLIENTS)
    async def counted(compiler: Compiler, sessions: list[Session]) -> None:
        held = sessions[1].snapshot.of(ResourceType.CLUSTER)
        builds, runs = compiler.builds, runs_of(compiler)
        every = patch("CLUSTER", "MERGE", {"connect_timeout": "3s"})
        await compiler.apply(ChangeSet(upserts=(envoy_filter(every, namespace="ns-1"),)))
        after = runs_of(compiler)
        patched = after["patched_cluster"] - runs.get("patched_cluster", 0)
        assert 0 < patched <= len(held)
        assert compiler.builds == builds + patched
        for name in ("cluster", "load_assignment", "_outbound_listener", "patched_listener", "patched_routes"):
            assert after.get(name, 0) == runs.get(name, 0), name


def test_the_filter_is_among_what_a_resource_is_made_from() -> None:
    @with_mesh(CLIENTS[0])
    async def behind(compiler: Compiler, _sessions: list[Session]) -> None:
        limit = {"@type": "type.googleapis.com/envoy.extensions.filters.network.connection_limit.v3.ConnectionLimit"}
        value = {"name": "limit", "typed_config": {**limit, "stat_prefix": "a", "max_connections": 3}}
        await compiler.apply(ChangeSet(upserts=(envoy_filter(patch("NETWORK_FILTER", "INSERT_FIRST", value)),)))
        found = set(compiler.behind(CLIENTS[0], ResourceType.LISTENER, "0.0.0.0_80"))
        assert ObjectKey(kinds.ENVOY_FILTER, "istio-system", "f") in found
        assert ObjectKey(kinds.SERVICE, "ns-7", "svc-7") in found


def test_routes_are_served_that_only_an_added_listener_asks_for() -> None:
    @with_mesh(CLIENTS[0])
    async def added(compiler: Compiler, sessions: list[Session]) -> None:
        manager = {
            "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3"
            ".HttpConnectionManager",
            "stat_prefix": "a",
            "rds": {"route_config_name": "81", "config_source": {"ads": {}}},
            "http_filters": [
                {
                    "name": "envoy.filters.http.router",
                    "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
                }
            ],
        }
        value = {
            "name": "mine",
            "address": {"socket_address": {"address": "127.0.0.1", "port_value": 6000}},
            "filter_chains": [
                {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
            ],
        }
        await compiler.apply(ChangeSet(upserts=(envoy_filter(patch("LISTENER", "ADD", value)),)))
        assert "mine" in sessions[0].snapshot.of(ResourceType.LISTENER)
        assert "81" in sessions[0].snapshot.of(ResourceType.ROUTE)


def bound(*ports: int) -> Object:
    """A Sidecar of all proxies of ns-0, which bind listeners of their own on these ports, in this order."""
    ingress = [
        {"port": {"number": port, "name": "tcp", "protocol": "TCP"}, "bind": "127.0.0.1", "captureMode": "NONE"}
        for port in ports
    ]
    return parsed(manifest("networking.istio.io/v1", "Sidecar", "ns-0", "default", spec={"ingress": ingress}))


def test_which_of_two_listeners_is_moved_to_a_place_is_what_a_fresh_replica_says() -> None:
    to = {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 7777}}}
    moves = envoy_filter(
        *(patch("LISTENER", "MERGE", to, listener={"name": f"127.0.0.1_{port}"}) for port in (1, 2)),
    )

    @with_mesh(CLIENTS[0])
    async def moved(compiler: Compiler, sessions: list[Session]) -> None:
        await compiler.apply(ChangeSet(upserts=(moves,)))
        for ports in ((1, 2), (2, 1), (1, 2)):
            await compiler.apply(ChangeSet(upserts=(bound(*ports),)))
            held = sessions[0].snapshot.of(ResourceType.LISTENER)
            places = [Listener.FromString(held[f"127.0.0.1_{port}"].body).address.socket_address for port in (1, 2)]
            assert [place.port_value for place in places] == [7777, 2], ports
            await assert_as_from_scratch(compiler, sessions, str(ports))


@pytest.mark.parametrize("tracer", ["zipkin", "datadog"])
def test_a_tracer_of_a_patch_whose_collector_proxies_do_not_have_is_left_out(tracer: str) -> None:
    """Envoy would refuse the listener; whether a cluster of another name stands in the bootstrap is not known."""
    kinds_of = {"zipkin": ("ZipkinConfig", {"collector_endpoint": "/a", "collector_endpoint_version": "HTTP_JSON"})}
    kind, said = kinds_of.get(tracer, ("DatadogConfig", {"service_name": "a"}))

    def traced(cluster: str) -> Object:
        config = {"@type": f"type.googleapis.com/envoy.config.trace.v3.{kind}", "collector_cluster": cluster, **said}
        manager = {"@type": HTTP_CONNECTION_MANAGER, "tracing": {"provider": {"name": "t", "typed_config": config}}}
        named = {"filterChain": {"filter": {"name": "envoy.filters.network.http_connection_manager"}}}
        return envoy_filter(patch("NETWORK_FILTER", "MERGE", {"typed_config": manager}, listener=named))

    @with_mesh(CLIENTS[0])
    async def left_out(compiler: Compiler, _sessions: list[Session]) -> None:
        parts = LeftOutParts(compiler.registry)
        for cluster in (CLUSTER, "zipkin"):
            await compiler.apply(ChangeSet(upserts=(traced(cluster),)))
            assert list(parts) == []
        for cluster in (CLUSTER.replace("|80|", "|81|"), "outbound|80||nobody.test"):
            await compiler.apply(ChangeSet(upserts=(traced(cluster),)))
            (rejected,) = parts
            assert rejected.problems[0].endswith(f"tracing.provider: proxies have no cluster {cluster}")


def test_a_module_of_a_patch_is_judged_as_envoy_sees_it_behind_an_agent_that_fetches_it() -> None:
    """Istio's documentation gives only an address, which an Envoy by itself refuses; what else is wrong is found."""
    fetching, alone = (
        Proxy("sidecar", f"{name}.ns-0", (ip,), "ns-0", "ns-0.svc.cluster.local", metadata=metadata)
        for name, ip, metadata in (("a", "10.7.0.2", {"FETCHES_MODULES": "true"}), ("b", "10.7.0.3", {}))
    )

    @with_mesh(fetching, alone)
    async def judged(compiler: Compiler, sessions: list[Session]) -> None:
        left_out = LeftOutParts(compiler.registry)
        await compiler.apply(ChangeSet(upserts=(module_patch(),)))
        assert [list(session.snapshot.of(ResourceType.EXTENSION)) for session in sessions] == [["mine"], []]
        config = TypedExtensionConfig.FromString(sessions[0].snapshot.of(ResourceType.EXTENSION)["mine"].body)
        wasm = Wasm.FromString(config.typed_config.value)
        assert wasm.config.vm_config.code.remote.http_uri.uri == "http://modules.example.com/mine.wasm"
        ((problem,),) = (each.problems for each in left_out)
        assert "remote.http_uri.timeout: is required" in problem
        await compiler.apply(ChangeSet(upserts=(module_patch(reload_config={"backoff": {"base_interval": "-1s"}}),)))
        assert not any(session.snapshot.of(ResourceType.EXTENSION) for session in sessions)


def module_patch(**config: Any) -> Object:
    code = {"remote": {"http_uri": {"uri": "http://modules.example.com/mine.wasm"}}}
    settings = {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
        "config": {"root_id": "mine", "vm_config": {"runtime": "envoy.wasm.runtime.v8", "code": code}, **config},
    }
    return envoy_filter(patch("EXTENSION_CONFIG", "ADD", {"name": "mine", "typed_config": settings}))
