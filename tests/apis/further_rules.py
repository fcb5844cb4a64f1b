"""The rest of the rules, kind by kind in the order in which the API's reference names them.

Where a rule draws a line, ``GOOD`` has the value on this side of it and ``BAD`` the one beyond.
"""

from __future__ import annotations

from typing import Any

from tests.apis.specs import TO_A, Rows, egress, entry, https, ingress, policy, route, rule, server

HTTP = "spec.http[0]"
TLS_FILES = {"serverCertificate": "/c", "privateKey": "/k"}
CA = {"caCertificates": "/ca"}
MATCH_ALL = {"a": "b"}
KEYS = '{"keys": [{"kty": "RSA", "n": "x", "e": "AQAB"}]}'


def match(**fields: Any) -> dict[str, Any]:
    return route(match=[fields])


def redirect(**fields: Any) -> dict[str, Any]:
    return {"hosts": ["a"], "http": [{"redirect": fields}]}


def direct(**fields: Any) -> dict[str, Any]:
    return {"hosts": ["a"], "http": [{"directResponse": {"status": 200} | fields}]}


def combined(hosts: int, addresses: int, ports: int) -> dict[str, Any]:
    """Return a ServiceEntry that is wanted at each address and port by each host."""
    return entry(
        hosts=[f"h{number}.example" for number in range(hosts)],
        addresses=[f"10.0.{number}.0/24" for number in range(addresses)],
        ports=[{"number": 1 + number, "name": f"tcp-{number}", "protocol": "TCP"} for number in range(ports)],
        resolution="NONE",
    )


def set_header(name: str, value: str = "x", side: str = "request") -> dict[str, Any]:
    return route(headers={side: {"set": {name: value}}})


def tls_route(**fields: Any) -> dict[str, Any]:
    return {"hosts": ["a.b"], "tls": [{"match": [{"sniHosts": ["a.b"]} | fields], "route": TO_A}]}


def tcp_route(**fields: Any) -> dict[str, Any]:
    return {"hosts": ["a.b"], "tcp": [{"match": [fields], "route": TO_A}]}


def balancer(**fields: Any) -> dict[str, Any]:
    return policy(loadBalancer=fields)


def locality(**fields: Any) -> dict[str, Any]:
    return policy(loadBalancer={"localityLbSetting": fields}, outlierDetection={"maxEjectionPercent": 10})


def port(number: int, name: str = "p", protocol: str = "HTTP") -> dict[str, Any]:
    return {"number": number, "name": name, "protocol": protocol}


def source(**fields: Any) -> dict[str, Any]:
    return rule(**{"from": [{"source": fields}]})


def operation(**fields: Any) -> dict[str, Any]:
    return rule(to=[{"operation": fields}])


def when(key: str, *values: str) -> dict[str, Any]:
    return rule(when=[{"key": key, "values": list(values)}])


def custom(*rules: dict[str, Any]) -> dict[str, Any]:
    return {"action": "CUSTOM", "provider": {"name": "x"}, "rules": list(rules)}


def jwt(**fields: Any) -> dict[str, Any]:
    return {"jwtRules": [{"issuer": "me"} | fields]}


def env(*variables: dict[str, Any]) -> dict[str, Any]:
    return {"url": "x", "vmConfig": {"env": list(variables)}}


def patch(**fields: Any) -> dict[str, Any]:
    base = {"applyTo": "CLUSTER", "patch": {"operation": "MERGE", "value": {}}}
    return {"configPatches": [base | fields]}


def _in_http(sub_filter: dict[str, Any], name: str = "envoy.filters.network.http_connection_manager") -> dict[str, Any]:
    """The match of a filter in another one."""
    return {"listener": {"filterChain": {"filter": {"name": name, "subFilter": sub_filter}}}}


def listener_match(**fields: Any) -> dict[str, Any]:
    return patch(applyTo="NETWORK_FILTER", match={"listener": fields})


