"""The rules of each kind as tables: specs that pass, that are refused, and that are only warned of.

They are asked of the registry's own reading (``test_rules``) and of the webhook (``tests/webhooks``).
"""

from __future__ import annotations

from typing import Any

from tests.apis import envoy_rules, further_rules
from tests.apis.specs import TO_A, Rows, egress, entry, https, ingress, policy, route, rule, server

_GOOD: dict[str, list[dict[str, Any]]] = {
    "VirtualService": [
        route(),
        route(retries={"attempts": 0}),
        route(match=[{"headers": {"x": {}}, "uri": {"prefix": ""}}]),
        route(match=[{"withoutHeaders": {"x": {"regex": "*"}}}]),
        {"http": [{"route": TO_A}]},
        {"hosts": ["*"], "gateways": ["infra/edge"], "http": [{"route": TO_A}]},
        {
            "hosts": ["a"],
            "http": [{"route": [{"destination": {"host": "a"}, "weight": 7}, {"destination": {"host": "b"}}]}],
        },
        {"hosts": ["*.a.example"], "tls": [{"match": [{"sniHosts": ["x.a.example"]}], "route": TO_A}]},
        {"hosts": ["a"], "tcp": [{"match": [{"port": 80, "destinationSubnets": ["10.0.0.0/8"]}], "route": TO_A}]},
    ],
    "DestinationRule": [
        policy(tls={"mode": "SIMPLE"}),
        policy(loadBalancer={"consistentHash": {"maglev": {"tableSize": 65537}}}),
        {"host": "*", "subsets": [{"name": "v1", "labels": {"version": "v1"}}]},
    ],
    "Gateway": [
        server(),
        server(hosts=["*", "./b.example", "ns/*.c.example", "10.0.0.1"]),
        server(tls={"httpsRedirect": True}),
        https(mode="SIMPLE", credentialName="c"),
        https(mode="SIMPLE", serverCertificate="/c", privateKey="/k"),
        server(bind="unix:///run/x", port={"number": 0, "protocol": "HTTP", "name": "http"}),
    ],
    "ServiceEntry": [
        entry(),
        entry(resolution="STATIC", endpoints=[{"address": "10.0.0.1", "ports": {"http": 8080}}]),
        entry(exportTo=["~"]),
        entry(hosts=["*.a.example"], resolution="NONE"),
    ],
    "Sidecar": [
        egress({"hosts": ["./*", "*/a.example", "~/*"]}),
        egress({"port": {"number": 80, "protocol": "HTTP", "name": "h"}, "hosts": ["./*"]}, {"hosts": ["./*"]}),
        ingress(),
        ingress(defaultEndpoint="unix:///run/app"),
    ],
    "WorkloadEntry": [{"address": "10.0.0.1"}, {"address": "vm.example"}, {"network": "n1"}],
    "WorkloadGroup": [{"template": {}, "probe": {"httpGet": {"port": 80}}}],
    "PeerAuthentication": [
        {},
        {"mtls": {"mode": "STRICT"}},
        {"selector": {"matchLabels": {"a": "b"}}, "portLevelMtls": {"8080": {"mode": "DISABLE"}}},
    ],
    "RequestAuthentication": [{"jwtRules": [{"issuer": "me", "jwks": '{"keys": []}'}]}],
    "AuthorizationPolicy": [
        {},
        {"rules": [{}]},
        rule(**{"from": [], "to": [], "when": []}),
        rule(to=[{"operation": {"paths": ["/{**}/a", "/a/{**}/", "/a.b/{*}", "*", "/x*"], "ports": ["0", "65535"]}}]),
        rule(when=[{"key": "source.trustDomain", "values": ["*.td", "td*"]}]),
        rule(when=[{"key": "request.auth.claims[a][b]", "notValues": ["x"]}]),
        {"action": "DENY", "rules": [{"from": [{"source": {"namespaces": ["a"]}}]}]},
        rule(to=[{"operation": {"paths": ["/a/{*}/b/{**}"], "ports": ["80"]}}]),
        rule(when=[{"key": "request.headers[x]", "values": ["y"]}]),
    ],
    "Telemetry": [{"tracing": [{"randomSamplingPercentage": 1.5}]}],
    "WasmPlugin": [{"url": "oci://registry:5000/x:1"}, {"url": "ghcr.io/x:1"}, {"url": "10.0.0.1:5000/x"}],
    "TrafficExtension": [{"lua": {"inlineCode": "local x"}}],
    "ProxyConfig": [{"concurrency": 0}],
    "EnvoyFilter": [{"configPatches": [{"applyTo": "CLUSTER", "patch": {"operation": "MERGE", "value": {}}}]}],
}

