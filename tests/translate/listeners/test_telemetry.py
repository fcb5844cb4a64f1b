"""Telemetry: which objects apply to a proxy, how they merge, and what becomes of it in listeners."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import yaml
from google.protobuf.json_format import MessageToDict

from controlplane.model.proxy import Proxy
from controlplane.model.proxy_class import GatewayClass
from controlplane.model.side import Side
from controlplane.registry.access_logs import FileLog
from controlplane.registry.listener_settings import ListenerSettings, SettingsKey, listener_settings
from controlplane.registry.metrics import METRIC_NAMES, MetricChange, Stats
from tests.compiler.histories import manifest
from tests.envoy.validate import validate
from tests.translate.clusters.world import snapshot
from tests.translate.listeners.test_gateway import HTTP80, gateway_resource
from tests.translate.listeners.test_outbound import service
from tests.translate.listeners.world import World, connection_manager, gateway, mesh_yaml, sidecar

ROOT = "istio-system"
WEB = sidecar("shop", labels={"app": "web", "version": "v1"})
GATE = gateway("shop", labels={"app": "web", "gateway.networking.k8s.io/gateway-name": "gate"})
CLIENT, SERVER = {"mode": "CLIENT"}, {"mode": "SERVER"}


def telemetry(namespace: str = "shop", name: str = "t", age: int = 0, **spec: Any) -> dict[str, Any]:
    """Return a Telemetry; a higher ``age`` is an older one."""
    obj = manifest("telemetry.istio.io/v1", "Telemetry", namespace, name, spec=spec)
    obj["metadata"]["creationTimestamp"] = f"2024-01-{20 - age:02}T00:00:00Z"
    return obj


def selecting(**labels: str) -> dict[str, Any]:
    return {"selector": {"matchLabels": labels}}


def settings(objects: list[dict[str, Any]], mesh: dict[str, Any], proxy: Proxy, side: Side) -> ListenerSettings:
    """Return what the listeners of one side of a proxy take."""
    held = World(yaml.safe_dump_all(objects) + "---\n" + mesh_yaml(yaml.safe_dump(mesh)))
    found = held.proxy_class(proxy)
    scope = found.client if side is not Side.INBOUND or isinstance(found, GatewayClass) else found.inbound
    key = SettingsKey(side, scope.settings, scope.telemetry, scope.spans)
    return held.registry.memo.get(listener_settings, key)


def names(proxy: Proxy, *objects: dict[str, Any]) -> list[str]:
    return [key.name for key in World(yaml.safe_dump_all(objects)).proxy_class(proxy).client.telemetry]


@pytest.mark.parametrize(
    ("proxy", "objects", "expected"),
    [
        pytest.param(
            WEB,
            [
                telemetry(name="mine", **selecting(app="web")),
                telemetry(name="namespace"),
                telemetry(ROOT, "mesh"),
                telemetry("other", "foreign"),
            ],
            ["mesh", "namespace", "mine"],
            id="from-general-to-special",
        ),
        pytest.param(
            WEB,
            [telemetry(name="b", age=1, **selecting(app="web")), telemetry(name="a", **selecting(version="v1"))],
            ["b", "a"],
            id="those-that-select-by-age",
        ),
        pytest.param(WEB, [telemetry(name="a"), telemetry(name="b", age=1)], ["b"], id="the-oldest-of-the-namespace"),
        pytest.param(WEB, [telemetry(**selecting(app="db"))], [], id="selects-another"),
        pytest.param(WEB, [telemetry(selector={"matchLabels": {}})], ["t"], id="selector-without-labels"),
        pytest.param(WEB, [telemetry(ROOT, **selecting(app="web"))], [], id="root-selects-root-alone"),
        pytest.param(
            replace(WEB, namespace=ROOT), [telemetry(ROOT, **selecting(app="web"))], ["t"], id="root-selects-its-own"
        ),
        pytest.param(
            GATE,
            [telemetry(targetRefs=[{"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "gate"}])],
            ["t"],
            id="a-gateway-by-name",
        ),
        pytest.param(
            GATE,
            [telemetry(ROOT, targetRefs=[{"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "gate"}])],
            [],
            id="a-gateway-of-the-root-namespace",
        ),
        pytest.param(
            WEB,
            [telemetry(targetRefs=[{"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "gate"}])],
            [],
            id="a-sidecar-is-no-gateway",
        ),
    ],
)
def test_which_objects_apply(proxy: Proxy, objects: list[dict[str, Any]], expected: list[str]) -> None:
    assert names(proxy, *objects) == expected


FILES = [{"name": name, "envoyFileAccessLog": {"path": f"/{name}"}} for name in ("a", "b", "c")]


def to(*providers: str, **more: Any) -> dict[str, Any]:
    return {"providers": [{"name": name} for name in providers], **more}


def only(expression: str) -> dict[str, Any]:
    return {"filter": {"expression": expression}}


@pytest.mark.parametrize(
    ("levels", "mesh", "expected"),
    [
        pytest.param([[]], {}, ["/file"], id="no-entry"),
        pytest.param([[]], {"defaultProviders": {"accessLogging": ["b", "a"]}}, ["/a", "/b"], id="defaults-by-name"),
        pytest.param([[to("c"), to("B", "a")]], {}, ["/a", "/b", "/c"], id="union-of-one-object"),
        pytest.param([[to("a")], [to("b")]], {}, ["/b"], id="the-last-object-that-names-any"),
        pytest.param([[to("a", **only("x"))], [{**only("other")}]], {}, ["/a: x"], id="filter-without-provider"),
        pytest.param([[to("a", **only("x")), to("a", **only("other"))]], {}, ["/a: other"], id="the-last-filter"),
        pytest.param([[to("a", **only("x")), to("a")]], {}, ["/a"], id="the-last-filter-is-none"),
        pytest.param([[to("a")], [{"disabled": True}]], {}, [], id="disabled"),
        pytest.param([[to("a")], [{"disabled": True}], [{"disabled": False}]], {}, ["/a"], id="enabled-again"),
        pytest.param([[to("a", "b"), to("b", disabled=True)]], {}, ["/a"], id="one-disabled"),
        pytest.param([[{"disabled": True}]], {}, ["/file"], id="no-provider-to-disable"),
        pytest.param(
            [[{"disabled": True}]], {"defaultProviders": {"accessLogging": ["a"]}}, [], id="default-provider-disabled"
        ),
        pytest.param([[to("unknown")]], {}, ["/file"], id="unknown-provider"),
        pytest.param([[to("prometheus")]], {}, ["/file"], id="provider-of-another-kind"),
        pytest.param([[to("a", match=SERVER)]], {}, ["/file"], id="for-the-other-side"),
        pytest.param([[to("a", match=CLIENT)]], {}, ["/a"], id="for-this-side"),
        pytest.param([[to("a")], [to("b", match=SERVER), {"disabled": True}]], {}, ["/a"], id="inherits-what-it-skips"),
    ],
)
def test_access_logs(levels: list[list[Any]], mesh: dict[str, Any], expected: list[str]) -> None:
    objects = [
        telemetry(namespace, name, accessLogging=entries, **more)
        for entries, (namespace, name, more) in zip(
            levels, [(ROOT, "t", {}), ("shop", "t", {}), ("shop", "mine", selecting(app="web"))], strict=False
        )
    ]
    whole = {"extensionProviders": FILES, "accessLogFile": "/file", **mesh}
    logs = settings(objects, whole, WEB, Side.OUTBOUND).logs.logs
    shown = [f"{log.sink.path}: {log.expression}".removesuffix(": ") for log in logs if isinstance(log.sink, FileLog)]
    assert shown == expected


PROMETHEUS = {"defaultProviders": {"metrics": ["prometheus"]}}
ALL = tuple(METRIC_NAMES.values())


def override(metric: str = "", **more: Any) -> dict[str, Any]:
    match = more.pop("match", {}) | ({"metric": metric} if metric else {})
    return {"match": match, **more} if match else more


@pytest.mark.parametrize(
    ("entries", "mesh", "client", "server"),
    [
        pytest.param([], {}, [], [], id="nothing"),
        pytest.param([], PROMETHEUS, [Stats(trusts_host=True)], [Stats()], id="default"),
        pytest.param([to("prometheus")], {}, [Stats(trusts_host=True)], [Stats()], id="named"),
        pytest.param([to("stackdriver")], PROMETHEUS, [], [], id="another-provider"),
        pytest.param([{"overrides": [override(disabled=True)]}], PROMETHEUS, [], [], id="all-disabled"),
        pytest.param(
            [{"overrides": [override("ALL_METRICS", disabled=True, match=CLIENT)]}],
            PROMETHEUS, [], [Stats()], id="all-of-clients-disabled",
        ),
        pytest.param(
            [{"overrides": [override(disabled=True), override("REQUEST_SIZE", match=SERVER, disabled=False)]}],
            PROMETHEUS, [], [Stats(changes=(MetricChange("request_bytes"),))], id="brought-back-on-one-side",
        ),
        pytest.param(
            [
                {"overrides": [override("REQUEST_COUNT", tagOverrides={"a": {"value": "1"}, "b": {"value": "2"}})]},
                {"overrides": [override("REQUEST_COUNT", tagOverrides={"b": {"operation": "REMOVE"}}, disabled=True)]},
            ],
            PROMETHEUS,
            [Stats(True, None, (MetricChange("requests_total", True, (("a", "1"),), ("b",)),))],
            [Stats(False, None, (MetricChange("requests_total", True, (("a", "1"),), ("b",)),))],
            id="merged",
        ),
        pytest.param(
            [{"overrides": [override(tagOverrides={"a": {"value": "1"}})]}], PROMETHEUS,
            [Stats(trusts_host=True, changes=tuple(MetricChange(name, tags=(("a", "1"),)) for name in ALL))],
            [Stats(changes=tuple(MetricChange(name, tags=(("a", "1"),)) for name in ALL))],
            id="all-metrics",
        ),
        pytest.param(
            [{"overrides": [{"match": {"customMetric": "mine"}, "disabled": True}]}], PROMETHEUS,
            [Stats(trusts_host=True, changes=(MetricChange("mine", drop=True),))],
            [Stats(changes=(MetricChange("mine", drop=True),))], id="custom",
        ),
        pytest.param(
            [to("prometheus", overrides=[override(disabled=True)]), to("second")],
            {"extensionProviders": [{"name": "second", "prometheus": {}}]},
            [Stats(trusts_host=True)], [Stats()], id="overrides-of-a-provider-that-is-gone",
        ),
        pytest.param(
            [to("second", "Prometheus")], {"extensionProviders": [{"name": "second", "prometheus": {}}]},
            [Stats(trusts_host=True)] * 2, [Stats()] * 2, id="two-providers",
        ),
    ],
)  # fmt: skip
def test_metrics(entries: list[Any], mesh: dict[str, Any], client: list[Stats], server: list[Stats]) -> None:
    objects = [telemetry(metrics=entries)]
    assert list(settings(objects, mesh, WEB, Side.OUTBOUND).metrics) == client
    assert list(settings(objects, mesh, WEB, Side.INBOUND).metrics) == server


SKY = {"name": "sky", "skywalking": {"service": "spans.obs.svc.cluster.local", "port": 11800}}
DOG = {"name": "dog", "datadog": {"service": "spans.obs.svc.cluster.local", "port": 11800}}
SPANS = service("spans", "{name: grpc, port: 11800}").replace("ns1", "obs")
TRACED = {
    "extensionProviders": [SKY, DOG],
    "defaultConfig": {"tracing": {"customTags": {"c": {"literal": {"value": "x"}}}}},
}


def traced(entries: list[Any], mesh: dict[str, Any], proxy: Proxy = WEB, side: Side = Side.OUTBOUND) -> dict[str, Any]:
    """Return what the connection manager of one side is told, an empty one where it does not trace."""
    objects = [*yaml.safe_load_all(SPANS), telemetry(tracing=entries)]
    found = settings(objects, TRACED | mesh, proxy, side).tracing
    if found is None:
        return {}
    return {
        "provider": found.provider.name if found.provider is not None else "",
        "sampling": found.sampling,
        "tags": [name for name, _ in found.tags],
        "istio": found.istio_tags,
        "id": found.by_request_id,
    }


BOOTSTRAP = {"provider": "", "sampling": 1, "tags": ["c"], "istio": True, "id": True}
BY_SKY = BOOTSTRAP | {"provider": "sky"}
DEFAULT = {"defaultProviders": {"tracing": ["sky", "dog"]}, "enableTracing": False}


@pytest.mark.parametrize(
    ("entries", "mesh", "expected"),
    [
        pytest.param([], {}, BOOTSTRAP, id="no-entry"),
        pytest.param([], {"enableTracing": False}, {}, id="no-entry-and-switched-off"),
        pytest.param([], DEFAULT, BY_SKY, id="default-provider"),
        pytest.param([{}], {}, {}, id="entry-without-provider"),
        pytest.param([to("SKY")], {"enableTracing": False}, BY_SKY, id="provider"),
        pytest.param([to("dog", "sky")], {}, BY_SKY | {"provider": "dog"}, id="the-first-provider"),
        pytest.param([to("dog"), to("sky")], {}, BY_SKY, id="the-last-entry"),
        pytest.param([to("unknown")], DEFAULT, {}, id="unknown-provider"),
        pytest.param([to("envoy")], DEFAULT, {}, id="takes-no-spans"),
        pytest.param([to("dog", match=SERVER)], DEFAULT, BY_SKY, id="for-the-other-side"),
        pytest.param([to("dog", match=CLIENT)], DEFAULT, BY_SKY | {"provider": "dog"}, id="for-this-side"),
        pytest.param([to("sky", randomSamplingPercentage=0)], {}, BY_SKY | {"sampling": 0}, id="nothing-sampled"),
        pytest.param([to("sky", disableSpanReporting=True)], {}, {}, id="not-reported"),
        pytest.param(
            [to("sky", disableSpanReporting=True), {"disableSpanReporting": False}], {}, BY_SKY, id="reported-again"
        ),
        pytest.param([to("sky", enableIstioTags=False)], {}, BY_SKY | {"istio": False}, id="no-istio-tags"),
        pytest.param([to("sky", useRequestIdForTraceSampling=False)], {}, BY_SKY | {"id": False}, id="not-by-id"),
        pytest.param(
            [to("sky", customTags={"a": {"literal": {"value": "1"}}}),
             {"customTags": {"b": {"header": {"name": "h"}}}}],
            {}, BY_SKY | {"tags": ["b"]}, id="the-last-tags-alone",
        ),
    ],
)  # fmt: skip
def test_tracing(entries: list[Any], mesh: dict[str, Any], expected: dict[str, Any]) -> None:
    assert traced(entries, mesh) == expected


def test_servers_have_their_own_tracing() -> None:
    entries = [to("dog", match=SERVER), to("sky", match=CLIENT)]
    assert traced(entries, {}, side=Side.INBOUND)["provider"] == "dog"
    assert traced(entries, {})["provider"] == "sky"
    assert traced(entries, {}, GATE, Side.GATEWAY)["provider"] == "sky"


def span_tags(held: World, proxy: Proxy) -> dict[str, Any]:
    tracing = connection_manager(held.listeners(proxy)["0.0.0.0_80"].filter_chains[0]).tracing
    return {tag.tag: MessageToDict(tag) for tag in tracing.custom_tags}


def test_tags_say_where_a_span_comes_from() -> None:
    held = World(service("web", "{name: http, port: 80}") + SPANS)
    held.apply(mesh_yaml(yaml.safe_dump({"extensionProviders": [SKY]})))
    formatted = {"f": {"formatter": {"value": "%REQ(X-A)%"}}, "e": {"environment": {"name": "E"}}}
    held.apply(yaml.safe_dump(telemetry("ns1", tracing=[to("sky", customTags=formatted)])))
    labels = {"service.istio.io/canonical-name": "web", "service.istio.io/canonical-revision": "v7"}
    old = sidecar("ns1", labels=labels, metadata={"CLUSTER_ID": "c1", "MESH_ID": "m"})
    found = span_tags(held, old)
    literals = {name: tag["literal"]["value"] for name, tag in found.items() if "literal" in tag}
    assert literals == {
        "istio.canonical_revision": "v7", "istio.canonical_service": "web", "istio.cluster_id": "c1",
        "istio.mesh_id": "m", "istio.namespace": "ns1",
    }  # fmt: skip
    assert found["istio.authorization.dry_run.deny_policy.result"]["metadata"] == {
        "kind": {"request": {}},
        "metadataKey": {"key": "envoy.filters.http.rbac", "path": [{"key": "istio_dry_run_deny_shadow_engine_result"}]},
    }
    assert "f" not in found  # its Envoy does not know such tags
    assert found["e"]["environment"] == {"name": "E"}
    assert span_tags(held, replace(old, istio_version="1.29.1"))["f"]["value"] == "%REQ(X-A)%"
    assert list(found) == sorted(found)


def test_proxies_share_listeners_unless_their_telemetry_or_tags_differ() -> None:
    world = service("web", "{name: http, port: 80}") + service("db", "{name: tcp, port: 5432}", ip="10.0.0.6") + SPANS
    held = World(world)
    held.apply(mesh_yaml(yaml.safe_dump({"extensionProviders": [*FILES, SKY]})))
    one, two = sidecar("ns1", labels={"app": "a"}), sidecar("ns2", "10.9.0.2")

    def shared() -> set[str]:
        first, second = held.resources(one), held.resources(two)
        return {name for name in first if first[name] is second[name]}

    everything = {"0.0.0.0_80", "10.0.0.6_5432", "virtualOutbound"}
    assert shared() >= everything
    held.apply(yaml.safe_dump(telemetry(ROOT, accessLogging=[to("a")])))
    assert shared() >= everything  # one for the whole mesh tells nobody apart
    held.apply(yaml.safe_dump(telemetry(ROOT, accessLogging=[to("a")], tracing=[to("sky")])))
    assert shared() >= everything - {"0.0.0.0_80"}  # its spans say the namespace
    held.apply(yaml.safe_dump(telemetry(ROOT, accessLogging=[to("a")], tracing=[to("sky", enableIstioTags=False)])))
    assert shared() >= everything
    held.apply(yaml.safe_dump(telemetry("ns1", accessLogging=[to("b")], **selecting(app="a"))))
    assert not shared() & everything


def test_a_change_rebuilds_what_it_shows_in() -> None:
    held = World(service("web", "{name: http, port: 80}") + service("db", "{name: tcp, port: 5432}", ip="10.0.0.6"))
    held.apply(mesh_yaml(yaml.safe_dump({"extensionProviders": FILES, **PROMETHEUS})))
    held.apply(yaml.safe_dump(telemetry("ns1", accessLogging=[to("a", match=SERVER)])))
    proxy, built = sidecar("ns1"), held.registry.memo.runs
    held.resources(proxy)
    classified, outbound, inbound = built["classify"], built["_outbound_listener"], built["inbound_listeners"]
    held.apply(yaml.safe_dump(telemetry("ns1", accessLogging=[to("b", match=SERVER)])))
    held.resources(proxy)
    assert (built["classify"], built["_outbound_listener"]) == (classified, outbound)
    assert built["inbound_listeners"] == inbound + 1
    held.apply(yaml.safe_dump(telemetry("ns2", accessLogging=[to("b")])))
    held.resources(proxy)
    assert (built["_outbound_listener"], built["inbound_listeners"]) == (outbound, inbound + 1)


ENTRIES: dict[str, Any] = {
    "accessLogging": [
        to("a", **only("response.code >= 400")),
        to("b", match=SERVER, **only("!has(request.useragent)")),
    ],
    "tracing": [to("sky", customTags={"f": {"formatter": {"value": "%REQ(X-A)%"}}})],
    "metrics": [to("prometheus", overrides=[override("REQUEST_COUNT", tagOverrides={"a": {"value": "request.host"}})])],
}


@pytest.mark.parametrize(
    "proxy", [sidecar("ns1", istio=False), gateway("ns1", istio=False)], ids=["sidecar", "gateway"]
)
def test_a_stock_envoy_takes_it(proxy: Proxy) -> None:
    """It gets everything but metrics, whose filter only istio-proxy has."""
    files = [{"name": each["name"], "envoyFileAccessLog": {"path": "/dev/null"}} for each in FILES]  # Envoy opens them
    mesh = mesh_yaml(yaml.safe_dump({"extensionProviders": [*files, SKY], **PROMETHEUS}))
    objects = yaml.safe_dump_all([telemetry("ns1", **ENTRIES), *yaml.safe_load_all(gateway_resource(HTTP80) + SPANS)])
    text = "\n---\n".join((service("web", "{name: http, port: 80}"), objects, mesh))
    held = World(text)
    (listener,) = [found for name, found in held.listeners(proxy).items() if name == "0.0.0.0_80"]
    manager = connection_manager(listener.filter_chains[0])
    assert [log.filter.extension_filter.name for log in manager.access_log] == [
        "envoy.access_loggers.extension_filters.cel"
    ]
    assert manager.tracing.provider.name == "envoy.tracers.skywalking"
    assert "istio.stats" not in [each.name for each in manager.http_filters]
    assert validate(snapshot(text, proxy)) is None