GOOD: dict[str, list[dict[str, Any]]] = {
    "Gateway": [
        server(bind="10.0.0.1"),
        server(bind="unix://@abstract", port={"number": 0, "protocol": "HTTP", "name": "http"}),
        server(hosts=["ns/*", "*/a.example", "*.a.example"]),
        {"servers": [server()["servers"][0], server(port=port(81))["servers"][0]]},
        https(mode="PASSTHROUGH"),
        https(mode="ISTIO_MUTUAL"),
        https(mode="MUTUAL", **TLS_FILES, **CA),
        https(mode="OPTIONAL_MUTUAL", **TLS_FILES, **CA),
        https(mode="MUTUAL", **TLS_FILES, **CA, caCrl="/crl"),
        https(mode="SIMPLE", credentialNames=["a", "b"]),
        https(mode="SIMPLE", tlsCertificates=[TLS_FILES, TLS_FILES]),
        https(mode="SIMPLE", credentialName="c", minProtocolVersion="TLSV1_0", cipherSuites=["AES128-SHA"]),
    ],
    "VirtualService": [
        match(headers={"@request.auth.claims.group": {"exact": "a"}}) | {"gateways": ["ns/edge"]},
        match(headers={"@request.auth.claims.group": {"exact": "a"}}) | {"gateways": ["mesh", "ns/edge"]},
        tls_route() | {"hosts": ["outbound_.80_._.a.b", "a.b"], "gateways": ["ns/g"]},
        {"hosts": ["10.0.0.1"], "http": [{"route": TO_A}]},
        {"hosts": ["*.b", "b"], "http": [{"route": TO_A}]},
        {"hosts": ["a"], "http": [{"delegate": {"name": "d"}}]},
        route(mirrors=[{"destination": {"host": "c"}, "percentage": {"value": 100}}]),
        match(uri={"prefix": ""}),
        match(headers={":method": {"exact": "GET"}}),
        match(uri={"regex": "a" * 1024}),
        match(port=65535, sourceLabels={"a/b": "c"}, sourceNamespace="ns", gateways=["ns/g"]),
        match(queryParams={"x": {}}),
        set_header("host"),
        set_header("x", "100%% %START_TIME(%s)% %REQ(X):10%"),
        route(rewrite={"authority": "a"}),
        route(rewrite={"uriRegexRewrite": {"match": "^/(.*)", "rewrite": "/\\1"}}),
        redirect(redirectCode=308, uri="/"),
        redirect(scheme="https"),
        redirect(port=8443),
        redirect(derivePort="FROM_REQUEST_PORT"),
        {"hosts": ["a"], "http": [{"match": [{"uri": {"prefix": "/a"}}], "redirect": {"prefixRewrite": "/b"}}]},
        direct(),
        direct(status=599, body={"string": "x"}),
        route(retries={"attempts": 2, "perTryTimeout": "2ms", "retryOn": "5xx,503,reset", "backoff": "25ms"}),
        route(timeout="1ms"),
        route(fault={"abort": {"grpcStatus": "UNAVAILABLE", "percentage": {"value": 0.0001}}}),
        route(fault={"delay": {"fixedDelay": "1s", "percentage": {"value": 0}}, "abort": {"httpStatus": 200}}),
        route(corsPolicy={"allowOrigins": [{"exact": "*"}], "allowMethods": ["GET", "*"], "allowHeaders": ["*"]}),
        route(corsPolicy={"allowOrigins": [{"regex": ".*"}], "maxAge": "24h", "exposeHeaders": ["x-y"]}),
        route(route=[{"destination": {"host": "a", "subset": "v1", "port": {"number": 1}}}]),
        route(route=[TO_A[0] | {"weight": 0}, TO_A[0] | {"weight": 1}]),
        tls_route(port=443, destinationSubnets=["10.0.0.0/8", "::1"], sourceLabels={"a": ""}),
        tcp_route(port=1, destinationSubnets=["10.0.0.1"]),
        route() | {"exportTo": ["*"]},
        route() | {"exportTo": [".", "other"]},
    ],
    "ServiceEntry": [
        entry(hosts=["*a.example"], resolution="DYNAMIC_DNS"),
        entry(addresses=["10.0.0.0/8", "10.1.0.1"], resolution="STATIC", endpoints=[{"address": "10.0.0.1"}]),
        entry(resolution="STATIC", workloadSelector={"labels": MATCH_ALL}),
        entry(resolution="STATIC", endpoints=[{"address": "unix:///run/x"}]),
        entry(resolution="DNS_ROUND_ROBIN", endpoints=[{"address": "a.b"}]),
        entry(hosts=["*.a.example"], resolution="DNS", endpoints=[{"address": "a.b"}]),
        entry(hosts=["a.example", "b.example"], ports=[port(443, protocol="TLS")]),
        entry(
            hosts=["a.example", "b.example"], ports=[port(1, protocol="TCP")], resolution="NONE", addresses=["10.0.0.1"]
        ),
        entry(ports=[port(80) | {"targetPort": 8080}]),
        combined(64, 256, 1),
    ],
    "WorkloadEntry": [
        {"address": "unix://@abstract"},
        {"address": "10.0.0.1", "ports": {"http": 80}, "labels": {"a": "b"}, "serviceAccount": "x", "weight": 5},
    ],
    "WorkloadGroup": [
        {"template": {"labels": MATCH_ALL}, "metadata": {"labels": MATCH_ALL}},
        {"template": {}, "probe": {"exec": {"command": ["true"]}, "periodSeconds": 1}},
        {"template": {}, "probe": {"tcpSocket": {"port": 1}}},
        {
            "template": {},
            "probe": {"httpGet": {"port": 1, "scheme": "HTTPS", "httpHeaders": [{"name": "a", "value": "b"}]}},
        },
    ],
    "Sidecar": [
        {"outboundTrafficPolicy": {"mode": "REGISTRY_ONLY"}},
        {"inboundConnectionPool": {"tcp": {"maxConnections": 1}}},
        egress({"hosts": ["~*/a.b", "~./c.d", "~other/*", "*/*"]}),
        {"outboundTrafficPolicy": {"mode": "ALLOW_ANY", "egressProxy": {"host": "a.b", "port": {"number": 1}}}},
        ingress(tls={"mode": "SIMPLE", **TLS_FILES}, port=port(443, protocol="HTTPS")),
        ingress(bind="127.0.0.1", connectionPool={"http": {"maxRetries": 1}}),
        egress(
            {
                "port": {"protocol": "HTTP", "name": "h"},
                "bind": "unix:///run/x",
                "captureMode": "NONE",
                "hosts": ["./*"],
            }
        ),
        egress({"hosts": ["ns/*.a.example", "~ns/*"]}),
    ],
    "DestinationRule": [
        {"host": "*.a.example"},
        policy(tunnel={"protocol": "POST", "targetHost": "10.0.0.1", "targetPort": 1}),
        policy(proxyProtocol={"version": "V2"}),
        policy(connectionPool={"tcp": {"idleTimeout": "0s"}, "http": {"h2UpgradePolicy": "UPGRADE"}}),
        policy(connectionPool={"http": {"http2KeepAlive": {"interval": "1s", "timeout": "1s"}}}),
        balancer(consistentHash={"httpCookie": {"name": "x", "ttl": "0s", "attributes": [{"name": "SameSite"}]}}),
        balancer(consistentHash={"useSourceIp": True, "ringHash": {"minimumRingSize": 7}}),
        balancer(warmup={"duration": "1s", "aggression": 1, "minimumPercent": 0}),
        locality(distribute=[{"from": "a/b/*", "to": {"a/b/c": 30, "d/*": 70}}]),
        locality(failover=[{"from": "a", "to": "b"}]),
        locality(failover=[{"from": "a", "to": "b"}], failoverPriority=["topology.istio.io/network", "mine"]),
        locality(failoverPriority=["topology.kubernetes.io/region"]),
        policy(outlierDetection={"splitExternalLocalOriginErrors": True, "consecutiveLocalOriginFailures": 1}),
        policy(tls={"mode": "MUTUAL", "clientCertificate": "/c", "privateKey": "/k"}),
        policy(tls={"mode": "MUTUAL", "credentialName": "c"}),
        policy(tls={"mode": "SIMPLE", "credentialName": "configmap://default/c"}),
        policy(tls={"mode": "SIMPLE", "insecureSkipVerify": True}),
        policy(tls={"mode": "DISABLE", "insecureSkipVerify": True, **CA}),
        policy(portLevelSettings=[{"port": {"number": 80}, "tls": {"mode": "DISABLE"}}]),
        {"host": "a", "workloadSelector": {"matchLabels": MATCH_ALL}, "exportTo": ["."]},
    ],
    "AuthorizationPolicy": [
        {"targetRefs": [{"kind": "Service", "name": "a"}]},
        {"targetRef": {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "a"}},
        custom({"to": [{"operation": {"paths": ["/a"]}}]}),
        {"action": "AUDIT"},
        source(ipBlocks=["10.0.0.0/8", "::1"], remoteIpBlocks=["10.0.0.1"]),
        source(serviceAccounts=["a", "ns/a"]),
        source(trustDomains=["*", "a*", "*a"]),
        source(principals=["a"], namespaces=[]),
        operation(paths=["/a*", "/{*}/b", "/a/{**}"], ports=["1", "65535"]),
        when("request.auth.claims[a][b]", "x"),
        when("source.ip", "10.0.0.0/8"),
        when("destination.port", "80"),
        when("experimental.envoy.filters.a.b[c]", "x"),
    ],
    "RequestAuthentication": [
        jwt(jwks=KEYS),
        jwt(jwksUri="https://a/keys", timeout="1s", audiences=["a"]),
        {"jwtRules": [{"jwksUri": "http://a/keys"}]},
        jwt(fromHeaders=[{"name": "a", "prefix": "Bearer "}], fromParams=["b"], fromCookies=["c"]),
        jwt(outputClaimToHeaders=[{"header": "X-Claim_1", "claim": "a.b"}]),
    ],
    "PeerAuthentication": [
        {"selector": {"matchLabels": MATCH_ALL}, "portLevelMtls": {"65535": {"mode": "STRICT"}}},
    ],
    "Telemetry": [
        {"tracing": [{"providers": [{"name": "a"}], "randomSamplingPercentage": 100}]},
        {"tracing": [{"customTags": {"a": {"literal": {"value": "b"}}, "c": {"header": {"name": "d"}}}}]},
        {"metrics": [{"overrides": [{"tagOverrides": {"a": {"value": "b"}, "c": {"operation": "REMOVE"}}}]}]},
        {"accessLogging": [{"filter": {"expression": "response.code >= 400"}}]},
    ],
    "WasmPlugin": [
        {"url": "http://a/b", "sha256": "0" * 64, "imagePullSecret": "s", "pluginName": "n"},
        {"url": "file:///a"},
        env({"name": "a", "value": "b"}, {"name": "c", "valueFrom": "HOST"}),
        {"url": "a", "match": [{"mode": "CLIENT", "ports": [{"number": 65535}]}]},
    ],
    "TrafficExtension": [
        {"wasm": {"url": "oci://a/b"}},
        {"lua": {"inlineCode": "--" + "x" * 65534}},
        {"lua": {"inlineCode": "local x"}, "targetRefs": [{"kind": "Service", "name": "a"}]},
    ],
    "ProxyConfig": [{"selector": {"matchLabels": MATCH_ALL}, "environmentVariables": {"A": "b"}}],
    "EnvoyFilter": [
        patch(patch={"operation": "REMOVE"}),
        patch(match={"cluster": {"name": "a"}, "proxy": {"proxyVersion": r"^1\.2.*"}}),
        patch(applyTo="HTTP_FILTER", match=_in_http({"name": "b"}), patch={"operation": "REMOVE"}),
        patch(applyTo="VIRTUAL_HOST", match={"routeConfiguration": {"vhost": {"name": "a"}}}),
    ],
}