VIRTUAL_SERVICE: Rows = {
    "no-routes": ({"hosts": ["a"]}, "spec: http, tcp or tls"),
    "delegate-with-gateways": ({"gateways": ["ns/g"], "http": [{"route": TO_A}]}, "spec.gateways"),
    "host-not-a-name": ({"hosts": ["a_b"], "http": [{"route": TO_A}]}, "spec.hosts[0]"),
    "any-host-on-mesh": ({"hosts": ["*"], "http": [{"route": TO_A}]}, "spec.hosts[0]"),
    "duplicate-hosts": ({"hosts": ["a.b", "a.b"], "http": [{"route": TO_A}]}, "spec.hosts[1]"),
    "overlapping-hosts": ({"hosts": ["*.b", "a.b"], "http": [{"route": TO_A}]}, "spec.hosts[1]"),
    "gateway-name": ({"hosts": ["a"], "gateways": ["a/b/c"], "http": [{"route": TO_A}]}, "spec.gateways[0]"),
    "delegate-and-route": (route(delegate={"name": "d"}), "spec.http[0].route"),
    "delegate-delegates": ({"http": [{"delegate": {"name": "d"}}]}, "spec.http[0].delegate"),
    "nothing-to-do": ({"hosts": ["a"], "http": [{"name": "x"}]}, "spec.http[0]: route, redirect"),
    "redirect-and-route": (route(redirect={"uri": "/x"}), "spec.http[0].route"),
    "direct-response-and-route": (route(directResponse={"status": 200}), "spec.http[0].route"),
    "mirror-twice": (route(mirror={"host": "b"}, mirrors=[{"destination": {"host": "c"}}]), "spec.http[0].mirrors"),
    "mirror-share": (route(mirror={"host": "b"}, mirrorPercentage={"value": 101}), "spec.http[0].mirrorPercentage"),
    "weight-sum-0": (route(route=[*TO_A, *TO_A]), "spec.http[0].route: the sum"),
    "weight-negative": (route(route=[TO_A[0] | {"weight": -1}]), "spec.http[0].route[0].weight"),
    "destination-any": (route(route=[{"destination": {"host": "*"}}]), "spec.http[0].route[0].destination.host"),
    "port-70000": (
        route(route=[{"destination": {"host": "a", "port": {"number": 70000}}}]),
        "spec.http[0].route[0].destination.port.number",
    ),
    "match-port-70000": (route(match=[{"port": 70000}]), "spec.http[0].match[0].port"),
    "destination-address": (
        route(route=[{"destination": {"host": "10.1.1.1"}}]),
        "spec.http[0].route[0].destination.host",
    ),
    "host-ends-in-star": (route() | {"hosts": ["foo.*"]}, "spec.hosts[0]"),
    "match-regex": (route(match=[{"uri": {"regex": "a(b"}}]), "spec.http[0].match[0].uri.regex"),
    "match-regex-lookahead": (route(match=[{"uri": {"regex": "(?!a)"}}]), "spec.http[0].match[0].uri.regex"),
    "match-regex-long": (route(match=[{"uri": {"regex": "a" * 1025}}]), "spec.http[0].match[0].uri.regex"),
    "match-regex-star": (route(match=[{"headers": {"x": {"regex": "*"}}}]), "spec.http[0].match[0].headers.x.regex"),
    "match-empty-prefix": (route(match=[{"headers": {"x": {"prefix": ""}}}]), "spec.http[0].match[0].headers.x"),
    "match-two-ways": (route(match=[{"uri": {"exact": "a", "prefix": "b"}}]), "spec.http[0].match[0].uri"),
    "match-null-header": (route(match=[{"headers": {"x": None}}]), "spec.http[0].match[0].headers.x"),
    "match-claim-on-mesh": (
        route(match=[{"headers": {"@request.auth.claims.group": {"exact": "a"}}}]),
        "spec.http[0].match[0].headers",
    ),
    "timeout-zero": (route(timeout="0s"), "spec.http[0].timeout"),
    "retries-negative": (route(retries={"attempts": -1}), "spec.http[0].retries.attempts"),
    "retries-zero-with-conditions": (route(retries={"attempts": 0, "retryOn": "5xx"}), "spec.http[0].retries"),
    "retry-on-unknown": (route(retries={"attempts": 1, "retryOn": "5xx,never"}), "spec.http[0].retries.retryOn"),
    "retry-on-space": (route(retries={"attempts": 1, "retryOn": "5xx, reset"}), "spec.http[0].retries.retryOn"),
    "fault-empty": (route(fault={}), "spec.http[0].fault"),
    "fault-status": (route(fault={"abort": {"httpStatus": 99}}), "spec.http[0].fault.abort.httpStatus"),
    "fault-grpc-status": (route(fault={"abort": {"grpcStatus": "NO"}}), "spec.http[0].fault.abort.grpcStatus"),
    "fault-tiny-share": (
        route(fault={"abort": {"httpStatus": 500, "percentage": {"value": 0.00001}}}),
        "spec.http[0].fault.abort.percentage",
    ),
    "rewrite-empty": (route(rewrite={}), "spec.http[0].rewrite"),
    "rewrite-twice": (
        route(rewrite={"uri": "/", "uriRegexRewrite": {"match": "a", "rewrite": "b"}}),
        "spec.http[0].rewrite: uri and",
    ),
    "header-pseudo": (route(headers={"request": {"set": {":path": "x"}}}), "spec.http[0].headers.request.set.:path"),
    "header-host-in-response": (route(headers={"response": {"set": {"Host": "x"}}}), "spec.http[0].headers.response"),
    "header-unclosed-percent": (route(headers={"request": {"add": {"x": "50% off"}}}), "spec.http[0].headers.request"),
    "authority-twice": (
        route(rewrite={"authority": "a"}, headers={"request": {"set": {"host": "b"}}}),
        "spec.http[0]: the authority",
    ),
    "redirect-code": (
        {"hosts": ["a"], "http": [{"redirect": {"uri": "/", "redirectCode": 200}}]},
        "spec.http[0].redirect.redirectCode",
    ),
    "redirect-empty": ({"hosts": ["a"], "http": [{"redirect": {}}]}, "spec.http[0].redirect"),
    "direct-response-status": (
        {"hosts": ["a"], "http": [{"directResponse": {"status": 199}}]},
        "spec.http[0].directResponse.status",
    ),
    "direct-response-huge": (
        {"hosts": ["a"], "http": [{"directResponse": {"status": 200, "body": {"string": "x" * 1048577}}}]},
        "spec.http[0].directResponse.body",
    ),
    "cors-method": (route(corsPolicy={"allowMethods": ["get"]}), "spec.http[0].corsPolicy.allowMethods[0]"),
    "cors-origin-empty": (route(corsPolicy={"allowOrigins": [{}]}), "spec.http[0].corsPolicy.allowOrigins[0]"),
    "cors-age": (route(corsPolicy={"maxAge": "1500ms"}), "spec.http[0].corsPolicy.maxAge"),
    "sni-outside-hosts": (
        {"hosts": ["a.b"], "tls": [{"match": [{"sniHosts": ["c.b"]}], "route": TO_A}]},
        "spec.tls[0].match[0].sniHosts[0]",
    ),
    "tcp-no-route": ({"hosts": ["a"], "tcp": [{}]}, "spec.tcp[0].route"),
    "tcp-subnet": (
        {"hosts": ["a"], "tcp": [{"match": [{"destinationSubnets": ["10.0.0/8"]}], "route": TO_A}]},
        "spec.tcp[0].match[0].destinationSubnets[0]",
    ),
    "export-twice": (route() | {"exportTo": [".", "default"]}, "spec.exportTo[1]"),
    "export-all-and-one": (route() | {"exportTo": ["*", "a"]}, "spec.exportTo"),
    "export-nobody": (route() | {"exportTo": ["~"]}, "spec.exportTo[0]"),
}

