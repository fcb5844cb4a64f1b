"""The chapters of the walk-through about leading traffic: versions, faults, the way in."""

from __future__ import annotations

from tests.walkthrough.steps import MANIFESTS, Chapter, Step, apply

_CURL = "kubectl -n shop exec deploy/toolbox -- curl -sS"
_ROLLED_OUT = r"successfully rolled out"
_ADDRESS = "$(kubectl -n istio-system get service istio-ingressgateway -o jsonpath='{.spec.clusterIP}')"
_TWENTY = (
    "kubectl -n shop exec deploy/toolbox -- sh -c 'for n in $(seq 20); do "
    'curl -sS -o /dev/null -w "%{http_code}\\n" http://web/sometimes; done | sort | uniq -c\''
)
_GATEWAY = r"^web v[12], called by spiffe://cluster\.local/ns/istio-system/sa/istio-ingressgateway\S*$"

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

RESILIENCE = Chapter(
    "resilience",
    "What fails, and what is slow",
    (
        Step(
            _TWENTY,
            "Every second request to `/sometimes` fails.",
            (r"^ +\d+ 200$", r"^ +\d+ 500$"),
        ),
        apply(
            "retries", text="Let the proxy of the caller try again; and let it wait no longer than 0.3 s for `/slow`."
        ),
        Step(
            _TWENTY,
            "Now the caller sees none of it,",
            (r"\A +20 200\n\Z",),
        ),
        Step(
            f"{_CURL} -w ' %{{http_code}}\\n' http://web/slow",
            "and has its answer in time, although it is not the one that it wished for.",
            (r"^upstream request timeout 504$",),
        ),
        Step(f"kubectl -n shop delete -f {MANIFESTS}/retries.yaml"),
        apply("breaker", text="A circuit breaker: who is slow is not asked by all at once."),
        Step(
            "kubectl -n shop exec deploy/toolbox -- sh -c 'for n in $(seq 10); do "
            'curl -sS -o /dev/null -w "%{http_code}\\n" http://web/slow & done | sort | uniq -c\'',
            "Ten at the same time: some are served, the others are refused.",
            (r"^ +\d+ 200$", r"^ +\d+ 503$"),
        ),
        Step(
            "kubectl -n shop logs deploy/toolbox -c istio-proxy | grep ' 503 ' | tail -n 1",
            "The proxy of the caller says why: `UO`, upstream overflow.",
            (r'"GET /slow HTTP/1.1" 503 UO ',),
        ),
        Step(f"kubectl -n shop delete -f {MANIFESTS}/breaker.yaml"),
    ),
)

ENTRANCE = Chapter(
    "entrance",
    "The way in",
    (
        Step(
            "mkdir -p build\n"
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=shop.example.com "
            "-addext subjectAltName=DNS:shop.example.com -keyout build/shop.key -out build/shop.pem 2> /dev/null",
            "The ingress gateway gets a certificate for the host of the shop, in a Secret.",
        ),
        Step("kubectl -n istio-system create secret tls shop-tls --key build/shop.key --cert build/shop.pem"),
        apply("entrance", text="What is let in: one host, whose path `/store` leads to `web`."),
        Step(
            f"curl -sS --noproxy '*' -H 'Host: shop.example.com' http://{_ADDRESS}/store",
            "Typed on the node, which reaches addresses of Services; elsewhere take that of your load balancer.",
            (_GATEWAY,),
        ),
        Step(
            f"curl -sS --noproxy '*' --cacert build/shop.pem --connect-to shop.example.com:443:{_ADDRESS}:443 "
            "https://shop.example.com/store",
            "The same by HTTPS.",
            (_GATEWAY,),
        ),
        Step(
            f"curl -sS --noproxy '*' -o /dev/null -w '%{{http_code}}\\n' -H 'Host: other.example.com' http://{_ADDRESS}/",
            "Other hosts are not known.",
            (r"^404$",),
        ),
    ),
)

EXIT = Chapter(
    "exit",
    "The way out",
    (
        apply(
            "elsewhere", "outside", "Something outside of the mesh, and a host name for it that no name server knows."
        ),
        Step("kubectl -n outside rollout status deployment/elsewhere --timeout=120s", shows=(_ROLLED_OUT,)),
        Step(f"{_CURL} http://news.example.com", shows=(r"curl: \(6\)",), fails=True),
        apply("news", text="A ServiceEntry makes it a service of the mesh: proxies answer for its name,"),
        Step(f"{_CURL} http://news.example.com", shows=(r"^news from elsewhere$",)),
        Step(
            "kubectl -n shop logs deploy/toolbox -c istio-proxy | grep 'outbound|80||news' | tail -n 1",
            "and lead requests to it.",
            (r'"GET / HTTP/1.1" 200 ',),
        ),
        apply("exit", text="Who wants to watch, or to guard, what leaves lets it go through a gateway:"),
        Step(
            f"{_CURL} http://news.example.com > /dev/null\n"
            "kubectl -n istio-system logs deploy/istio-egressgateway | grep 'GET /'",
            "The request comes to the gateway by mutual TLS, and goes on to `elsewhere` in plain text.",
            (r'"GET / HTTP/\S+" 200 .*outbound\|80\|\|news\.example\.com',),
        ),
        Step(f"{_CURL} http://news.example.com", shows=(r"^news from elsewhere$",)),
    ),
)

TRAFFIC = (CANARY, FAULTS, RESILIENCE, ENTRANCE, EXIT)