_GATEWAY: Rows = {
    "null-server": ({"servers": [None]}, "spec.servers[0]"),
    "empty-host": (server(hosts=[""]), "spec.servers[0].hosts[0]"),
    "host-namespace": (server(hosts=["a_b/a.example"]), "spec.servers[0].hosts[0]"),
    "host-name": (server(hosts=["a..example"]), "spec.servers[0].hosts[0]"),
    "port-missing": ({"servers": [{"hosts": ["a.b"]}]}, "spec.servers[0].port: is required"),
    "port-zero": (server(port=port(0)), "spec.servers[0].port.number"),
    "port-name": (server(port=port(80, name="")), "spec.servers[0].port.name"),
    "target-port": (server(port=port(80) | {"targetPort": 1}), "spec.servers[0].port.targetPort"),
    "socket-path": (server(bind="unix://run", port=port(0)), "spec.servers[0].bind"),
    "socket-directory": (server(bind="unix:///run/", port=port(0)), "spec.servers[0].bind"),
    "socket-port": (server(bind="unix:///run/x"), "spec.servers[0].port.number"),
    "http-with-files": (server(tls=TLS_FILES), "spec.servers[0].tls"),
    "tcp-with-tls": (server(port=port(80, protocol="TCP"), tls={"mode": "PASSTHROUGH"}), "spec.servers[0].tls"),
    "istio-mutual-with-credential": (https(mode="ISTIO_MUTUAL", credentialName="c"), "spec.servers[0].tls.credential"),
    "no-key": (https(mode="SIMPLE", serverCertificate="/c"), "spec.servers[0].tls.privateKey"),
    "optional-mutual-no-ca": (https(mode="OPTIONAL_MUTUAL", **TLS_FILES), "spec.servers[0].tls.caCertificates"),
    "credential-and-names": (
        https(mode="SIMPLE", credentialName="a", credentialNames=["b"]),
        "spec.servers[0].tls: only",
    ),
    "three-certificates": (
        https(mode="SIMPLE", tlsCertificates=[TLS_FILES] * 3),
        "spec.servers[0].tls.tlsCertificates",
    ),
    "revocations-of-nobody": (https(mode="SIMPLE", **TLS_FILES, caCrl="/crl"), "spec.servers[0].tls.caCrl"),
}