DESTINATION_RULE: Rows = {
    "host": ({"host": "a..b"}, "spec.host"),
    "host-missing": ({}, "spec.host: is required"),
    "policy-empty": (policy(), "spec.trafficPolicy"),
    "subset-twice": ({"host": "a", "subsets": [{"name": "v"}, {"name": "v"}]}, "spec.subsets[1].name"),
    "subset-name": ({"host": "a", "subsets": [{"name": "v_1"}]}, "spec.subsets[0].name"),
    "tunnel-and-proxy-protocol": (
        policy(tunnel={"targetHost": "a.b", "targetPort": 1}, proxyProtocol={}),
        "spec.trafficPolicy: tunnel",
    ),
    "tunnel-port": (policy(tunnel={"targetHost": "a.b", "targetPort": 0}), "spec.trafficPolicy.tunnel.targetPort"),
    "pool-empty": (policy(connectionPool={}), "spec.trafficPolicy.connectionPool"),
    "pool-negative": (policy(connectionPool={"http": {"maxRetries": -1}}), "spec.trafficPolicy.connectionPool.http"),
    "pool-upgrade": (
        policy(connectionPool={"http": {"h2UpgradePolicy": "UPGRADE", "useClientProtocol": True}}),
        "spec.trafficPolicy.connectionPool.http",
    ),
    "two-algorithms": (
        policy(loadBalancer={"simple": "RANDOM", "consistentHash": {}}),
        "spec.trafficPolicy.loadBalancer: only one of",
    ),
    "maglev-not-prime": (
        policy(loadBalancer={"consistentHash": {"maglev": {"tableSize": 100}}}),
        "spec.trafficPolicy.loadBalancer.consistentHash.maglev.tableSize",
    ),
    "distribute-sum": (
        policy(loadBalancer={"localityLbSetting": {"distribute": [{"from": "a/b", "to": {"a/b": 90}}]}}),
        "spec.trafficPolicy.loadBalancer.localityLbSetting.distribute[0].to",
    ),
    "failover-same": (
        policy(loadBalancer={"localityLbSetting": {"failover": [{"from": "a", "to": "a"}]}}),
        "spec.trafficPolicy.loadBalancer.localityLbSetting.failover[0]",
    ),
    "outlier-percent": (
        policy(outlierDetection={"maxEjectionPercent": 101}),
        "spec.trafficPolicy.outlierDetection.maxEjectionPercent",
    ),
    "outlier-local-origin": (
        policy(outlierDetection={"consecutiveLocalOriginFailures": 5}),
        "spec.trafficPolicy.outlierDetection.consecutiveLocalOriginFailures",
    ),
    "tls-mutual-without-files": (policy(tls={"mode": "MUTUAL"}), "spec.trafficPolicy.tls.clientCertificate"),
    "tls-two-sources": (
        policy(tls={"mode": "SIMPLE", "credentialName": "c", "caCertificates": "/ca"}),
        "spec.trafficPolicy.tls.credentialName",
    ),
    "port-missing": (policy(portLevelSettings=[{"tls": {}}]), "spec.trafficPolicy.portLevelSettings[0].port"),
    "selector-exported": (
        {"host": "a", "workloadSelector": {"matchLabels": {"a": "b"}}, "exportTo": ["*"]},
        "spec.exportTo",
    ),
}

