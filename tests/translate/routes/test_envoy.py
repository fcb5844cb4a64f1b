"""A stock Envoy takes a route configuration with every feature in it."""

from __future__ import annotations

import pytest

from tests.envoy.validate import validate
from tests.translate.routes.world import World, istio, service, virtual_service

pytestmark = pytest.mark.slow

EVERYTHING = r"""
hosts: [a, nobody.com, '*.wild.com']
http:
- {name: redirect, match: [{uri: {exact: /r}}], redirect: {uri: /x, authority: b.com, scheme: https, port: 8443}}
- {match: [{uri: {prefix: /p}}], redirect: {prefixRewrite: /q, redirectCode: 308, derivePort: FROM_REQUEST_PORT}}
- {match: [{uri: {exact: /d}}], directResponse: {status: 503, body: {string: sorry}}}
- match:
  - name: all
    uri: {regex: '/a/(.*)'}
    ignoreUriCase: true
    method: {exact: GET}
    authority: {prefix: a}
    scheme: {exact: http}
    headers: {x: {exact: '1'}, y: {prefix: a}, z: {regex: 'b+'}, w: {}}
    withoutHeaders: {v: {exact: '1'}, u: {regex: '*'}}
    queryParams: {q: {exact: '1'}, r: {regex: '.+'}}
    statPrefix: all
  rewrite: {uriRegexRewrite: {match: '/a/(.*)', rewrite: '/b/\1'}, authority: c.com}
  headers: {request: {set: {a: b}, add: {c: d}, remove: [e]}, response: {set: {a: b}, add: {c: d}, remove: [e]}}
  route:
  - {destination: {host: a, subset: v1}, weight: 30, headers: {request: {set: {host: x.com}}}}
  - {destination: {host: a, port: {number: 81}}, weight: 70, headers: {response: {remove: [y]}}}
  timeout: 3s
  retries: {attempts: 3, perTryTimeout: 1s, retryOn: '503,reset', retryRemoteLocalities: true, backoff: 30ms}
  mirrors: [{destination: {host: copy}, percentage: {value: 0.01}}]
  corsPolicy: {allowOrigins: [{exact: '*'}, {regex: 'a.*'}], allowMethods: [GET], maxAge: 1m, allowCredentials: false}
  fault: {delay: {fixedDelay: 1s, percentage: {value: 1}}, abort: {grpcStatus: ABORTED, percentage: {value: 0.1}}}
- {match: [{uri: {prefix: /h}}], route: [{destination: {host: hashed}}], rewrite: {uri: /i}}
- {route: [{destination: {host: a}}], mirror: {host: copy}, mirrorPercentage: {value: 50}}
"""
COOKIE = "{name: c, ttl: 0s, path: /, attributes: [{name: SameSite, value: Strict}]}"
HASH = f"{{host: hashed, trafficPolicy: {{loadBalancer: {{consistentHash: {{httpCookie: {COOKIE}}}}}}}}}"


@pytest.mark.parametrize("name", ["80", "http_proxy", "a.default.svc.cluster.local:80", "nonsense"])
def test_stock_envoy_takes_every_feature(name: str) -> None:
    world = World(
        service("a"),
        service("hashed"),
        service("headless", clusterIP="None"),
        virtual_service("v", EVERYTHING),
        istio("DestinationRule", "hashed", HASH),
    )
    assert validate([world.resource(name)]) is None