_VIRTUAL_SERVICE: Rows = {
    "delegate-with-tls": ({"tls": [{"match": [{"sniHosts": ["a"]}], "route": TO_A}]}, "spec.tls"),
    "delegate-with-tcp": ({"tcp": [{"route": TO_A}]}, "spec.tcp"),
    "null-route": ({"hosts": ["a"], "http": [None]}, HTTP),
    "delegate-and-redirect": (
        {"hosts": ["a"], "http": [{"delegate": {}, "redirect": {"uri": "/"}}]},
        f"{HTTP}.redirect",
    ),
    "redirect-of-nothing-but-a-code": (redirect(redirectCode=308), f"{HTTP}.redirect"),
    "redirect-and-fault": (
        {"hosts": ["a"], "http": [{"redirect": {"uri": "/"}, "fault": {"abort": {"httpStatus": 500}}}]},
        f"{HTTP}.fault",
    ),
    "redirect-and-rewrite": (
        {"hosts": ["a"], "http": [{"redirect": {"uri": "/"}, "rewrite": {"uri": "/"}}]},
        f"{HTTP}.rewrite",
    ),
    "redirect-and-direct-response": (
        {"hosts": ["a"], "http": [{"redirect": {"uri": "/"}, "directResponse": {"status": 200}}]},
        f"{HTTP}.directResponse",
    ),
    "direct-response-and-fault": (
        {"hosts": ["a"], "http": [{"directResponse": {"status": 200}, "fault": {"abort": {"httpStatus": 500}}}]},
        f"{HTTP}.fault",
    ),
    "direct-response-and-rewrite": (
        {"hosts": ["a"], "http": [{"directResponse": {"status": 200}, "rewrite": {"uri": "/"}}]},
        f"{HTTP}.rewrite",
    ),
    "mirror-without-destination": (route(mirrors=[{}]), f"{HTTP}.mirrors[0].destination: is required"),
    "mirror-host": (route(mirror={"host": "*"}), f"{HTTP}.mirror.host"),
    "mirrors-share": (
        route(mirrors=[{"destination": {"host": "a"}, "percentage": {"value": -1}}]),
        f"{HTTP}.mirrors[0].percentage",
    ),
    "mirror-percent": (route(mirrorPercent=101), f"{HTTP}.mirrorPercent"),
    "match-header-name": (match(headers={"a b": {"exact": "x"}}), f"{HTTP}.match[0].headers.a b"),
    "match-empty-regex": (match(authority={"regex": ""}), f"{HTTP}.match[0].authority.regex"),
    "match-parameter-star": (match(queryParams={"x": {"regex": "*"}}), f"{HTTP}.match[0].queryParams.x.regex"),
    "match-label": (match(sourceLabels={"a b": "c"}), f"{HTTP}.match[0].sourceLabels"),
    "match-label-value": (match(sourceLabels={"a": "c d"}), f"{HTTP}.match[0].sourceLabels.a"),
    "match-namespace": (match(sourceNamespace="a.b"), f"{HTTP}.match[0].sourceNamespace"),
    "match-gateway": (match(gateways=["a/"]), f"{HTTP}.match[0].gateways[0]"),
    "header-empty": (set_header(""), f"{HTTP}.headers.request.set."),
    "header-remove-host": (route(headers={"request": {"remove": ["host"]}}), f"{HTTP}.headers.request.remove[0]"),
    "header-control": (set_header("x", "a\nb"), f"{HTTP}.headers.request.set.x"),
    "destination-header": (
        route(route=[TO_A[0] | {"headers": {"response": {"add": {":x": "y"}}}}]),
        f"{HTTP}.route[0].headers.response.add.:x",
    ),
    "redirect-two-paths": (redirect(uri="/", prefixRewrite="/"), f"{HTTP}.redirect: uri"),
    "redirect-prefix-of-exact": (
        {"hosts": ["a"], "http": [{"match": [{"uri": {"exact": "/a"}}], "redirect": {"prefixRewrite": "/b"}}]},
        f"{HTTP}.redirect.prefixRewrite",
    ),
    "redirect-scheme": (redirect(scheme="ftp"), f"{HTTP}.redirect.scheme"),
    "redirect-port": (redirect(port=0), f"{HTTP}.redirect.port"),
    "redirect-two-ports": (redirect(port=1, derivePort="FROM_REQUEST_PORT"), f"{HTTP}.redirect: only one of"),
    "direct-response-600": (direct(status=600), f"{HTTP}.directResponse.status"),
    "rewrite-regex": (
        route(rewrite={"uriRegexRewrite": {"match": "(", "rewrite": "b"}}),
        f"{HTTP}.rewrite.uriRegexRewrite",
    ),
    "rewrite-without-match": (
        route(rewrite={"uriRegexRewrite": {"rewrite": "b"}}),
        f"{HTTP}.rewrite.uriRegexRewrite.match",
    ),
    "rewrite-without-rewrite": (
        route(rewrite={"uriRegexRewrite": {"match": "a"}}),
        f"{HTTP}.rewrite.uriRegexRewrite.rewrite",
    ),
    "retries-timeout": (route(retries={"attempts": 1, "perTryTimeout": "0s"}), f"{HTTP}.retries.perTryTimeout"),
    "retries-backoff": (route(retries={"attempts": 1, "backoff": "1us"}), f"{HTTP}.retries.backoff"),
    "retries-zero-with-timeout": (route(retries={"attempts": 0, "perTryTimeout": "1s"}), f"{HTTP}.retries: "),
    "timeout-fraction": (route(timeout="1.5ms"), f"{HTTP}.timeout"),
    "timeout-text": (route(timeout="soon"), f"{HTTP}.timeout"),
    "fault-exponential": (route(fault={"delay": {"exponentialDelay": "1s"}}), f"{HTTP}.fault.delay.exponentialDelay"),
    "fault-http2": (route(fault={"abort": {"http2Error": "x"}}), f"{HTTP}.fault.abort.http2Error"),
    "fault-percent": (route(fault={"delay": {"fixedDelay": "1s", "percent": 101}}), f"{HTTP}.fault.delay.percent"),
    "cors-origin-regex": (
        route(corsPolicy={"allowOrigins": [{"regex": "("}]}),
        f"{HTTP}.corsPolicy.allowOrigins[0].regex",
    ),
    "cors-header": (route(corsPolicy={"allowHeaders": ["a b"]}), f"{HTTP}.corsPolicy.allowHeaders[0]"),
    "destination-missing": (route(route=[{}]), f"{HTTP}.route[0].destination: is required"),
    "destination-subset": (
        route(route=[{"destination": {"host": "a", "subset": "a_b"}}]),
        f"{HTTP}.route[0].destination.subset",
    ),
    "tls-no-match": ({"hosts": ["a"], "tls": [{"match": [], "route": TO_A}]}, "spec.tls[0].match"),
    "tls-no-route": ({"hosts": ["a"], "tls": [{"match": [{"sniHosts": ["a"]}]}]}, "spec.tls[0].route"),
    "tls-no-names": (tls_route(sniHosts=[]), "spec.tls[0].match[0].sniHosts"),
    "tls-subnet": (tls_route(destinationSubnets=["x"]), "spec.tls[0].match[0].destinationSubnets[0]"),
    "tls-port": (tls_route(port=70000), "spec.tls[0].match[0].port"),
    "tls-label": (tls_route(sourceLabels={"": "a"}), "spec.tls[0].match[0].sourceLabels"),
    "tcp-null-match": ({"hosts": ["a"], "tcp": [{"match": [None], "route": TO_A}]}, "spec.tcp[0].match[0]"),
    "tcp-port": (tcp_route(port=70000), "spec.tcp[0].match[0].port"),
    "tcp-weight": (
        {"hosts": ["a"], "tcp": [{"route": [TO_A[0], TO_A[0]]}]},
        "spec.tcp[0].route: the sum",
    ),
    "export-name": (route() | {"exportTo": ["a_b"]}, "spec.exportTo[0]"),
}

_SERVICE_ENTRY: Rows = {
    "selector-star": (entry(workloadSelector={"labels": {"a": "*"}}), "spec.workloadSelector.labels.a"),
    "selector-key": (entry(workloadSelector={"labels": {"a*": "b"}}), "spec.workloadSelector.labels"),
    "host": (entry(hosts=["a..b"]), "spec.hosts[0]"),
    "combinations": (combined(65, 253, 1), "spec: hosts, addresses and ports make 16,445 combinations"),
    "cidr": (entry(addresses=["10.0.0.0/33"], resolution="NONE"), "spec.addresses[0]"),
    "wildcard-with-selector": (
        entry(hosts=["*.a.b"], workloadSelector={"labels": MATCH_ALL}),
        "spec.hosts[0]: '*.a.b' cannot be resolved",
    ),
    "host-of-digits": (entry(hosts=["123"]), "spec.hosts[0]: '123' cannot be resolved"),
    "null-port": (entry(ports=[None]), "spec.ports[0]"),
    "port-name": (entry(ports=[port(80, name="a_b")]), "spec.ports[0].name"),
    "port-without-name": (entry(ports=[{"number": 80}]), "spec.ports[0].name: is required"),
    "target-port": (entry(ports=[port(80) | {"targetPort": 70000}]), "spec.ports[0].targetPort"),
    "static-label": (
        entry(resolution="STATIC", endpoints=[{"address": "10.0.0.1", "labels": {"a b": "c"}}]),
        "spec.endpoints[0].labels",
    ),
    "static-port": (
        entry(resolution="STATIC", endpoints=[{"address": "10.0.0.1", "ports": {"x": 1}}]),
        "spec.endpoints[0].ports.x",
    ),
    "socket-two-ports": (
        entry(resolution="STATIC", ports=[port(1, "a"), port(2, "b")], endpoints=[{"address": "unix:///x"}]),
        "spec.endpoints[0].address",
    ),
    "socket-with-ports": (
        entry(resolution="STATIC", endpoints=[{"address": "unix:///x", "ports": {"http": 1}}]),
        "spec.endpoints[0]: UDS may not include ports",
    ),
    "dns-address": (entry(endpoints=[{"address": "a_b"}]), "spec.endpoints[0].address"),
    "dynamic-address": (entry(hosts=["*.a"], resolution="DYNAMIC_DNS", addresses=["10.0.0.1"]), "spec"),
    "dynamic-endpoint": (
        entry(hosts=["*.a"], resolution="DYNAMIC_DNS", endpoints=[{"address": "a"}]),
        "spec.endpoints",
    ),
    "dynamic-protocol": (
        entry(hosts=["*.a"], resolution="DYNAMIC_DNS", ports=[port(1, protocol="TCP")]),
        "spec.ports[0].protocol",
    ),
    "resolution": (entry(resolution="MAGIC"), "spec.resolution"),
    "export-nobody-and-one": (entry(exportTo=["~", "a"]), "spec.exportTo"),
}