GATEWAY: Rows = {
    "no-servers": ({}, "spec.servers"),
    "no-hosts": (server(hosts=[]), "spec.servers[0].hosts"),
    "short-host": (server(hosts=["a"]), "spec.servers[0].hosts[0]"),
    "partial-wildcard": (server(hosts=["*a.example"]), "spec.servers[0].hosts[0]"),
    "port-70000": (server(port={"number": 70000, "protocol": "HTTP", "name": "h"}), "spec.servers[0].port.number"),
    "protocol": (server(port={"number": 80, "protocol": "SMTP", "name": "h"}), "spec.servers[0].port.protocol"),
    "bind": (server(bind="here"), "spec.servers[0].bind"),
    "port-name-twice": ({"servers": server()["servers"] * 2}, "spec.servers[1].port.name"),
    "https-without-tls": (
        server(port={"number": 443, "protocol": "HTTPS", "name": "h"}),
        "spec.servers[0].tls: is required",
    ),
    "http-with-tls": (server(tls={"mode": "SIMPLE", "credentialName": "c"}), "spec.servers[0].tls"),
    "no-certificate": (https(mode="SIMPLE"), "spec.servers[0].tls.serverCertificate"),
    "no-ca": (https(mode="MUTUAL", serverCertificate="/c", privateKey="/k"), "spec.servers[0].tls.caCertificates"),
    "two-sources": (
        https(mode="SIMPLE", credentialName="c", serverCertificate="/c", privateKey="/k"),
        "spec.servers[0].tls: only one of",
    ),
    "istio-mutual-with-files": (https(mode="ISTIO_MUTUAL", privateKey="/k"), "spec.servers[0].tls.privateKey"),
}

