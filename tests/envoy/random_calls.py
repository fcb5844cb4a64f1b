"""Random meshes and random calls in them, from few words, so that what is asked often nearly matches what is stated."""

from __future__ import annotations

import base64
import json
import random
import time
from dataclasses import dataclass, field, replace
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa
from jwt import encode
from jwt.algorithms import RSAAlgorithm

from controlplane.simulate.call import Call

Json = dict[str, Any]

SERVICES = {"web": "10.96.0.1", "shop": "10.96.0.2", "api": "10.96.0.3"}
ENTRIES = {"ext.test": "", "pay.ext.test": "", "*.wild.test": "", "db.test": "240.1.1.1"}
HOSTS = [
    "web",
    "web.default",
    "web.default.svc.cluster.local",
    "shop",
    "api",
    "ext.test",
    "pay.ext.test",
    "a.wild.test",
]
OTHER_HOSTS = [
    "WEB",
    "web:80",
    "web.default:80",
    "unknown.test",
    "b.a.wild.test",
    "wild.test",
    "ext.test:8080",
    "10.96.0.1",
]
PATHS = [
    "/",
    "/a",
    "/a/",
    "/a/b",
    "/A/b",
    "/ab",
    "/a/../b",
    "/a//b",
    "/api/v1",
    "/api/v1/x",
    "/%61/b",
    "/a%2Fb",
    "/b;c=1",
]
QUERIES = ["", "", "", "?v=1", "?v=2&w=x", "?w", "?v=%31", "?v=1&v=2"]
NAMES = ["x-user", "x-env", "cookie"]
VALUES = ["jason", "jas", "Jason", "prod", "a=1; b=2", ""]
METHODS = ["GET", "GET", "GET", "POST", "DELETE", "OPTIONS"]
SUBSETS = ["v1", "v2", "v9"]
SOURCES = ["10.0.0.9", "192.168.7.1", "203.0.113.99"]
ACCOUNTS = ["default", "web", "robot"]
KEY, OTHER_KEY = (rsa.generate_private_key(65537, 2048) for _ in range(2))
SUBJECT, CLIENT_IP, GATEWAY_IP, SERVER_IP = "reader", "10.0.0.2", "10.0.0.1", "10.0.0.7"