_SIDECAR: Rows = {
    "ingress-null": ({"ingress": [None]}, "spec.ingress[0]"),
    "ingress-no-port": ({"ingress": [{}]}, "spec.ingress[0].port: is required"),
    "ingress-target-port": (ingress(port=port(80) | {"targetPort": 1}), "spec.ingress[0].port.targetPort"),
    "ingress-names": (
        ingress(port=port(443, protocol="HTTPS"), tls={"mode": "SIMPLE", **TLS_FILES, "subjectAltNames": ["a"]}),
        "spec.ingress[0].tls.subjectAltNames",
    ),
    "ingress-redirect": (
        ingress(port=port(443, protocol="HTTPS"), tls={"mode": "SIMPLE", **TLS_FILES, "httpsRedirect": True}),
        "spec.ingress[0].tls.httpsRedirect",
    ),
    "ingress-credential": (
        ingress(port=port(443, protocol="HTTPS"), tls={"mode": "SIMPLE", "credentialName": "a"}),
        "spec.ingress[0].tls.credentialName",
    ),
    "ingress-certificates": (
        ingress(port=port(443, protocol="HTTPS"), tls={"mode": "SIMPLE", "tlsCertificates": [TLS_FILES]}),
        "spec.ingress[0].tls.tlsCertificates",
    ),
    "ingress-mode": (
        ingress(port=port(443, protocol="HTTPS"), tls={"mode": "ISTIO_MUTUAL"}),
        "spec.ingress[0].tls.mode",
    ),
    "egress-port-twice": (
        egress({"port": port(80), "hosts": ["./*"]}, {"port": port(80), "hosts": ["./*"]}),
        "spec.egress[1].port.number",
    ),
    "egress-socket-twice": (
        egress(*[{"port": port(0), "bind": "unix:///x", "hosts": ["./*"]}] * 2),
        "spec.egress[1].bind",
    ),
    "egress-short-name": (egress({"hosts": ["./a"]}), "spec.egress[0].hosts[0]"),
    "egress-two-catch-alls": (egress({"hosts": ["./*"]}, {"hosts": ["./*"]}), "spec.egress[0]"),
    "egress-socket-port": (
        egress({"port": port(80), "bind": "unix:///x", "hosts": ["./*"]}),
        "spec.egress[0].port.number",
    ),
    "egress-socket-capture": (
        egress({"port": port(0), "bind": "unix:///x", "captureMode": "IPTABLES", "hosts": ["./*"]}),
        "spec.egress[0].captureMode",
    ),
    "egress-bind": (egress({"port": port(80), "bind": "here", "hosts": ["./*"]}), "spec.egress[0].bind"),
    "egress-namespace": (egress({"hosts": ["a_b/*"]}), "spec.egress[0].hosts[0]"),
    "egress-name": (egress({"hosts": ["./a..b"]}), "spec.egress[0].hosts[0]"),
    "egress-proxy-host": (
        {"outboundTrafficPolicy": {"mode": "ALLOW_ANY", "egressProxy": {"host": "*.a", "port": {"number": 1}}}},
        "spec.outboundTrafficPolicy.egressProxy.host",
    ),
    "egress-proxy-nobody": (
        {"outboundTrafficPolicy": {"mode": "ALLOW_ANY", "egressProxy": {"host": "", "port": {"number": 1}}}},
        "spec.outboundTrafficPolicy.egressProxy.host",
    ),
    "egress-target-port": (egress({"port": port(80) | {"targetPort": 1}, "hosts": ["./*"]}), "spec.egress[0].port"),
    "egress-proxy-subset": (
        {
            "outboundTrafficPolicy": {
                "mode": "ALLOW_ANY",
                "egressProxy": {"host": "a.b", "port": {"number": 1}, "subset": "a_b"},
            }
        },
        "spec.outboundTrafficPolicy.egressProxy.subset",
    ),
    "egress-proxy-port": (
        {"outboundTrafficPolicy": {"mode": "ALLOW_ANY", "egressProxy": {"host": "a.b"}}},
        "spec.outboundTrafficPolicy.egressProxy.port",
    ),
    "policy-mode": ({"outboundTrafficPolicy": {"mode": "ALLOW_ANY_DYNAMIC_DNS"}}, "spec.outboundTrafficPolicy.mode"),
}

