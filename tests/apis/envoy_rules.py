"""Rules that Envoy has and Istio does not: what Envoy would refuse a whole listener, cluster or configuration for."""

from __future__ import annotations

import base64
from typing import Any

from tests.apis.specs import TO_A, Rows, entry, https, policy, route

HTTP = "spec.http[0]"
HASH = "spec.trafficPolicy.loadBalancer.consistentHash"
HEX = "ab" * 32
PIN = base64.b64encode(b"x" * 32).decode()


def response(value: str) -> dict[str, Any]:
    return route(headers={"response": {"set": {"x": value}}})


def redirect(**fields: Any) -> dict[str, Any]:
    return {"hosts": ["a"], "http": [{"redirect": fields}]}


def hashing(**fields: Any) -> dict[str, Any]:
    return policy(loadBalancer={"consistentHash": fields})


def sni(host: str) -> dict[str, Any]:
    return {"hosts": [host], "tls": [{"match": [{"sniHosts": [host]}], "route": TO_A}]}


def shares(*weights: int) -> dict[str, Any]:
    return route(route=[{"destination": {"host": f"a{index}"}, "weight": each} for index, each in enumerate(weights)])


def on(path: str) -> dict[str, Any]:
    return {"rules": [{"to": [{"operation": {"paths": [path]}}]}]}


def simple(**fields: Any) -> dict[str, Any]:
    return https(mode="SIMPLE", credentialName="c", **fields)


def port(number: int, protocol: str = "TCP") -> dict[str, Any]:
    return {"ports": [{"number": number, "name": "p", "protocol": protocol}]}


GOOD: dict[str, list[dict[str, Any]]] = {
    "VirtualService": [
        response("%DOWNSTREAM_REMOTE_ADDRESS% of %REQ(x?y):10%, 100%%"),
        response("%START_TIME(%Y-%m-%d)%"),
        response("x" * 16384),
        route(match=[{"uri": {"regex": r"/[\x{e9}]+"}}]),
        redirect(uri="/a b"),
        shares(2**31 - 1, 2**31 - 1, 1),
        sni("*.foo.com"),
    ],
    "DestinationRule": [
        hashing(useSourceIp=True, ringHash={"minimumRingSize": 8388608}),
        hashing(httpCookie={"name": "s", "ttl": "0s"}),
    ],
    "Gateway": [
        simple(verifyCertificateHash=[HEX, ":".join(["AB"] * 32)], verifyCertificateSpki=[PIN]),
        simple(ecdhCurves=["X25519", "P-256"]),
    ],
    "ServiceEntry": [entry(**port(15006), addresses=["10.0.0.1"])],
}

BAD: dict[str, Rows] = {
    "VirtualService": {
        "unknown-command": (response("%KUBERNETES_POD%"), f"{HTTP}.headers.response.set.x: %KUBERNETES_POD% is no"),
        "command-without-parameter": (response("%REQ%"), f"{HTTP}.headers.response.set.x"),
        "command-with-length": (response("%PROTOCOL:5%"), f"{HTTP}.headers.response.set.x"),
        "plain-percent": (response("100%"), f"{HTTP}.headers.response.set.x"),
        "long-header": (response("x" * 16385), f"{HTTP}.headers.response.set.x"),
        "destination-command": (
            route(
                route=[{"destination": {"host": "a"}, "headers": {"request": {"add": {"x": "%POD%"}}}}],
            ),
            f"{HTTP}.route[0].headers.request.add.x",
        ),
        "code-point": (route(match=[{"uri": {"regex": r"[\x{4e00}-\x{9fa5}]+"}}]), f"{HTTP}.match[0].uri.regex"),
        "large-program": (route(match=[{"headers": {"x": {"regex": ".{1000}" * 17}}}]), f"{HTTP}.match[0].headers.x"),
        "line-break-in-rewrite": (route(rewrite={"uri": "/x\ny"}), f"{HTTP}.rewrite.uri"),
        "line-break-in-authority": (route(rewrite={"authority": "x\ry"}), f"{HTTP}.rewrite.authority"),
        "line-break-in-substitution": (
            route(rewrite={"uriRegexRewrite": {"match": "a", "rewrite": "x\ny"}}),
            f"{HTTP}.rewrite.uriRegexRewrite.rewrite",
        ),
        "line-break-in-redirect": (redirect(uri="/x\ny"), f"{HTTP}.redirect.uri"),
        "nul-in-redirect": (redirect(authority="x\0y"), f"{HTTP}.redirect.authority"),
        "weights": (shares(2**31 - 1, 2**31 - 1, 2**31 - 1), f"{HTTP}.route"),
        "partial-sni": (sni("*foo.com"), "spec.tls[0].match[0].sniHosts[0]"),
    },
    "DestinationRule": {
        "ring": (hashing(useSourceIp=True, ringHash={"minimumRingSize": 8388609}), f"{HASH}.ringHash.minimumRingSize"),
        "old-ring": (hashing(useSourceIp=True, minimumRingSize=8388609), f"{HASH}.minimumRingSize"),
        "cookie": (hashing(httpCookie={"name": "s", "ttl": "-1s"}), f"{HASH}.httpCookie.ttl"),
    },
    "Gateway": {
        "digest": (simple(verifyCertificateHash=["zz" * 32]), "spec.servers[0].tls.verifyCertificateHash[0]"),
        "short-digest": (simple(verifyCertificateHash=["ab"]), "spec.servers[0].tls.verifyCertificateHash[0]"),
        "pin": (simple(verifyCertificateSpki=["zz"]), "spec.servers[0].tls.verifyCertificateSpki[0]"),
        "short-pin": (
            simple(verifyCertificateSpki=[base64.b64encode(b"x" * 31).decode()]),
            "spec.servers[0].tls.verifyCertificateSpki[0]",
        ),
    },
    "AuthorizationPolicy": {
        f"template-{name}": (on(path), "spec.rules[0].to[0].operation.paths[0]")
        for name, path in (("alone", "{*}"), ("without-slash", "a/{**}"), ("two-slashes", "//{*}"), ("end", "/{*}//"))
    },
}

WARNED: dict[str, Rows] = {
    "Gateway": {
        "names-of-nobody": (simple(subjectAltNames=["x"]), "spec.servers[0].tls.subjectAltNames"),
        "curve": (simple(ecdhCurves=["P-224"]), "spec.servers[0].tls.ecdhCurves[0]"),
    },
    "ServiceEntry": {"own-port": (entry(**port(15006)), "spec.ports[0].number")},
}