SERVICE_ENTRY: Rows = {
    "no-hosts": (entry(hosts=[]), "spec.hosts"),
    "any-host": (entry(hosts=["*"]), "spec.hosts[0]"),
    "wildcard-dns": (entry(hosts=["*.a.example"]), "spec.hosts[0]"),
    "selector-and-endpoints": (
        entry(resolution="STATIC", endpoints=[{"address": "10.0.0.1"}], workloadSelector={"labels": {"a": "b"}}),
        "spec: only one of WorkloadSelector or Endpoints",
    ),
    "address": (entry(addresses=["here"]), "spec.addresses[0]"),
    "cidr-dns": (entry(addresses=["10.0.0.0/8"]), "spec: CIDR addresses"),
    "duplicate-number": (
        entry(ports=[{"number": 80, "name": "a"}, {"number": 80, "name": "b"}]),
        "spec.ports: port number cannot be duplicated",
    ),
    "duplicate-name": (entry(ports=[{"number": 80, "name": "a"}, {"number": 81, "name": "a"}]), "spec.ports[1].name"),
    "port-70000": (entry(ports=[{"number": 70000, "name": "a"}]), "spec.ports[0].number"),
    "protocol": (entry(ports=[{"number": 80, "name": "a", "protocol": "SMTP"}]), "spec.ports[0].protocol"),
    "none-with-endpoints": (entry(resolution="NONE", endpoints=[{"address": "10.0.0.1"}]), "spec: NONE mode"),
    "static-by-name": (entry(resolution="STATIC", endpoints=[{"address": "vm.example"}]), "spec.endpoints[0].address"),
    "endpoint-port": (entry(endpoints=[{"address": "vm.example", "ports": {"x": 1}}]), "spec.endpoints[0].ports.x"),
    "round-robin-two": (
        entry(resolution="DNS_ROUND_ROBIN", endpoints=[{"address": "a.b"}, {"address": "c.d"}]),
        "spec: DNS_ROUND_ROBIN",
    ),
    "dynamic-exact-host": (entry(resolution="DYNAMIC_DNS"), "spec.hosts[0]"),
    "several-hosts-tcp": (
        entry(hosts=["a.example", "b.example"], ports=[{"number": 80, "name": "a", "protocol": "TCP"}]),
        "spec.ports[0]",
    ),
}

SIDECAR: Rows = {
    "empty": ({}, "spec"),
    "catch-all-not-last": (
        egress({"hosts": ["./*"]}, {"port": {"number": 80, "protocol": "HTTP", "name": "h"}, "hosts": ["./*"]}),
        "spec.egress[0]",
    ),
    "egress-host": (egress({"hosts": ["a.example"]}), "spec.egress[0].hosts[0]"),
    "egress-no-hosts": (egress({"hosts": []}), "spec.egress[0].hosts"),
    "default-endpoint": (ingress(defaultEndpoint="10.0.0.1:80"), "spec.ingress[0].defaultEndpoint"),
    "ingress-port-70000": (
        ingress(port={"number": 70000, "protocol": "HTTP", "name": "h"}),
        "spec.ingress[0].port.number",
    ),
    "ingress-twice": ({"ingress": ingress()["ingress"] * 2}, "spec.ingress[1].port.number"),
    "ingress-tls-on-http": (
        ingress(tls={"mode": "SIMPLE", "serverCertificate": "/c", "privateKey": "/k"}),
        "spec.ingress[0].tls",
    ),
    "egress-proxy-mode": (
        {"outboundTrafficPolicy": {"egressProxy": {"host": "a.b", "port": {"number": 1}}}},
        "spec.outboundTrafficPolicy.egressProxy",
    ),
}