_POLICY = "spec.trafficPolicy"
_BALANCER = f"{_POLICY}.loadBalancer"
_DESTINATION_RULE: Rows = {
    "subset-null": ({"host": "a", "subsets": [None]}, "spec.subsets[0]"),
    "subset-label": ({"host": "a", "subsets": [{"name": "v", "labels": {"a b": "c"}}]}, "spec.subsets[0].labels"),
    "export-twice": ({"host": "a", "exportTo": ["b", "b"]}, "spec.exportTo[1]"),
    "pool-tcp-negative": (policy(connectionPool={"tcp": {"maxConnections": -1}}), f"{_POLICY}.connectionPool.tcp"),
    "pool-keep-alive": (
        policy(connectionPool={"http": {"http2KeepAlive": {"interval": "1s"}}}),
        f"{_POLICY}.connectionPool.http.http2KeepAlive",
    ),
    "pool-idle": (policy(connectionPool={"http": {"idleTimeout": "0s"}}), f"{_POLICY}.connectionPool.http.idleTimeout"),
    "cookie-name": (
        balancer(consistentHash={"httpCookie": {"name": ""}}),
        f"{_BALANCER}.consistentHash.httpCookie.name",
    ),
    "cookie-attribute-twice": (
        balancer(consistentHash={"httpCookie": {"name": "x", "attributes": [{"name": "a"}, {"name": "a"}]}}),
        f"{_BALANCER}.consistentHash.httpCookie.attributes[1].name",
    ),
    "cookie-attribute-empty": (
        balancer(consistentHash={"httpCookie": {"name": "x", "attributes": [{"name": ""}]}}),
        f"{_BALANCER}.consistentHash.httpCookie.attributes[0].name",
    ),
    "ring-size-twice": (
        balancer(consistentHash={"minimumRingSize": 1, "ringHash": {}}),
        f"{_BALANCER}.consistentHash.minimumRingSize",
    ),
    "maglev-without-size": (
        balancer(consistentHash={"maglev": {}}),
        f"{_BALANCER}.consistentHash.maglev.tableSize",
    ),
    "maglev-zero": (
        balancer(consistentHash={"maglev": {"tableSize": 0}}),
        f"{_BALANCER}.consistentHash.maglev.tableSize",
    ),
    "maglev-large": (
        balancer(consistentHash={"maglev": {"tableSize": 5000011}}),
        f"{_BALANCER}.consistentHash.maglev.tableSize",
    ),
    "zones-and-localities": (balancer(localityLbSetting={}, zoneAwareLbSetting={}), f"{_BALANCER}: localityLbSetting"),
    "warmup-duration": (balancer(warmup={}), f"{_BALANCER}.warmup.duration: is required"),
    "warmup-percent": (
        balancer(warmup={"duration": "1s", "minimumPercent": 101}),
        f"{_BALANCER}.warmup.minimumPercent",
    ),
    "warmup-aggression": (balancer(warmup={"duration": "1s", "aggression": 0.5}), f"{_BALANCER}.warmup.aggression"),
    "distribute-and-failover": (
        locality(distribute=[{"from": "a", "to": {"b": 100}}], failover=[{"from": "a", "to": "b"}]),
        f"{_BALANCER}.localityLbSetting: distribute",
    ),
    "failover-and-topology": (
        locality(failover=[{"from": "a", "to": "b"}], failoverPriority=["topology.istio.io/subzone"]),
        f"{_BALANCER}.localityLbSetting.failoverPriority",
    ),
    "distribute-weight": (
        locality(distribute=[{"from": "a", "to": {"b": 0, "c": 100}}]),
        f"{_BALANCER}.localityLbSetting.distribute[0].to.b",
    ),
    "distribute-overlap": (
        locality(distribute=[{"from": "a/*", "to": {"b": 100}}, {"from": "a/b", "to": {"b": 100}}]),
        f"{_BALANCER}.localityLbSetting.distribute",
    ),
    "failover-zone": (
        locality(failover=[{"from": "a/b", "to": "c"}]),
        f"{_BALANCER}.localityLbSetting.failover[0]",
    ),
    "failover-star": (locality(failover=[{"from": "a", "to": "*"}]), f"{_BALANCER}.localityLbSetting.failover[0]"),
    "outlier-interval": (policy(outlierDetection={"interval": "0s"}), f"{_POLICY}.outlierDetection.interval"),
    "outlier-health": (
        policy(outlierDetection={"minHealthPercent": -1}),
        f"{_POLICY}.outlierDetection.minHealthPercent",
    ),
    "tls-config-map": (
        policy(tls={"mode": "SIMPLE", "credentialName": "configmap://other/c"}),
        f"{_POLICY}.tls.credentialName",
    ),
    "tls-unverified-ca": (
        policy(tls={"mode": "SIMPLE", "insecureSkipVerify": True, **CA}),
        f"{_POLICY}.tls.insecureSkipVerify",
    ),
    "tls-unverified-names": (
        policy(tls={"mode": "SIMPLE", "insecureSkipVerify": True, "subjectAltNames": ["a"]}),
        f"{_POLICY}.tls.insecureSkipVerify",
    ),
    "tls-unverified-credential": (
        policy(tls={"mode": "SIMPLE", "insecureSkipVerify": True, "credentialName": "a"}),
        f"{_POLICY}.tls.insecureSkipVerify",
    ),
    "tls-credential-and-revocations": (
        policy(tls={"mode": "SIMPLE", "credentialName": "a", "caCrl": "/crl"}),
        f"{_POLICY}.tls.credentialName",
    ),
    "tunnel-protocol-case": (
        policy(tunnel={"protocol": "connect", "targetHost": "a.b", "targetPort": 1}),
        f"{_POLICY}.tunnel.protocol",
    ),
    "port-empty": (policy(portLevelSettings=[{"port": {"number": 80}}]), f"{_POLICY}.portLevelSettings[0]"),
    "tunnel-protocol": (
        policy(tunnel={"protocol": "GET", "targetHost": "a.b", "targetPort": 1}),
        f"{_POLICY}.tunnel.protocol",
    ),
    "tunnel-host": (policy(tunnel={"targetHost": "a_b", "targetPort": 1}), f"{_POLICY}.tunnel.targetHost"),
}

_SOURCE = "spec.rules[0].from[0].source"
_OPERATION = "spec.rules[0].to[0].operation"
_AUTHORIZATION_POLICY: Rows = {
    "target-without-name": ({"targetRef": {"kind": "Service"}}, "spec.targetRef.name: is required"),
    "target-elsewhere": (
        {"targetRef": {"kind": "Service", "name": "a", "namespace": "b"}},
        "spec.targetRef.namespace: cross namespace",
    ),
    "custom-without-rules": ({"action": "CUSTOM", "provider": {"name": "x"}}, "spec.rules"),
    "custom-namespaces": (custom({"from": [{"source": {"namespaces": ["a"]}}]}), f"{_SOURCE}.namespaces"),
    "custom-accounts": (custom({"from": [{"source": {"serviceAccounts": ["a"]}}]}), f"{_SOURCE}.serviceAccounts"),
    "custom-trust-domains": (custom({"from": [{"source": {"trustDomains": ["a"]}}]}), f"{_SOURCE}.trustDomains"),
    "custom-request-principals": (
        custom({"from": [{"source": {"requestPrincipals": ["a"]}}]}),
        f"{_SOURCE}.requestPrincipals",
    ),
    "custom-key": (
        custom({"when": [{"key": "request.auth.audiences", "values": ["a"]}]}),
        "spec.rules[0].when[0].key",
    ),
    "null-rule": ({"rules": [None]}, "spec.rules[0]"),
    "empty-value": (rule(when=[{"key": "request.headers[x]", "values": [""]}]), "spec.rules[0].when[0].values[0]"),
    "trust-domain-value": (
        rule(when=[{"key": "source.trustDomain", "values": ["a*b"]}]),
        "spec.rules[0].when[0].values[0]",
    ),
    "key-without-name": (rule(when=[{"key": "request.headers[]", "values": ["a"]}]), "spec.rules[0].when[0].key"),
    "key-without-end": (rule(when=[{"key": "request.headers[a", "values": ["a"]}]), "spec.rules[0].when[0].key"),
    "template-empty-segment": (operation(paths=["/{*}//x"]), f"{_OPERATION}.paths[0]"),
    "port-65536": (operation(ports=["65536"]), f"{_OPERATION}.ports[0]"),
    "no-source": (rule(**{"from": [{}]}), _SOURCE),
    "no-operation": (rule(to=[{}]), _OPERATION),
    "empty-list": (operation(hosts=[]), f"{_OPERATION}: must say something"),
    "address-leading-zero": (source(ipBlocks=["10.0.0.0/08"]), f"{_SOURCE}.ipBlocks[0]"),
    "template-in-segment": (operation(paths=["/a{*}/b"]), f"{_OPERATION}.paths[0]"),
    "template-and-star": (operation(paths=["/{*}/b*"]), f"{_OPERATION}.paths[0]"),
    "port-name": (operation(ports=["http"]), f"{_OPERATION}.ports[0]"),
    "accounts-and-principals": (source(serviceAccounts=["a"], principals=["b"]), f"{_SOURCE}: Cannot set"),
    "accounts-17": (source(serviceAccounts=["a"] * 17), f"{_SOURCE}.serviceAccounts"),
    "account-star": (source(serviceAccounts=["a*"]), f"{_SOURCE}.serviceAccounts[0]"),
    "account-form": (source(serviceAccounts=["a/b/c"]), f"{_SOURCE}.serviceAccounts[0]"),
    "trust-domain-slash": (source(trustDomains=["a/b"]), f"{_SOURCE}.trustDomains[0]"),
    "trust-domain-stars": (source(trustDomains=["*a*"]), f"{_SOURCE}.trustDomains[0]"),
    "when-trust-domain-stars": (when("source.trustDomain", "*a*"), "spec.rules[0].when[0].values[0]"),
    "when-without-key": (when("", "a"), "spec.rules[0].when[0].key"),
    "when-key-form": (when("request.headers", "a"), "spec.rules[0].when[0].key"),
    "when-address": (when("source.ip", "a"), "spec.rules[0].when[0].values[0]"),
    "when-port": (when("destination.port", "a"), "spec.rules[0].when[0].values[0]"),
}

