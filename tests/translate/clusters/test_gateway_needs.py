"""Gateways with clusters of those services alone that they need."""

from __future__ import annotations

import asyncio

import pytest

from controlplane.compiler.compiler import Compiler
from controlplane.model.objects import ChangeSet, ObjectKey
from controlplane.registry.environment import GATEWAY_NEEDS, GATEWAYS_BY_NAMESPACE
from controlplane.registry.store import Registry
from controlplane.snapshots import ResourceType
from controlplane.watchers.reading import read
from tests.translate.clusters.world import clusters, snapshot
from tests.translate.listeners.world import gateway, mesh_yaml, sidecar

ON = {GATEWAY_NEEDS: "true"}
SERVICES = "".join(
    f"""
---
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: default}}
spec: {{clusterIP: 10.0.0.{number}, ports: [{{name: {port}, port: 80}}]}}
"""
    for number, (name, port) in enumerate(
        [("a", "http"), ("b", "http"), ("c", "http"), ("d", "tcp"), ("e", "tls"), ("f", "http"), ("g", "http")], 1
    )
)
GATEWAY = """
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gw, namespace: default}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]
"""


def routes(spec: str, gateways: str = "gw", name: str = "vs") -> str:
    return f"""
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}, namespace: default}}
spec: {{hosts: [x.com], gateways: [{gateways}], {spec}}}
"""


def to(host: str) -> str:
    return f"{{destination: {{host: {host}.default.svc.cluster.local}}}}"


ALIAS = """
---
apiVersion: v1
kind: Service
metadata: {name: alias, namespace: default}
spec: {type: ExternalName, externalName: g.default.svc.cluster.local}
"""
FILTER = """
---
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata:
  name: f
  namespace: default
  annotations:
    envoyfilter.istio.io/referenced-services: default/f.default.svc.cluster.local, c.default.svc.cluster.local
spec:
  configPatches:
  - {applyTo: CLUSTER, match: {context: GATEWAY}, patch: {operation: MERGE, value: {connect_timeout: 3s}}}
"""
TOKENS = """
---
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: r, namespace: default}
spec: {jwtRules: [{issuer: i, jwksUri: 'http://c.default.svc.cluster.local/keys'}]}
"""
PROVIDERS = mesh_yaml(
    "extensionProviders: [{name: z, zipkin: {service: default/b.default.svc.cluster.local, port: 80}},"
    " {name: s, envoyExtAuthzGrpc: {service: f.default.svc.cluster.local, port: 80}}]"
)


def names(text: str, environment: dict[str, str] | None = None, namespace: str = "default") -> str:
    """Return the short names of the services that a gateway has clusters of."""
    found = clusters(SERVICES + GATEWAY + text, gateway(namespace), ON | (environment or {}))
    return "".join(sorted(name.split("|")[3].partition(".")[0] for name in found if name.startswith("outbound|")))


@pytest.mark.parametrize(
    ("text", "needed"),
    [
        pytest.param("", "", id="nothing"),
        pytest.param(
            routes(
                f"http: [{{route: [{to('a')}], mirrors: [{to('b')}]}}, {{route: [{to('c')}], mirror: {{host: d}}}}]"
            ),
            "abcd",
            id="http",
        ),
        pytest.param(routes(f"tcp: [{{route: [{to('d')}]}}]"), "d", id="tcp"),
        pytest.param(routes(f"tls: [{{match: [{{sniHosts: [x.com]}}], route: [{to('e')}]}}]"), "e", id="tls"),
        pytest.param(routes(f"http: [{{route: [{to('a')}]}}]", "mesh, other/gw"), "", id="for-another-gateway"),
        pytest.param(ALIAS + routes(f"http: [{{route: [{to('alias')}]}}]"), "g", id="by-another-name"),
        pytest.param("---\n" + PROVIDERS, "bf", id="providers"),
        pytest.param(FILTER, "cf", id="envoy-filter"),
        pytest.param(
            routes(f"http: [{{match: [{{sourceNamespace: other}}], route: [{to('a')}]}}]"), "a", id="of-other-clients"
        ),
    ],
)
def test_needs(text: str, needed: str) -> None:
    assert names(text) == needed


def test_keys_that_envoy_fetches() -> None:
    assert names(TOKENS) == ""
    assert names(TOKENS, {"PILOT_JWT_ENABLE_REMOTE_JWKS": "hybrid"}) == "c"


def test_routes_for_clients_elsewhere_do_not_count_for_gateways_of_one_namespace() -> None:
    text = routes(f"http: [{{match: [{{sourceNamespace: other}}], route: [{to('a')}]}}]")
    assert names(text, {GATEWAYS_BY_NAMESPACE: "true"}) == ""


def test_without_the_variable_and_for_sidecars_all_services_have_clusters() -> None:
    for proxy, environment in ((gateway(), {}), (sidecar(), ON)):
        found = clusters(SERVICES + GATEWAY, proxy, environment)
        assert sum(name.startswith("outbound|") for name in found) == 7


def test_load_assignments_are_limited_too() -> None:
    text = SERVICES + GATEWAY + routes(f"http: [{{route: [{to('a')}]}}]")
    held = snapshot(text, gateway(), ON)
    assert [*held.of(ResourceType.ENDPOINT)] == ["outbound|80||a.default.svc.cluster.local"]


def test_a_change_of_routes_is_as_from_scratch() -> None:
    """A route brings its cluster with it, and takes it away; an unchanged cluster is not built again."""
    first, second = (routes(f"http: [{{route: [{to(host)}]}}]", name=host) for host in "ab")

    async def changes() -> list[list[str]]:
        compiler = Compiler(Registry(environment=ON))
        reading = read((SERVICES + GATEWAY + first).encode(), "w")
        await compiler.apply(ChangeSet(upserts=tuple(reading.objects.values())))
        session = await compiler.open(gateway(), lambda: None)
        seen = []
        (added,) = read(second.encode(), "w").objects.values()
        (removed,) = read(first.encode(), "w").objects
        assert isinstance(removed, ObjectKey)
        for change in (ChangeSet(upserts=(added,)), ChangeSet(deletes=(removed,))):
            builds = compiler.registry.memo.runs["cluster"]
            await compiler.apply(change)
            assert compiler.registry.memo.runs["cluster"] - builds == len(change.upserts)
            seen.append([name for name in session.snapshot.of(ResourceType.CLUSTER) if name.startswith("outbound")])
        return seen

    a, b = (f"outbound|80||{name}.default.svc.cluster.local" for name in "ab")
    assert asyncio.run(changes()) == [[a, b], [b]]