WORKLOADS: dict[str, Rows] = {
    "WorkloadEntry": {
        "nowhere": ({}, "spec: Address is required"),
        "address": ({"address": "a_b"}, "spec.address"),
        "socket-with-ports": ({"address": "unix:///x", "ports": {"a": 1}}, "spec: UDS may not include ports"),
        "port-name": ({"address": "10.0.0.1", "ports": {"a_b": 1}}, "spec.ports.a_b"),
    },
    "WorkloadGroup": {
        "no-template": ({}, "spec.template: is required"),
        "probe-empty": ({"template": {}, "probe": {}}, "spec.probe"),
        "probe-two": ({"template": {}, "probe": {"grpc": {}, "tcpSocket": {"port": 1}}}, "spec.probe: only one of"),
    },
}

SECURITY: dict[str, Rows] = {
    "PeerAuthentication": {
        "ports-without-selector": ({"portLevelMtls": {"80": {}}}, "spec: portLevelMtls requires selector"),
        "ports-empty": (
            {"selector": {"matchLabels": {"a": "b"}}, "portLevelMtls": {}},
            "spec.portLevelMtls",
        ),
        "port-70000": (
            {"selector": {"matchLabels": {"a": "b"}}, "portLevelMtls": {"70000": {}}},
            "spec.portLevelMtls.70000",
        ),
        "selector-wildcard": ({"selector": {"matchLabels": {"a*": "b"}}}, "spec.selector.matchLabels.a*"),
    },
    "RequestAuthentication": {
        "nothing": ({"jwtRules": [{}]}, "spec.jwtRules[0]"),
        "two-key-sources": (
            {"jwtRules": [{"issuer": "a", "jwks": '{"keys": []}', "jwksUri": "https://a"}]},
            "spec.jwtRules[0]: only one of",
        ),
        "keys": ({"jwtRules": [{"issuer": "a", "jwks": "x"}]}, "spec.jwtRules[0].jwks"),
        "two-targets": (
            {"selector": {"matchLabels": {"a": "b"}}, "targetRefs": [{"kind": "Service", "name": "a"}]},
            "spec: only one of targetRefs or selector",
        ),
        "target-kind": ({"targetRefs": [{"kind": "Pod", "name": "a"}]}, "spec.targetRefs[0]"),
    },
    "AuthorizationPolicy": {
        "deny-without-rules": ({"action": "DENY"}, "spec.rules"),
        "custom-without-provider": ({"action": "CUSTOM", "rules": [{}]}, "spec.provider"),
        "provider-without-custom": ({"provider": {"name": "x"}}, "spec.provider"),
        "custom-principals": (
            {
                "action": "CUSTOM",
                "provider": {"name": "x"},
                "rules": [{"from": [{"source": {"principals": ["a"]}}]}],
            },
            "spec.rules[0].from[0].source.principals",
        ),
        "empty-source": (rule(**{"from": [{"source": {}}]}), "spec.rules[0].from[0].source"),
        "empty-text": (rule(to=[{"operation": {"methods": [""]}}]), "spec.rules[0].to[0].operation.methods[0]"),
        "ip": (rule(**{"from": [{"source": {"ipBlocks": ["x"]}}]}), "spec.rules[0].from[0].source.ipBlocks[0]"),
        "port": (rule(to=[{"operation": {"ports": ["70000"]}}]), "spec.rules[0].to[0].operation.ports[0]"),
        "path-template": (
            rule(to=[{"operation": {"paths": ["/{**}/a/{*}"]}}]),
            "spec.rules[0].to[0].operation.paths[0]",
        ),
        "accounts-and-namespaces": (
            rule(**{"from": [{"source": {"serviceAccounts": ["a"], "namespaces": ["b"]}}]}),
            "spec.rules[0].from[0].source: Cannot set serviceAccounts",
        ),
        "key": (rule(when=[{"key": "request.colour", "values": ["red"]}]), "spec.rules[0].when[0].key"),
        "no-values": (rule(when=[{"key": "source.ip"}]), "spec.rules[0].when[0]"),
    },
    "Telemetry": {
        "sampling": ({"tracing": [{"randomSamplingPercentage": 101}]}, "spec.tracing[0].randomSamplingPercentage"),
        "upsert-empty": (
            {"metrics": [{"overrides": [{"tagOverrides": {"a": {"operation": "UPSERT"}}}]}]},
            "spec.metrics[0].overrides[0].tagOverrides.a",
        ),
        "tag-without-value": (
            {"metrics": [{"overrides": [{"tagOverrides": {"a": {}}}]}]},
            "spec.metrics[0].overrides[0].tagOverrides[a].value",
        ),
    },
    "WasmPlugin": {
        "no-url": ({}, "spec.url: is required"),
        "scheme": ({"url": "ftp://x"}, "spec.url: url must have schema one of"),
        "registry-as-scheme": ({"url": "registry:5000/x"}, "spec.url: url must have schema one of"),
        "env-twice": ({"url": "x", "vmConfig": {"env": [{"name": "a"}, {"name": "a"}]}}, "spec.vmConfig.env[1].name"),
        "env-host-value": (
            {"url": "x", "vmConfig": {"env": [{"name": "a", "value": "b", "valueFrom": "HOST"}]}},
            "spec.vmConfig.env[0]",
        ),
    },
    "TrafficExtension": {
        "neither": ({}, "spec: exactly one of"),
        "both": ({"lua": {"inlineCode": "local x"}, "wasm": {"url": "x"}}, "spec: exactly one of"),
    },
    "ProxyConfig": {
        "concurrency-negative": ({"concurrency": -1}, "spec.concurrency"),
        "selector-wildcard": ({"selector": {"matchLabels": {"a": "*"}}}, "spec.selector.matchLabels.a"),
    },
    "EnvoyFilter": {
        "no-patch": ({"configPatches": [{"applyTo": "CLUSTER"}]}, "spec.configPatches[0].patch"),
        "wrong-match": (
            {"configPatches": [{"applyTo": "CLUSTER", "match": {"listener": {}}, "patch": {"operation": "REMOVE"}}]},
            "spec.configPatches[0].match.listener",
        ),
    },
}