_REQUEST_AUTHENTICATION: Rows = {
    "audience": (jwt(audiences=[""]), "spec.jwtRules[0].audiences[0]"),
    "issuer": ({"jwtRules": [{"issuer": ""}]}, "spec.jwtRules[0].issuer"),
    "keys-scheme": (jwt(jwksUri="ftp://a"), "spec.jwtRules[0].jwksUri"),
    "header": (jwt(fromHeaders=[{"name": ""}]), "spec.jwtRules[0].fromHeaders[0].name"),
    "parameter": (jwt(fromParams=[""]), "spec.jwtRules[0].fromParams[0]"),
    "cookie": (jwt(fromCookies=[""]), "spec.jwtRules[0].fromCookies[0]"),
    "claim-missing": (jwt(outputClaimToHeaders=[{"header": "a"}]), "spec.jwtRules[0].outputClaimToHeaders[0].claim"),
    "claim-header": (
        jwt(outputClaimToHeaders=[{"header": "a b", "claim": "c"}]),
        "spec.jwtRules[0].outputClaimToHeaders[0].header",
    ),
    "timeout": (jwt(timeout="0s"), "spec.jwtRules[0].timeout"),
    "key-type": (jwt(jwks='{"keys": [{"kty": "DSA"}]}'), "spec.jwtRules[0].jwks: keys[0]"),
    "key-parts": (jwt(jwks='{"keys": [{"kty": "EC", "crv": "P-256", "x": "a"}]}'), "spec.jwtRules[0].jwks: keys[0]"),
}

BAD: dict[str, Rows] = {
    "Gateway": _GATEWAY,
    "VirtualService": _VIRTUAL_SERVICE,
    "ServiceEntry": _SERVICE_ENTRY,
    "Sidecar": _SIDECAR,
    "DestinationRule": _DESTINATION_RULE,
    "AuthorizationPolicy": _AUTHORIZATION_POLICY,
    "RequestAuthentication": _REQUEST_AUTHENTICATION,
    "PeerAuthentication": {
        "port-name": (
            {"selector": {"matchLabels": MATCH_ALL}, "portLevelMtls": {"http": {}}},
            "spec.portLevelMtls.http",
        ),
    },
    "WorkloadEntry": {
        "socket-path": ({"address": "unix://x"}, "spec.address"),
        "socket-directory": ({"address": "unix:///x/"}, "spec.address"),
        "label": ({"address": "10.0.0.1", "labels": {"a": "b c"}}, "spec.labels.a"),
        "port": ({"address": "10.0.0.1", "ports": {"a": 0}}, "spec.ports.a"),
    },
    "WorkloadGroup": {
        "metadata-label": ({"template": {}, "metadata": {"labels": {"a": "b c"}}}, "spec.metadata.labels.a"),
        "probe-negative": (
            {"template": {}, "probe": {"grpc": {}, "periodSeconds": -1}},
            "spec.probe.periodSeconds",
        ),
        "probe-scheme": (
            {"template": {}, "probe": {"httpGet": {"port": 1, "scheme": "ftp"}}},
            "spec.probe.httpGet.scheme",
        ),
        "probe-header": (
            {"template": {}, "probe": {"httpGet": {"port": 1, "httpHeaders": [{"name": "a b"}]}}},
            "spec.probe.httpGet.httpHeaders[0].name",
        ),
        "probe-port": ({"template": {}, "probe": {"tcpSocket": {"port": 0}}}, "spec.probe.tcpSocket.port"),
        "probe-command": ({"template": {}, "probe": {"exec": {"command": []}}}, "spec.probe.exec.command"),
    },
    "Telemetry": {
        "provider": ({"tracing": [{"providers": [{"name": ""}]}]}, "spec.tracing[0].providers[0].name"),
        "filter": (
            {"accessLogging": [{"filter": {"expression": "response.code >"}}]},
            "spec.accessLogging[0].filter.expression",
        ),
        "tag-name": ({"tracing": [{"customTags": {"": {"literal": {"value": "x"}}}}]}, "spec.tracing[0].customTags"),
        "tag-of-header": (
            {"tracing": [{"customTags": {"a": {"header": {"name": "x\n"}}}}]},
            "spec.tracing[0].customTags[a].header.name",
        ),
        "tag-value": (
            {"tracing": [{"customTags": {"a": {"literal": {"value": ""}}}}]},
            "spec.tracing[0].customTags.a.literal.value",
        ),
        "remove-with-value": (
            {"metrics": [{"overrides": [{"tagOverrides": {"a": {"operation": "REMOVE", "value": "x"}}}]}]},
            "spec.metrics[0].overrides[0].tagOverrides.a",
        ),
        "two-targets": (
            {"selector": {"matchLabels": MATCH_ALL}, "targetRefs": [{"kind": "Service", "name": "a"}]},
            "spec: only one of",
        ),
    },
    "WasmPlugin": {
        "digest": ({"url": "x", "sha256": "ABC"}, "spec.sha256"),
        "pull-secret": ({"url": "x", "imagePullSecret": "a" * 254}, "spec.imagePullSecret"),
        "name": ({"url": "x", "pluginName": "a" * 257}, "spec.pluginName"),
        "env-empty": (env({"name": ""}), "spec.vmConfig.env[0].name"),
        "env-long": (env({"name": "a" * 257}), "spec.vmConfig.env[0].name"),
        "env-value-long": (env({"name": "a", "value": "b" * 2049}), "spec.vmConfig.env[0].value"),
        "match-port": ({"url": "x", "match": [{"ports": [{"number": 0}]}]}, "spec.match[0].ports[0].number"),
    },
    "TrafficExtension": {
        "lua-empty": ({"lua": {"inlineCode": ""}}, "spec.lua.inlineCode"),
        "lua-long": ({"lua": {"inlineCode": "--" + "x" * 65535}}, "spec.lua.inlineCode"),
        "wasm-scheme": ({"wasm": {"url": "ftp://x"}}, "spec.wasm.url"),
        "two-targets": (
            {
                "lua": {"inlineCode": "local x"},
                "selector": {"matchLabels": MATCH_ALL},
                "targetRefs": [{"kind": "Service", "name": "a"}],
            },
            "spec: only one of",
        ),
    },
    "EnvoyFilter": {
        "apply-to": (patch(applyTo="INVALID"), "spec.configPatches[0].applyTo"),
        "operation": (patch(patch={"value": {}}), "spec.configPatches[0].patch.operation"),
        "value": (patch(patch={"operation": "MERGE"}), "spec.configPatches[0].patch.value"),
        "null-patch": ({"configPatches": [None]}, "spec.configPatches[0]"),
        "proxy-version": (
            patch(match={"proxy": {"proxyVersion": "("}}),
            "spec.configPatches[0].match.proxy.proxyVersion",
        ),
        "route-class": (
            patch(applyTo="HTTP_ROUTE", match={"cluster": {}}),
            "spec.configPatches[0].match.cluster",
        ),
        "listener-class": (
            patch(applyTo="HTTP_FILTER", match={"routeConfiguration": {}}),
            "spec.configPatches[0].match.routeConfiguration",
        ),
        "filter-name": (
            listener_match(filterChain={"filter": {}}),
            "spec.configPatches[0].match.listener.filterChain.filter.name",
        ),
        "sub-filter-name": (
            listener_match(filterChain={"filter": {"name": "a", "subFilter": {}}}),
            "spec.configPatches[0].match.listener.filterChain.filter.subFilter.name",
        ),
        "sub-filter-elsewhere": (
            patch(applyTo="NETWORK_FILTER", match=_in_http({"name": "b"})),
            "spec.configPatches[0].match.listener.filterChain.filter.subFilter: is for applyTo HTTP_FILTER only",
        ),
        "sub-filter-of-another": (
            patch(applyTo="HTTP_FILTER", match=_in_http({"name": "b"}, "a")),
            "spec.configPatches[0].match.listener.filterChain.filter.name",
        ),
    },
}

