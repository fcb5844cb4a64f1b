"""The walk-through: what a newcomer types, in the order in which it is needed."""

from __future__ import annotations

from tests.walkthrough.steps import MANIFESTS, Chapter, Step, apply
from tests.walkthrough.traffic import TRAFFIC

ROLLED_OUT = r"successfully rolled out"
WEB_POD = "$(kubectl -n shop get pods -l app=web -o name)"
CURL = "kubectl -n shop exec deploy/toolbox -- curl -sS"
PROXY = "kubectl -n shop exec deploy/{} -c istio-proxy -- pilot-agent request GET config_dump"
ENDPOINTS = "kubectl -n shop exec deploy/toolbox -c istio-proxy -- pilot-agent request GET 'clusters?format=json'"
WEB = "outbound|80||web.shop.svc.cluster.local"
STATUS = "kubectl -n istio-system exec deploy/istiod -- python -m controlplane status"
SPIFFE = r"spiffe://cluster\.local/ns/shop/sa/"

INSTALL = Chapter(
    "install",
    "Install the control plane",
    (
        Step(
            f"cat {MANIFESTS}/mesh.yaml",
            "What is wanted is stated as for Istio: by a profile, files, and options (`--set`). `demo` is everything,\n"
            "small.",
        ),
        Step("controlplane precheck", "Is the cluster fit for it?", (r"^✔ ",), once=True),
        Step(
            f"controlplane install -y -f {MANIFESTS}/mesh.yaml",
            "It ends when everything is ready: when proxies are served, and the API server is answered, which asks\n"
            "about each new pod. The two gateways are pods that are nothing but a proxy.",
            (r"^✔ Installation complete$",),
            once=True,
        ),
        Step("kubectl -n istio-system get pods", shows=(r"(?s)egress.*1/1.*ingress.*1/1.*istiod.*1/1",)),
    ),
)

WITHOUT = Chapter(
    "without",
    "An application without the mesh",
    (
        Step("kubectl create namespace shop"),
        apply("shop", text="Two Deployments: `web`, which says who it is, and `toolbox`, which has `curl`."),
        Step("kubectl -n shop rollout status deployment/web --timeout=120s", shows=(ROLLED_OUT,)),
        Step("kubectl -n shop rollout status deployment/toolbox --timeout=120s", shows=(ROLLED_OUT,)),
        Step("kubectl -n shop get pods", "One container in each pod: no proxy.", (r"^web-\S+ +1/1 ",)),
        Step(f"{CURL} http://web", "They reach each other, in plain text.", (r"^web v1$",)),
    ),
)

INJECTION = Chapter(
    "injection",
    "Into the mesh",
    (
        Step(
            "kubectl label namespace shop istio-injection=enabled",
            "The label counts for pods that are made from now on, so the Deployments are restarted.",
        ),
        Step("kubectl -n shop rollout restart deployment"),
        Step("kubectl -n shop rollout status deployment/web --timeout=180s", shows=(ROLLED_OUT,)),
        Step("kubectl -n shop rollout status deployment/toolbox --timeout=180s", shows=(ROLLED_OUT,)),
        Step(
            "kubectl -n shop get pods -l app",
            "Two containers in each: the application and its proxy.",
            (r"\ANAME.*\ntoolbox-\S+ +2/2 +Running.*\nweb-\S+ +2/2 +Running.*\n\Z",),
        ),
        Step(
            "kubectl -n shop get pods -l app=web -o jsonpath='"
            '{range .items[*].spec.initContainers[*]}{.name}{"\\t"}{.image}{"\\t"}{.restartPolicy}{"\\t"}'
            '{.securityContext.runAsUser}{"\\n"}{end}\'',
            "What was added: `istio-init` leads the pod's traffic through the proxy; then `istio-proxy` runs as long\n"
            "as the pod, as a native sidecar: an init container that goes on. It is not root.",
            (
                r"^istio-init\s+controlplane/proxyv2:\S+\s+0$",
                r"^istio-proxy\s+controlplane/proxyv2:\S+\s+Always\s+1337$",
            ),
        ),
        Step(
            "kubectl -n shop debug --quiet --profile=netadmin --image=cluster.test/tools:1 --container=rules "
            f"{WEB_POD} -- iptables-save --table nat",
            "The rules in the pod, seen by a container beside it that may look at them:",
        ),
        Step(
            f"kubectl -n shop logs {WEB_POD} --container=rules",
            "What comes in goes to port 15006, what goes out to 15001, but for what the proxy (user 1337) sends.",
            (r"--to-ports 15006", r"--to-ports 15001", r"--uid-owner 1337", r"^COMMIT$"),
        ),
    ),
)

