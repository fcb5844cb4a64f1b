"""Each field of a traffic policy that Envoy is told on the cluster, at every level that may state it."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from google.protobuf.json_format import MessageToDict

from controlplane.model.proxy import Proxy
from tests.envoy.validate import validate
from tests.translate.clusters.world import clusters, snapshot

HOST = "db.com"
PLAIN = Proxy("sidecar", "a.default", ("10.0.0.1",), "default", "d")
THRESHOLD = "circuitBreakers.thresholds"
OPTIONS = "typedExtensionProtocolOptions.envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
COMMON = f"{OPTIONS}.commonHttpProtocolOptions"
HTTP2 = f"{OPTIONS}.explicitHttpConfig.http2ProtocolOptions"
TLS = "transportSocket.typedConfig"
MUTUAL = {"mode": "MUTUAL", "clientCertificate": "/cert", "privateKey": "/key"}


def world(policy: dict[str, Any], protocol: str, level: str, host: str = HOST) -> str:
    """Return a service and its rule, which states the policy for the host, its port or a subset."""
    entry = {
        "hosts": [host],
        "location": "MESH_EXTERNAL",
        "resolution": "STATIC",
        "ports": [{"number": 80, "name": "port", "protocol": protocol}],
        "endpoints": [{"address": "10.1.0.1", "labels": {"version": "v1"}}],
    }
    subset: dict[str, Any] = {"name": "v1", "labels": {"version": "v1"}}
    rule: dict[str, Any] = {"host": host, "subsets": [subset]}
    if level == "host":
        rule["trafficPolicy"] = policy
    elif level == "port":
        rule["trafficPolicy"] = {"portLevelSettings": [{"port": {"number": 80}, **policy}]}
    else:
        subset["trafficPolicy"] = policy
    meta = {"name": host, "namespace": "default"}
    kinds = (("ServiceEntry", entry), ("DestinationRule", rule))
    return yaml.safe_dump_all(
        {"apiVersion": "networking.istio.io/v1", "kind": kind, "metadata": meta, "spec": spec} for kind, spec in kinds
    )


def at(message: Any, path: str) -> Any:
    """Return what is at a path, whose parts may have dots; ``None`` where nothing is. Of lists, the first is meant."""
    if isinstance(message, list):
        return at(message[0], path)
    if not path:
        return message
    held = message if isinstance(message, dict) else {}
    name = next((name for name in held if path == name or path.startswith(f"{name}.")), None)
    return None if name is None else at(held[name], path.removeprefix(name).removeprefix("."))


def pool(**http: Any) -> dict[str, Any]:
    return {"connectionPool": {"http": http}}


def tcp(**fields: Any) -> dict[str, Any]:
    return {"connectionPool": {"tcp": fields}}


def balanced(**fields: Any) -> dict[str, Any]:
    return {"loadBalancer": fields}


def hashed(**fields: Any) -> dict[str, Any]:
    return balanced(consistentHash={"httpHeaderName": "x", **fields})


def warmed(simple: str, **more: Any) -> dict[str, Any]:
    return balanced(simple=simple, warmup={"duration": "9s", **more})


def outlier(**fields: Any) -> dict[str, Any]:
    return {"outlierDetection": fields}


def slow(aggression: float, percent: float) -> dict[str, Any]:
    """Return how Envoy warms an endpoint up in nine seconds."""
    share = {"defaultValue": aggression, "runtimeKey": "("}
    return {"slowStartWindow": "9s", "aggression": share, "minWeightPercent": {"value": percent}}


SLOW = "slowStartConfig"
MATCHED = "httpResponseHeadersMatch.headers.stringMatch.exact"
#: what a cluster has without a policy too
DEFAULTS = (None, "LEAST_REQUEST")
FIELDS: list[tuple[dict[str, Any], str, Any]] = [
    (tcp(maxConnections=3), f"{THRESHOLD}.maxConnections", 3),
    (tcp(connectTimeout="3s"), "connectTimeout", "3s"),
    (tcp(maxConnectionDuration="4s"), f"{COMMON}.maxConnectionDuration", "4s"),
    (tcp(idleTimeout="5s"), f"{COMMON}.idleTimeout", "5s"),
    (tcp(tcpKeepalive={"probes": 2}), "upstreamConnectionOptions.tcpKeepalive.keepaliveProbes", 2),
    (tcp(tcpKeepalive={"time": "6s"}), "upstreamConnectionOptions.tcpKeepalive.keepaliveTime", 6),
    (tcp(tcpKeepalive={"interval": "7s"}), "upstreamConnectionOptions.tcpKeepalive.keepaliveInterval", 7),
    (pool(http1MaxPendingRequests=4), f"{THRESHOLD}.maxPendingRequests", 4),
    (pool(http2MaxRequests=5), f"{THRESHOLD}.maxRequests", 5),
    (pool(maxRetries=6), f"{THRESHOLD}.maxRetries", 6),
    (pool(maxRequestsPerConnection=7), f"{COMMON}.maxRequestsPerConnection", 7),
    (pool(idleTimeout="8s"), f"{COMMON}.idleTimeout", "8s"),
    (pool(h2UpgradePolicy="UPGRADE"), HTTP2, {}),
    (pool(useClientProtocol=True), f"{OPTIONS}.useDownstreamProtocolConfig.http2ProtocolOptions", {}),
    (pool(h2UpgradePolicy="UPGRADE", maxConcurrentStreams=9), f"{HTTP2}.maxConcurrentStreams", 9),
    (pool(h2UpgradePolicy="UPGRADE", http2KeepAlive={"interval": "3s", "timeout": "2s"}),
     f"{HTTP2}.connectionKeepalive", {"interval": "3s", "timeout": "2s"}),
    (balanced(simple="ROUND_ROBIN"), "lbPolicy", None),  # Envoy's default
    (balanced(simple="RANDOM"), "lbPolicy", "RANDOM"),
    (balanced(simple="LEAST_CONN"), "lbPolicy", "LEAST_REQUEST"),
    (balanced(simple="PASSTHROUGH"), "type", "ORIGINAL_DST"),
    (hashed(), "ringHashLbConfig.minimumRingSize", "1024"),
    (hashed(minimumRingSize=11), "ringHashLbConfig.minimumRingSize", "11"),
    (hashed(ringHash={"minimumRingSize": 12}), "ringHashLbConfig.minimumRingSize", "12"),
    (hashed(maglev={"tableSize": 13}), "lbPolicy", "MAGLEV"),
    (hashed(maglev={"tableSize": 13}), "maglevLbConfig.tableSize", "13"),
    (warmed("ROUND_ROBIN"), f"roundRobinLbConfig.{SLOW}", slow(1, 10)),
    (warmed("LEAST_REQUEST", minimumPercent=20, aggression=2), f"leastRequestLbConfig.{SLOW}",
     slow(2, 20)),
    (warmed("RANDOM"), "lbConfig", None),
    (balanced(simple="ROUND_ROBIN", warmupDurationSecs="5s"), f"roundRobinLbConfig.{SLOW}", {"slowStartWindow": "5s"}),
    (outlier(consecutive5xxErrors=4), "outlierDetection.consecutive5xx", 4),
    (outlier(consecutive5xxErrors=0), "outlierDetection.enforcingConsecutive5xx", 0),
    (outlier(consecutiveGatewayErrors=5), "outlierDetection.consecutiveGatewayFailure", 5),
    (outlier(consecutiveGatewayErrors=5), "outlierDetection.enforcingConsecutiveGatewayFailure", 100),
    (outlier(interval="3s"), "outlierDetection.interval", "3s"),
    (outlier(baseEjectionTime="4s"), "outlierDetection.baseEjectionTime", "4s"),
    (outlier(maxEjectionPercent=70), "outlierDetection.maxEjectionPercent", 70),
    (outlier(minHealthPercent=30), "commonLbConfig.healthyPanicThreshold.value", 30),
    (outlier(splitExternalLocalOriginErrors=True), "outlierDetection.splitExternalLocalOriginErrors", True),
    (outlier(splitExternalLocalOriginErrors=True, consecutiveLocalOriginFailures=6),
     "outlierDetection.consecutiveLocalOriginFailure", 6),
    (outlier(outlierDetectionHttpErrorCodes=[429]),
     f"{OPTIONS}.outlierDetection.errorMatcher.{MATCHED}", "429"),
    (outlier(outlierDetectionHttpErrorCodes=[429, 503]),
     f"{OPTIONS}.outlierDetection.errorMatcher.orMatch.rules.{MATCHED}", "429"),
    ({"tls": {"mode": "SIMPLE", "sni": "mine"}}, f"{TLS}.sni", "mine"),
    ({"tls": {"mode": "SIMPLE"}}, f"{OPTIONS}.upstreamHttpProtocolOptions.autoSni", True),
    ({"tls": {"mode": "SIMPLE", "subjectAltNames": ["san"]}},
     f"{TLS}.commonTlsContext.combinedValidationContext.defaultValidationContext.matchSubjectAltNames.exact", "san"),
    ({"tls": {"mode": "SIMPLE", "caCertificates": "/ca"}},
     f"{TLS}.commonTlsContext.combinedValidationContext.validationContextSdsSecretConfig.name", "file-root:/ca"),
    ({"tls": {"mode": "SIMPLE", "caCrl": "/crl"}},
     f"{TLS}.commonTlsContext.combinedValidationContext.defaultValidationContext.crl.filename", "/crl"),
    ({"tls": {"mode": "SIMPLE", "insecureSkipVerify": True}}, f"{TLS}.commonTlsContext.validationContext", {}),
    ({"tls": MUTUAL}, f"{TLS}.commonTlsContext.tlsCertificateSdsSecretConfigs.name", "file-cert:/cert~/key"),
]  # fmt: skip
PROXY_PROTOCOL = "transportSocket.typedConfig.config.version"


@pytest.mark.parametrize("level", ["host", "port", "subset"])
@pytest.mark.parametrize(("policy", "path", "expected"), FIELDS, ids=[str(policy)[:70] for policy, _, _ in FIELDS])
def test_a_field(policy: dict[str, Any], path: str, expected: Any, level: str) -> None:
    """It shows on the cluster, wherever it is stated; a subset states it for itself alone."""
    found = clusters(world(policy, "HTTP", level))
    name, other = f"outbound|80||{HOST}", f"outbound|80|v1|{HOST}"
    stated, unstated = (found[other], found[name]) if level == "subset" else (found[name], None)
    assert at(MessageToDict(stated), path) == expected
    if unstated is not None and expected not in DEFAULTS:
        assert at(MessageToDict(unstated), path) != expected
    if level != "subset":
        assert at(MessageToDict(found[other]), path) == expected, "a subset that states nothing has its host's"


@pytest.mark.slow
def test_envoy_takes_them_all() -> None:
    worlds = [world(policy, "HTTP", "host", f"db-{number}.com") for number, (policy, _, _) in enumerate(FIELDS)]
    assert validate(snapshot("---\n".join(worlds), PLAIN)) is None


@pytest.mark.parametrize("version", ["V1", "V2"])
@pytest.mark.parametrize("level", ["host", "subset"])
def test_proxy_protocol(version: str, level: str) -> None:
    found = clusters(world({"proxyProtocol": {"version": version}}, "TCP", level))
    cluster = MessageToDict(found[f"outbound|80|{'v1' if level == 'subset' else ''}|{HOST}"])
    assert cluster["transportSocket"]["name"] == "envoy.transport_sockets.upstream_proxy_protocol"
    assert (at(cluster, PROXY_PROTOCOL) or "V1") == version  # V1 is the zero that is not written
