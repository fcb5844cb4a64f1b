"""The chapters of the walk-through about leading traffic: versions, faults, the way in."""

from __future__ import annotations

from tests.walkthrough.steps import MANIFESTS, Chapter, Step, apply

_CURL = "kubectl -n shop exec deploy/toolbox -- curl -sS"
_ROLLED_OUT = r"successfully rolled out"
_ADDRESS = "$(kubectl -n shop get service gateway -o jsonpath='{.spec.clusterIP}')"

CANARY = Chapter(
    "canary",
    "Two versions",
    (
        apply("web-v2", text="A second version of `web`."),
        apply("canary"),
        Step("kubectl -n shop rollout status deployment/web-v2 --timeout=180s", shows=(_ROLLED_OUT,)),
        Step(
            f"{_CURL} -H 'x-user: tester' http://web",
            "Testers get it,",
            (r"^web v2, called by",),
        ),
        Step(
            "kubectl -n shop exec deploy/toolbox -- sh -c "
            "'for n in $(seq 100); do curl -sS http://web; done | sort | uniq -c'",
            "and one in five of all others.",
            (r"web v1", r"web v2"),
        ),
    ),
)

FAULTS = Chapter(
    "faults",
    "Faults on purpose",
    (
        apply("faults", text="How does an application behave when another is late, or fails?"),
        Step(
            f"{_CURL} -H 'x-fault: error' -w ' %{{http_code}}\\n' http://web",
            shows=(r"^fault filter abort 418$",),
        ),
        Step(
            f"{_CURL} -H 'x-fault: late' -o /dev/null -w '%{{http_code}} after %{{time_total}} s\\n' http://web",
            shows=(r"^200 after (?:[2-9]|\d\d)",),
        ),
        Step(f"kubectl -n shop delete -f {MANIFESTS}/faults.yaml"),
    ),
)

ENTRANCE = Chapter(
    "entrance",
    "The way in",
    (
        apply("gateway", text="A gateway is a pod that is nothing but a proxy."),
        Step("kubectl -n shop rollout status deployment/gateway --timeout=180s", shows=(_ROLLED_OUT,)),
        Step(
            "mkdir -p build\n"
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=shop.example.com "
            "-addext subjectAltName=DNS:shop.example.com -keyout build/shop.key -out build/shop.pem 2> /dev/null",
            "A certificate for its host, in a Secret.",
        ),
        Step("kubectl -n shop create secret tls shop-tls --key build/shop.key --cert build/shop.pem"),
        apply("entrance", text="What is let in: one host, whose path `/store` leads to `web`."),
        Step(
            f"curl -sS --noproxy '*' -H 'Host: shop.example.com' http://{_ADDRESS}/store",
            "Typed on the node, which reaches addresses of Services; elsewhere take that of your load balancer.",
            (r"^web v[12], called by spiffe://cluster\.local/ns/shop/sa/gateway$",),
        ),
        Step(
            f"curl -sS --noproxy '*' --cacert build/shop.pem --connect-to shop.example.com:443:{_ADDRESS}:443 "
            "https://shop.example.com/store",
            "The same by HTTPS.",
            (r"^web v[12], called by spiffe://cluster\.local/ns/shop/sa/gateway$",),
        ),
        Step(
            f"curl -sS --noproxy '*' -o /dev/null -w '%{{http_code}}\\n' -H 'Host: other.example.com' http://{_ADDRESS}/",
            "Other hosts are not known.",
            (r"^404$",),
        ),
    ),
)

TRAFFIC = (CANARY, FAULTS, ENTRANCE)