PATH_OF_A_REQUEST = Chapter(
    "path",
    "The path of a request",
    (
        Step(
            f"{CURL} http://web",
            "The caller's proxy and that of `web` proved to each other who they are: `web` is told who called.",
            (rf"^web v1, called by {SPIFFE}toolbox$",),
        ),
        Step(
            "kubectl -n shop logs deploy/toolbox -c istio-proxy | grep 'GET /'",
            "Both proxies saw the request: that of the caller on its way out,",
            (r'"GET / HTTP/1.1" 200 .*outbound\|80\|\|web\.shop\.svc\.cluster\.local',),
        ),
        Step(
            "kubectl -n shop logs deploy/web -c istio-proxy | grep 'GET /'",
            "and that of `web` on its way in.",
            (r'"GET / HTTP/1.1" 200 .*inbound\|8080\|\|',),
        ),
        Step(
            "POD=$(kubectl -n shop get pods -l app=web -o jsonpath='{.items[0].status.podIP}')\n"
            "openssl s_client -connect $POD:8080 -alpn istio < /dev/null 2> /dev/null "
            "| openssl x509 -noout -ext subjectAltName",
            "What `web` shows to who asks for TLS (typed on the node, which reaches pods): its name in the mesh.",
            (rf"URI:{SPIFFE}web",),
        ),
        Step(
            STATUS,
            "The control plane knows each proxy, and what it has acknowledged.",
            (r"^web-\S+\.shop +Kubernetes +(?:SYNCED[^A-Z]*){4}IGNORED",),
        ),
        Step(
            f"{PROXY.format('toolbox')} | controlplane proxy-config listener --port 80 -f -",
            "How the request found its way, from the configuration of the caller's proxy: a listener for port 80,",
            (r"\b80\b",),
        ),
        Step(
            f"{PROXY.format('toolbox')} | controlplane proxy-config route --name 80 -f - | grep -e NAME -e web",
            "in it a route for the host `web`,",
            (r"web\.shop",),
        ),
        Step(
            f"{PROXY.format('toolbox')} | controlplane proxy-config cluster --fqdn web.shop -f -",
            "which leads to a cluster,",
            (r"^web\.shop\.svc\.cluster\.local +80 ",),
        ),
        Step(
            f"{ENDPOINTS} | controlplane proxy-config endpoint --cluster '{WEB}' -f -",
            "which has the pod as its endpoint.",
            (r"^\d+\.\d+\.\d+\.\d+:8080 +HEALTHY +OK +outbound\|80\|\|web\.shop\.svc\.cluster\.local",),
        ),
    ),
)

PROTECTION = Chapter(
    "protection",
    "Protection",
    (
        Step("kubectl create namespace outside"),
        apply("toolbox", "outside", "A pod that is not in the mesh: its namespace has no label."),
        Step("kubectl -n outside rollout status deployment/toolbox --timeout=120s", shows=(ROLLED_OUT,)),
        Step(
            "kubectl -n outside exec deploy/toolbox -- curl -sS http://web.shop",
            "It is still answered, in plain text: proxies take both, until they are told otherwise.",
            (r"^web v1$",),
        ),
        apply("strict"),
        Step(
            "kubectl -n outside exec deploy/toolbox -- curl -sS http://web.shop",
            "Now it is refused,",
            (r"curl: \(\d+\)",),
            fails=True,
        ),
        Step(f"{CURL} http://web", "and who is in the mesh is not.", (rf"^web v1, called by {SPIFFE}toolbox$",)),
        apply("only-toolbox-reads", text="Which of them may do what is said by an AuthorizationPolicy."),
        Step(
            f"{CURL} -X POST -w ' %{{http_code}}\\n' http://web",
            "The toolbox of the shop may read, and do no more:",
            (r"RBAC: access denied", r"403$"),
        ),
        Step(f"{CURL} -w '%{{http_code}}\\n' http://web", shows=(r"^200$",)),
        Step(f"kubectl -n shop delete -f {MANIFESTS}/only-toolbox-reads.yaml"),
    ),
)

LOAD = Chapter(
    "load",
    "While requests go on",
    (
        Step(
            "kubectl -n shop exec deploy/toolbox -- python3 /programs/load.py start http://web",
            "The toolbox asks `web` again and again, a hundred times a second or so, in the background.",
        ),
        Step("kubectl -n istio-system rollout restart deployment/istiod", "Replace the control plane,"),
        Step("kubectl -n istio-system rollout status deployment/istiod --timeout=180s", shows=(ROLLED_OUT,)),
        Step("kubectl -n shop scale deployment/web --replicas=3", "scale `web` up"),
        Step("kubectl -n shop rollout status deployment/web --timeout=180s", shows=(ROLLED_OUT,)),
        Step("kubectl -n shop scale deployment/web --replicas=1", "and down again:"),
        Step(
            "kubectl -n shop get pods -l app=web,version=v1 --no-headers",
            shows=(r"\A\S+ +2/2 +Running[^\n]*\n\Z",),
        ),
        Step(
            "kubectl -n shop exec deploy/toolbox -- python3 /programs/load.py stop",
            "no request was lost.",
            (r"\A\d{2,} requests: 200\n\Z",),
            once=True,
        ),
    ),
)

REMOVAL = Chapter(
    "removal",
    "Take it away",
    (
        Step(
            "kubectl delete namespace shop outside", "The shop goes first: its pods were made by the injector's leave."
        ),
        Step("controlplane uninstall -y --purge", shows=(r"^✔ ",), once=True),
        Step(
            "kubectl get crds,mutatingwebhookconfigurations,validatingwebhookconfigurations",
            "Nothing is left.",
            (r"No resources found",),
        ),
    ),
)

STORY = (INSTALL, WITHOUT, INJECTION, PATH_OF_A_REQUEST, PROTECTION, *TRAFFIC, LOAD, REMOVAL)