WARNED: dict[str, Rows] = {
    "Gateway": {
        "redirect-on-https": (
            https(mode="SIMPLE", credentialName="c", httpsRedirect=True),
            "spec.servers[0].tls.httpsRedirect",
        ),
        "old-version": (
            https(mode="SIMPLE", credentialName="c", minProtocolVersion="TLSV1_1"),
            "spec.servers[0].tls.minProtocolVersion",
        ),
        "unknown-cipher": (
            https(mode="SIMPLE", credentialName="c", cipherSuites=["ROT13"]),
            "spec.servers[0].tls.cipherSuites[0]",
        ),
        "cipher-twice": (
            https(mode="SIMPLE", credentialName="c", cipherSuites=["AES128-SHA", "AES128-SHA"]),
            "spec.servers[0].tls.cipherSuites[1]",
        ),
    },
    "VirtualService": {
        "old-gateway-name": (route() | {"gateways": ["a.b"]}, "spec.gateways[0]"),
        "abort-without-status": (route(fault={"abort": {}}), f"{HTTP}.fault.abort"),
        "large-body": (direct(body={"string": "x" * 102401}), f"{HTTP}.directResponse.body"),
        "address-as-name": (
            {"hosts": ["10.0.0.1"], "tls": [{"match": [{"sniHosts": ["10.0.0.1"]}], "route": TO_A}]},
            "spec.tls[0].match[0].sniHosts[0]",
        ),
        "duplicate-match": (
            {"hosts": ["a"], "http": [{"match": [{"port": 80}], "route": TO_A}] * 2},
            "spec.http[1]: is never reached",
        ),
        "one-duplicate-match": (
            {
                "hosts": ["a"],
                "http": [
                    {"match": [{"port": 80}], "route": TO_A},
                    {"match": [{"port": 80}, {"port": 81}], "route": TO_A},
                ],
            },
            "spec.http[1].match[0]",
        ),
    },
    "ServiceEntry": {
        "selector-without-labels": (entry(resolution="STATIC", workloadSelector={}), "spec.workloadSelector"),
        "selector-with-none": (
            entry(resolution="NONE", workloadSelector={"labels": MATCH_ALL}),
            "spec.workloadSelector",
        ),
        "partial-wildcard": (entry(hosts=["*a.example"], resolution="NONE"), "spec.hosts[0]"),
        "tcp-without-address": (entry(resolution="NONE", ports=[port(1, protocol="TCP")]), "spec.ports[0]"),
    },
    "WorkloadEntry": {"network-only": ({"network": "n1"}, "spec.address")},
    "Sidecar": {
        "selector-without-labels": (egress({"hosts": ["./*"]}) | {"workloadSelector": {}}, "spec.workloadSelector"),
        "pool-without-http": (
            ingress(port=port(80, protocol="TCP"), connectionPool={"http": {"maxRetries": 1}}),
            "spec.ingress[0].connectionPool.http",
        ),
        "duplicate-host": (egress({"hosts": ["./*", "./*"]}), "spec.egress[0].hosts[1]"),
        "covered-host": (egress({"hosts": ["ns/*", "ns/a.b"]}), "spec.egress[0].hosts[1]"),
        "all-and-one": (egress({"hosts": ["*/*", "./*"]}), "spec.egress[0].hosts"),
    },
    "DestinationRule": {
        "selector-without-labels": ({"host": "a", "workloadSelector": {}}, "spec.workloadSelector"),
        "old-ring-size": (
            balancer(consistentHash={"useSourceIp": True, "minimumRingSize": 8}),
            f"{_BALANCER}.consistentHash.minimumRingSize",
        ),
        "star-in-locality": (
            locality(distribute=[{"from": "a", "to": {"us*": 50, "us": 50}}]),
            f"{_BALANCER}.localityLbSetting.distribute[0].to",
        ),
        "failover-without-detection": (
            balancer(localityLbSetting={"failover": [{"from": "a", "to": "b"}]}),
            f"{_BALANCER}.localityLbSetting",
        ),
    },
    "AuthorizationPolicy": {
        "selector-without-labels": ({"selector": {}}, "spec.selector"),
        "list-without-entries": (source(principals=["a"], namespaces=[]), f"{_SOURCE}.namespaces"),
        "deny-by-token": (
            {"action": "DENY", "rules": [{"from": [{"source": {"requestPrincipals": ["a"]}}]}]},
            "spec.rules[0]: with DENY",
        ),
        "deny-by-method-of-a-namespace": (
            {
                "action": "DENY",
                "rules": [
                    {"from": [{"source": {"namespaces": ["a"]}}], "to": [{"operation": {"methods": ["GET"]}}]},
                ],
            },
            "spec.rules[0]: with DENY",
        ),
    },
    "PeerAuthentication": {"selector-without-labels": ({"selector": {}}, "spec.selector")},
    "ProxyConfig": {"selector-without-labels": ({"selector": {}}, "spec.selector")},
    "RequestAuthentication": {
        "own-keys": (jwt(jwksUri="http://127.0.0.1:8000/keys"), "spec.jwtRules[0].jwksUri"),
        "local-keys": (jwt(jwksUri="http://LocalHost/keys"), "spec.jwtRules[0].jwksUri"),
        "metadata-keys": (jwt(jwksUri="https://[fe80::1]/keys"), "spec.jwtRules[0].jwksUri"),
        "private-key": (jwt(jwks='{"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}'), "spec.jwtRules[0].jwks: has private"),
        "no-keys": (jwt(jwks='{"keys": []}'), "spec.jwtRules[0].jwks: no token is believed"),
        "short-key": (jwt(jwks=KEYS), "spec.jwtRules[0].jwks: no token is believed"),
    },
    "Telemetry": {
        "selector-without-labels": ({"selector": {}}, "spec.selector"),
        "two-tracings": ({"tracing": [{}, {}]}, "spec.tracing"),
        "two-providers": ({"tracing": [{"providers": [{"name": "a"}, {"name": "b"}]}]}, "spec.tracing[0].providers"),
    },
    "EnvoyFilter": {
        "long-version": (
            patch(match={"proxy": {"proxyVersion": "a" * 1025}}),
            "spec.configPatches[0].match.proxy.proxyVersion",
        ),
    },
}
