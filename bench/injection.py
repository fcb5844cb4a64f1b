"""How long injection takes: of one pod alone, and over HTTPS with many pods at once, as 200 that are created together.

python -m bench.injection
"""

from __future__ import annotations

import asyncio
import json
import ssl
import tempfile
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

import aiohttp

from controlplane.injector.patch import patch
from controlplane.injector.settings import InjectorConfig, Settings
from controlplane.webhooks.injection import injection
from controlplane.webhooks.review import Webhook
from controlplane.webhooks.server import WebhookServer
from tests.webhooks.tls import Root

TEMPLATE = """
spec:
  containers:
  {{- range $at, $each := .Spec.Containers }}
  - name: {{ $each.Name }}
    env:
    - {name: AT, value: "{{ $at }}"}
    - {name: TEAM, value: {{ annotation $.ObjectMeta `shop/team` `nobody` | upper | quote }}}
  {{- end }}
"""
CONFIG = InjectorConfig.parse(json.dumps({"templates": {"mine": TEMPLATE}}))
SETTINGS = Settings(config=CONFIG, namespace="shop")
TIMES = 300
PODS, AT_ONCE = 1000, 16
AIM_MILLISECONDS, AIM_PODS = 5, 100


def pod(**annotations: str) -> dict[str, Any]:
    """Return a pod of two containers with ports and probes."""
    probe = {"httpGet": {"path": "/ready", "port": "http"}}
    containers = [
        {
            "name": name,
            "image": f"registry.example/{name}:1",
            "ports": [{"name": "http", "containerPort": port}],
            "readinessProbe": probe,
            "livenessProbe": probe,
            "resources": {"requests": {"cpu": "100m"}},
            "env": [{"name": f"V{at}", "value": "x" * 20} for at in range(10)],
        }
        for name, port in (("app", 8080), ("side", 9090))
    ]
    metadata = {"generateName": "web-", "labels": {"app": "web"}, "annotations": annotations}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": containers}}


def milliseconds(given: dict[str, Any], times: int = TIMES) -> float:
    """Return the time of one injection, the mean of many."""
    patch(given, SETTINGS)
    started = perf_counter()
    for _ in range(times):
        patch(given, SETTINGS)
    return (perf_counter() - started) * 1000 / times


async def pods_a_second() -> float:
    """Return how many pods the webhook patches in a second, asked over 16 connections by this same process."""
    root, context = Root.new(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as folder:
        root.load(context, Path(folder))
    reviewer = injection(lambda namespace: replace(SETTINGS, namespace=namespace))
    server = WebhookServer(context, {"inject": Webhook(reviewer, is_slow=True, answers_nonsense=True)})
    port = await server.start("127.0.0.1", 0)
    request = {"uid": "u", "operation": "CREATE", "namespace": "shop", "object": pod()}
    review = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}
    body, left = json.dumps(review).encode(), iter(range(PODS))
    trusted = aiohttp.TCPConnector(ssl=ssl.create_default_context(cadata=root.pem), limit=AT_ONCE)

    async def ask(session: aiohttp.ClientSession) -> None:
        for _ in left:
            headers = {"Content-Type": "application/json"}
            async with session.post(f"https://127.0.0.1:{port}/inject", data=body, headers=headers) as answer:
                if not json.loads(await answer.read())["response"]["allowed"]:
                    raise RuntimeError("a pod was refused")

    try:
        async with aiohttp.ClientSession(connector=trusted) as session:
            started = perf_counter()
            await asyncio.gather(*(ask(session) for _ in range(AT_ONCE)))
            return PODS / (perf_counter() - started)
    finally:
        await server.stop()


def main() -> None:
    """Print the figures."""
    large = pod()
    large["spec"]["containers"][0]["env"] = [{"name": f"V{at}", "value": "x" * 90} for at in range(9000)]
    rows = (
        ("a pod", milliseconds(pod()), f"ms, aim {AIM_MILLISECONDS}"),
        ("with a template of the user's", milliseconds(pod(**{"inject.istio.io/templates": "sidecar,mine"})), "ms"),
        ("injected again", milliseconds(pod(**{"sidecar.istio.io/status": '{"containers":["istio-proxy"]}'})), "ms"),
        ("a pod of a megabyte", milliseconds(large, 5), "ms"),
        ("over HTTPS", asyncio.run(pods_a_second()), f"pods a second, aim {AIM_PODS}"),
    )
    for name, figure, unit in rows:
        print(f"{name:<32}{figure:8.2f} {unit}")


if __name__ == "__main__":
    main()