@dataclass(slots=True)
class World:
    """Objects of a mesh, made with one source of chance; ``backend`` is the port of every endpoint."""

    rng: random.Random
    backend: int
    objects: list[Json] = field(default_factory=list)

    def make(self) -> list[Json]:
        """Return all objects."""
        for number, (name, address) in enumerate(SERVICES.items(), 1):
            self._service(name, address, number)
        for number, (host, address) in enumerate(ENTRIES.items(), 1):
            self._entry(number, host, address)
        self._add("networking.istio.io/v1", "Gateway", "public", selector={"app": "gateway"}, servers=self._servers())
        for number in range(self.rng.randint(2, 6)):
            self._virtual_service(number)
        for number in range(self.rng.randint(0, 3)):
            self._destination_rule(number)
        for number in range(self.rng.randint(0, 3)):
            self._policy(number)
        if self.rng.random() < 0.6:
            self._add("security.istio.io/v1", "RequestAuthentication", "tokens", jwtRules=[self._token_rule()])
        if self.rng.random() < 0.6:
            mode = self.rng.choice(["STRICT", "PERMISSIVE", "DISABLE"])
            self._add("security.istio.io/v1", "PeerAuthentication", "default", mtls={"mode": mode})
        return self.objects

    def _add(self, version: str, kind: str, name: str, **spec: Any) -> None:
        metadata = {"name": name, "namespace": "default"}
        self.objects.append({"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec})

    def _service(self, name: str, address: str, number: int) -> None:
        ports = [{"name": "http", "port": 80, "targetPort": self.backend}]
        ports.append({"name": "tcp-raw", "port": 9000 + number, "targetPort": self.backend})
        if number == 1:
            ports.append({"name": "auto", "port": 7000, "targetPort": self.backend})
        self._add("v1", "Service", name, clusterIP=address, clusterIPs=[address], selector={"app": name}, ports=ports)
        for at, version in enumerate(["v1", "v1", "v2"]):
            self._pod(f"{name}-{at}", f"127.1.{number}.{at + 1}", {"app": name, "version": version})
        addresses = [f"127.1.{number}.{at + 1}" for at in range(3)]
        self.objects.append(
            {
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": {"name": name, "namespace": "default", "labels": {"kubernetes.io/service-name": name}},
                "addressType": "IPv4",
                "ports": [{"name": port["name"], "port": self.backend, "protocol": "TCP"} for port in ports],
                "endpoints": [
                    {"addresses": [each], "conditions": {"ready": self.rng.random() < 0.8}} for each in addresses
                ],
            }
        )

    def _pod(self, name: str, ip: str, labels: dict[str, str]) -> None:
        self.objects.append(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": name, "namespace": "default", "labels": labels},
                "spec": {"containers": [{"name": "app", "image": "app"}]},
                "status": {
                    "phase": "Running",
                    "podIP": ip,
                    "podIPs": [{"ip": ip}],
                    "conditions": [{"type": "Ready", "status": "True"}],
                },
            }
        )

    def _entry(self, number: int, host: str, address: str) -> None:
        ports = [{"number": 80, "name": "http", "protocol": "HTTP"}, {"number": 443, "name": "tls", "protocol": "TLS"}]
        if address:
            ports = [{"number": 5432, "name": "tcp", "protocol": "TCP"}]
        endpoints = [
            {
                "address": f"127.2.{number}.{at}",
                "ports": {port["name"]: self.backend for port in ports},
                "labels": {"version": f"v{at}"},
            }
            for at in (1, 2)
        ]
        more = {"addresses": [address]} if address else {}
        self._add(
            "networking.istio.io/v1",
            "ServiceEntry",
            f"entry-{number}",
            hosts=[host],
            ports=ports,
            resolution="STATIC",
            location="MESH_EXTERNAL",
            endpoints=endpoints,
            **more,
        )

    def _servers(self) -> list[Json]:
        redirects = {"tls": {"httpsRedirect": True}} if self.rng.random() < 0.3 else {}
        return [
            {"port": {"number": 8080, "name": "http", "protocol": "HTTP"}, "hosts": ["*"]},
            {"port": {"number": 8081, "name": "http-b", "protocol": "HTTP"}, "hosts": ["*.test"], **redirects},
        ]

    def _text(self, values: list[str]) -> Json:
        value = self.rng.choice(values)
        kind = self.rng.choice(["exact", "exact", "prefix", "regex", "none"])
        if kind == "none":
            return {}
        if kind == "regex":
            return {
                "regex": self.rng.choice(
                    [".*", ".+", f"{value}.*" if value else "", f"({value}|b)", "*", "/[a-z]+/?.*"]
                )
                or ".*"
            }
        return {kind: value or "x"}

    def _uri(self) -> Json:
        value = self.rng.choice(["/", "/a", "/a/", "/a/b", "/api", "/api/v1", "/b"])
        kind = self.rng.choice(["exact", "prefix", "prefix", "regex"])
        return {
            kind: value
            if kind != "regex"
            else self.rng.choice([f"{value}.*", f"{value}[a-z]?", "/(a|b)/.*", "/a(/.*)?"])
        }

    def _match(self) -> Json:
        chance = self.rng.random
        found: Json = {}
        if chance() < 0.7:
            found["uri"] = self._uri()
            found["ignoreUriCase"] = chance() < 0.2
        if chance() < 0.35:
            found["headers"] = {self.rng.choice(NAMES): self._text(VALUES)}
        if chance() < 0.15:
            found["withoutHeaders"] = {self.rng.choice(NAMES): self._text(VALUES)}
        if chance() < 0.2:
            found["queryParams"] = {self.rng.choice(["v", "w"]): self._text(["1", "2", "x"])}
        if chance() < 0.2:
            found["method"] = {"exact": self.rng.choice(METHODS)}
        if chance() < 0.1:
            found["authority"] = self._text(["web", "ext.test"])
        if chance() < 0.1:
            found["scheme"] = {"exact": self.rng.choice(["http", "https"])}
        if chance() < 0.1:
            found["port"] = self.rng.choice([80, 8080])
        if chance() < 0.1:
            found["sourceLabels"] = {"app": self.rng.choice(["client", "other"])}
        return found

    def _destination(self) -> Json:
        host = self.rng.choice([*SERVICES, "ext.test", "pay.ext.test", "gone.test"])
        found: Json = {"host": host, "port": {"number": 80}}
        if self.rng.random() < 0.4:
            found["subset"] = self.rng.choice(SUBSETS)
        return found

    def _redirect(self) -> Json:
        found: Json = self.rng.choice([{"uri": "/moved"}, {"uri": "/moved?x=1"}, {}, {}])
        if self.rng.random() < 0.5:
            found["authority"] = "new.test"
        if self.rng.random() < 0.3:
            found["scheme"] = "https"
        port = self.rng.random()
        if port < 0.2:
            found["port"] = self.rng.choice([80, 443, 8443])
        elif port < 0.4:
            found["derivePort"] = self.rng.choice(["FROM_PROTOCOL_DEFAULT", "FROM_REQUEST_PORT"])
        if self.rng.random() < 0.5:
            found["redirectCode"] = self.rng.choice([301, 302, 303, 307, 308])
        return found

    def _rule(self, number: int) -> Json:
        chance = self.rng.random
        rule: Json = {"name": f"r{number}"} if chance() < 0.7 else {}
        if chance() < 0.85:
            rule["match"] = [self._match() for _ in range(self.rng.randint(1, 2))]
        kind = chance()
        if kind < 0.12:
            return rule | {"redirect": self._redirect()}
        if kind < 0.2:
            return rule | {"directResponse": {"status": self.rng.choice([200, 204, 418, 503])}}
        count = self.rng.randint(1, 3)
        rule["route"] = [
            {"destination": self._destination()} | ({"weight": w} if count > 1 else {}) for w in [50, 50, 0][:count]
        ]
        if chance() < 0.3:
            rule["rewrite"] = self.rng.choice(
                [
                    {"uri": "/new"},
                    {"uri": "/"},
                    {"uri": "/new/", "authority": "inner.test"},
                    {"authority": "inner.test"},
                    {"uriRegexRewrite": {"match": "/([a-z])", "rewrite": r"/\1\1"}},
                    {"uriRegexRewrite": {"match": "^/a(.*)", "rewrite": r"/z\1"}},
                ]
            )
        if chance() < 0.2:
            share = self.rng.choice([100, 100, 50, 0])
            rule["fault"] = {"abort": {"httpStatus": self.rng.choice([400, 503]), "percentage": {"value": share}}}
        if chance() < 0.2:
            origins = [{"exact": "http://good.test"}, {"prefix": "http://ok."}]
            rule["corsPolicy"] = {"allowOrigins": origins, "allowMethods": ["GET"]}
        rule["retries"] = {"attempts": 0}
        return rule

    def _virtual_service(self, number: int) -> None:
        hosts = self.rng.sample(
            [*SERVICES, "ext.test", "pay.ext.test", "*.wild.test", "*.test", "*"], self.rng.randint(1, 2)
        )
        gateways = self.rng.choice([["mesh"], ["mesh", "public"], ["public"]])
        if "*" in hosts:
            gateways = ["public"]
        spec: Json = {
            "hosts": hosts,
            "gateways": gateways,
            "http": [self._rule(at) for at in range(self.rng.randint(1, 5))],
        }
        if self.rng.random() < 0.3:
            sni = [host for host in hosts if host != "*"] or ["ext.test"]
            to = {"host": "pay.ext.test", "port": {"number": 443}}
            spec["tls"] = [{"match": [{"port": 443, "sniHosts": sni}], "route": [{"destination": to}]}]
        if self.rng.random() < 0.3:
            to = {"host": self.rng.choice(list(SERVICES)), "port": {"number": self.rng.choice([9001, 9002, 9003])}}
            spec["tcp"] = [{"match": [{"port": self.rng.choice([9001, 9002])}], "route": [{"destination": to}]}]
        self._add("networking.istio.io/v1", "VirtualService", f"vs-{number}", **spec)

    def _destination_rule(self, number: int) -> None:
        host = self.rng.choice([*SERVICES, "ext.test"])
        subsets = [{"name": name, "labels": {"version": name}} for name in SUBSETS]
        self._add("networking.istio.io/v1", "DestinationRule", f"dr-{number}", host=host, subsets=subsets)

    def _token_rule(self) -> Json:
        public = json.loads(RSAAlgorithm.to_jwk(KEY.public_key())) | {"kid": "one"}
        rule: Json = {"issuer": "issuer.test", "jwks": json.dumps({"keys": [public]}), "forwardOriginalToken": True}
        if self.rng.random() < 0.4:
            rule["audiences"] = ["shop"]
        if self.rng.random() < 0.3:
            rule["fromHeaders"] = [{"name": "x-token", "prefix": "Token "}]
        return rule

    def _operation(self) -> Json:
        return self.rng.choice(
            [
                {"methods": ["GET"]},
                {"paths": ["/a*"]},
                {"paths": ["*b"], "notMethods": ["POST"]},
                {"hosts": ["web", "ext.*"]},
                {"notPaths": ["/api/*"]},
                {"paths": ["/{*}/b", "/api/{**}"]},
                {"ports": [str(self.backend), "8080"]},
            ]
        )

    def _source(self) -> Json:
        return self.rng.choice(
            [
                {"ipBlocks": ["10.0.0.0/8"]},
                {"ipBlocks": ["127.0.0.0/8"]},
                {"notIpBlocks": ["203.0.113.0/24"]},
                {"remoteIpBlocks": ["198.51.100.0/24"]},
                {"principals": ["cluster.local/ns/default/sa/web"]},
                {"principals": ["*/sa/robot"]},
                {"notPrincipals": ["cluster.local/*"]},
                {"namespaces": ["default"]},
                {"requestPrincipals": ["issuer.test/*"]},
                {"requestPrincipals": ["*"]},
                {"notRequestPrincipals": ["*"]},
            ]
        )

    def _condition(self) -> Json:
        return self.rng.choice(
            [
                {"key": "request.headers[x-user]", "values": ["jason", "jas*"]},
                {"key": "request.headers[x-env]", "notValues": ["prod"]},
                {"key": "request.auth.claims[groups]", "values": ["admin"]},
                {"key": "request.auth.claims[scope]", "values": ["read"]},
                {"key": "request.auth.audiences", "values": ["shop"]},
                {"key": "source.ip", "values": ["127.0.0.0/24"]},
                {"key": "remote.ip", "values": ["10.0.0.0/8"]},
                {"key": "destination.port", "values": [str(self.backend)]},
                {"key": "source.namespace", "values": ["default"]},
            ]
        )

    def _policy(self, number: int) -> None:
        rules = []
        for _ in range(self.rng.randint(1, 2)):
            rule: Json = {}
            if self.rng.random() < 0.6:
                rule["to"] = [{"operation": self._operation()}]
            if self.rng.random() < 0.6:
                rule["from"] = [{"source": self._source()}]
            if self.rng.random() < 0.4:
                rule["when"] = [self._condition()]
            rules.append(rule)
        action = self.rng.choice(["ALLOW", "DENY", "DENY", "AUDIT"])
        selector = self.rng.choice([{}, {"selector": {"matchLabels": {"app": "gateway"}}}])
        self._add("security.istio.io/v1", "AuthorizationPolicy", f"p-{number}", action=action, rules=rules, **selector)


class Calls:
    """Random calls of a mesh."""

    def __init__(self, rng: random.Random, backend: int) -> None:
        self._rng = rng
        self._backend = backend

    def outbound(self) -> Call:
        """Return a call of an application beside a sidecar."""
        kind = self._rng.random()
        if kind < 0.75:
            return self._http(*self._place())
        address, port = self._rng.choice(
            [
                ("10.96.0.1", 9001), ("10.96.0.2", 9002), ("10.96.0.3", 9003), ("240.1.1.1", 5432), ("10.96.0.1", 7000),
                ("203.0.113.10", 443), ("203.0.113.10", 9999), ("10.96.0.1", 9999), ("240.1.1.2", 5432),
            ]
        )  # fmt: skip
        tls = port == 443 or self._rng.random() < 0.2
        name = self._rng.choice(["ext.test", "pay.ext.test", "a.wild.test", "unknown.test"]) if tls else ""
        return Call(address, port, http=False, tls=tls, server_name=name, source=CLIENT_IP)

    def _place(self) -> tuple[str, int]:
        port = self._rng.choice([80, 80, 80, 7000])
        return self._rng.choice([*SERVICES.values(), "203.0.113.10"]) if port == 80 else "10.96.0.1", port

    def gateway(self) -> Call:
        """Return a call from outside to a gateway."""
        return self._http(GATEWAY_IP, self._rng.choice([8080, 8080, 8081, 9999]), self._rng.choice(SOURCES))

    def inbound(self) -> Call:
        """Return a call to a server's sidecar: plain, or with the mutual TLS of the mesh."""
        call = self._http("127.1.1.1", self._rng.choice([self._backend] * 4 + [7777]), self._rng.choice(SOURCES))
        if self._rng.random() < 0.5:
            return call
        identity = f"spiffe://cluster.local/ns/default/sa/{self._rng.choice(ACCOUNTS)}"
        return replace(call, tls=True, server_name="outbound_.80_._.web", alpn=("istio",), identity=identity)

    def _http(self, address: str, port: int, source: str = CLIENT_IP) -> Call:
        headers: dict[str, str] = {}
        for name in NAMES:
            if self._rng.random() < 0.3:
                headers[name] = self._rng.choice([value for value in VALUES if value])
        if self._rng.random() < 0.15:
            headers["x-forwarded-for"] = self._rng.choice(["198.51.100.7", "198.51.100.7, 10.0.0.3", "1.2.3.4"])
        method = self._rng.choice(METHODS)
        if method == "OPTIONS" and self._rng.random() < 0.7:
            headers["origin"] = self._rng.choice(["http://good.test", "http://ok.test", "http://bad.test"])
            headers["access-control-request-method"] = "GET"
        if self._rng.random() < 0.4:
            name, text = self._token()
            headers[name] = text
        return Call(
            address, port, host=self._rng.choice([*HOSTS, *HOSTS, *OTHER_HOSTS]), method=method,
            path=self._rng.choice(PATHS) + self._rng.choice(QUERIES), headers=headers, source=source,
        )  # fmt: skip

    def _token(self) -> tuple[str, str]:
        now = int(time.time())
        claims: Json = {
            "iss": self._rng.choice(["issuer.test", "issuer.test", "issuer.test", "other.test"]),
            "sub": SUBJECT,
            "exp": now + self._rng.choice([3600, 3600, 3600, -3600]),
            "groups": self._rng.choice([["admin", "dev"], ["dev"], "admin"]),
            "scope": self._rng.choice(["read write", "write"]),
        }
        if self._rng.random() < 0.5:
            claims["aud"] = self._rng.choice(["shop", "bank", ["bank", "shop"]])
        key = self._rng.choice([KEY, KEY, KEY, OTHER_KEY])
        token = encode(claims, key, algorithm="RS256", headers={"kid": "one"})
        if self._rng.random() < 0.1:
            token = self._rng.choice(["nonsense", f"{base64.b64encode(b'{}').decode()}.x.y"])
        return self._rng.choice([("authorization", f"Bearer {token}"), ("x-token", f"Token {token}")])