_BAD: dict[str, Rows] = {
    "VirtualService": VIRTUAL_SERVICE,
    "DestinationRule": DESTINATION_RULE,
    "Gateway": GATEWAY,
    "ServiceEntry": SERVICE_ENTRY,
    "Sidecar": SIDECAR,
    **WORKLOADS,
    **SECURITY,
}

_WARNED: dict[str, Rows] = {
    "VirtualService": {
        "after-catch-all": (
            {"hosts": ["a"], "http": [{"route": TO_A}, {"match": [{"port": 80}], "route": TO_A}]},
            "spec.http[1]",
        ),
        "covered-prefix": (
            {
                "hosts": ["a"],
                "http": [
                    {"match": [{"uri": {"prefix": "/a"}}], "route": TO_A},
                    {"match": [{"uri": {"prefix": "/a/b"}}], "route": TO_A},
                ],
            },
            "spec.http[1].match[0]",
        ),
        "old-percent": (route(mirrorPercent=5), "spec.http[0].mirrorPercent"),
    },
    "DestinationRule": {
        "old-errors": (
            policy(outlierDetection={"consecutiveErrors": 5}),
            "spec.trafficPolicy.outlierDetection.consecutiveErrors",
        ),
    },
    "Gateway": {
        "passthrough-with-credential": (
            https(mode="PASSTHROUGH", credentialName="c"),
            "spec.servers[0].tls.credentialName",
        ),
    },
    "EnvoyFilter": {"always": ({}, "spec: EnvoyFilter changes")},
    "AuthorizationPolicy": {
        "deny-http-only": (
            {"action": "DENY", "rules": [{"to": [{"operation": {"methods": ["GET"]}}]}]},
            "spec.rules[0]: with DENY",
        ),
    },
}

GOOD = {
    kind: specs + further_rules.GOOD.get(kind, []) + envoy_rules.GOOD.get(kind, []) for kind, specs in _GOOD.items()
}
"""Specs that pass."""
BAD = {kind: rows | further_rules.BAD.get(kind, {}) | envoy_rules.BAD.get(kind, {}) for kind, rows in _BAD.items()}
"""Specs that cannot be used, and how a problem starts."""
_WARNED_KINDS = sorted({*_WARNED, *further_rules.WARNED, *envoy_rules.WARNED})
WARNED = {
    kind: _WARNED.get(kind, {}) | further_rules.WARNED.get(kind, {}) | envoy_rules.WARNED.get(kind, {})
    for kind in _WARNED_KINDS
}
"""Specs that can be used, and how a warning starts."""
