"""Pictures of the page for the documents: ``make screenshots`` writes ``docs/images/*.png``.

The mesh is a small shop, with proxies of which one refuses what it is sent.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from tests.cli.command import ROOT
from tests.feature.client import LDS, Variant, connected
from tests.feature.objects import NETWORKING, Json, manifest
from tests.feature.server import serving
from tests.ui.browser import CHROMIUM, DESKTOP, PHONE, browsing

IMAGES = ROOT / "docs" / "images"
HOSTS = {"frontend": 1, "productpage": 2, "reviews": 3, "ratings": 4, "details": 5}
REFUSAL = (
    "Error adding/updating listener(s) 0.0.0.0_9080: Unable to parse JSON as proto (INVALID_ARGUMENT: invalid name"
    " threshold: Cannot find field.)"
)
SHOTS = {
    "overview": ("/ui", DESKTOP, False),
    "proxy": ("/ui/proxies/details-0.shop", DESKTOP, False),
    "object": ("/ui/objects/VirtualService/shop/old-reviews", DESKTOP, False),
    "topology": ("/ui/topology", DESKTOP, True),
    "explain": (
        "/ui/explain?from=pod/shop/productpage&method=GET&url=http%3A%2F%2Freviews%3A9080%2Fapi&header=end-user%3A+jason",
        DESKTOP,
        False,
    ),
    "plan": ("/ui/plan?object=VirtualService/shop/reviews", DESKTOP, False),
    "phone": ("/ui", PHONE, True),
}
"""Name -> address, size, and whether it is dark."""


def _service(name: str, number: int, namespace: str = "shop") -> list[Json]:
    spec = {"clusterIP": f"10.96.0.{number}", "selector": {"app": name}, "ports": [{"name": "http", "port": 9080}]}
    found = [manifest("v1", "Service", name, namespace, spec=spec)]
    versions = ("v1", "v2") if name == "reviews" else ("v1",)
    endpoints = []
    for place, version in enumerate(versions):
        address, pod = f"10.8.{place}.{number}", f"{name}-{place}"
        held = manifest(
            "v1",
            "Pod",
            pod,
            namespace,
            spec={"serviceAccountName": name, "containers": [{"name": "app", "image": name}]},
            status={"podIP": address, "podIPs": [{"ip": address}], "phase": "Running"},
        )
        held["metadata"]["labels"] = {"app": name, "version": version, "security.istio.io/tlsMode": "istio"}
        found.append(held)
        target = {"kind": "Pod", "name": pod, "namespace": namespace}
        endpoints.append({"addresses": [address], "conditions": {"ready": True}, "targetRef": target})
    ports = [{"name": "http", "port": 9080, "protocol": "TCP"}]
    held = manifest(
        "discovery.k8s.io/v1", "EndpointSlice", name, namespace, addressType="IPv4", ports=ports, endpoints=endpoints
    )
    held["metadata"]["labels"] = {"kubernetes.io/service-name": name}
    return [*found, held]


def _route(host: str, *choices: tuple[str, str, int], **match: Any) -> Json:
    held = [{"destination": {"host": host, "subset": subset}, "weight": weight} for host, subset, weight in choices]
    for each in held:
        if not each["destination"]["subset"]:  # type: ignore[index]
            del each["destination"]["subset"]  # type: ignore[attr-defined]
    return {"name": f"{host}-{choices[0][1] or 'all'}", "route": held, **match}


def mesh() -> list[Json]:
    """Return the shop."""
    subsets = [{"name": version, "labels": {"version": version}} for version in ("v1", "v2")]
    jason = {"match": [{"headers": {"end-user": {"exact": "jason"}}}]}
    old = manifest(
        NETWORKING,
        "VirtualService",
        "old-reviews",
        spec={"hosts": ["reviews"], "http": [_route("reviews", ("reviews", "v1", 100))]},
    )
    old["metadata"]["creationTimestamp"] = "2026-05-01T00:00:00Z"
    servers = [{"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": ["shop.example.com"]}]
    policies = {
        "reviews": ["productpage"],
        "ratings": ["reviews"],
        "charge": ["frontend"],
    }
    return [
        *(each for name, number in HOSTS.items() for each in _service(name, number)),
        *_service("charge", 9, "pay"),
        manifest(NETWORKING, "Gateway", "public", spec={"selector": {"istio": "ingressgateway"}, "servers": servers}),
        manifest(
            NETWORKING,
            "VirtualService",
            "shop",
            spec={
                "hosts": ["shop.example.com"],
                "gateways": ["public"],
                "http": [_route("frontend", ("frontend", "", 0))],
            },
        ),
        manifest(NETWORKING, "DestinationRule", "reviews", spec={"host": "reviews", "subsets": subsets}),
        manifest(
            NETWORKING,
            "VirtualService",
            "reviews",
            spec={
                "hosts": ["reviews"],
                "http": [
                    _route("reviews", ("reviews", "v2", 100), **jason),
                    _route("reviews", ("reviews", "v1", 90), ("reviews", "v2", 10), timeout="3s"),
                ],
            },
        ),
        old,
        *(
            manifest(
                "security.istio.io/v1",
                "AuthorizationPolicy",
                f"{name}-callers",
                "pay" if name == "charge" else "shop",
                spec={
                    "selector": {"matchLabels": {"app": name}},
                    "rules": [
                        {"from": [{"source": {"principals": [f"cluster.local/ns/shop/sa/{each}" for each in callers]}}]}
                    ],
                },
            )
            for name, callers in policies.items()
        ),
    ]


async def main(images: Path) -> None:
    """Take all of them."""
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder), *mesh()) as server:
        async with AsyncExitStack() as stack:
            for name, number in HOSTS.items():
                node = f"sidecar~10.8.0.{number}~{name}-0.shop~shop.svc.cluster.local"
                client = await stack.enter_async_context(connected(server.xds, Variant.DELTA, node))
            await client.refuse(LDS, REFUSAL)
            for name, (address, size, dark) in SHOTS.items():
                async with browsing(server.monitoring, size, dark=dark) as context:
                    page = await context.new_page()
                    await page.goto(address)
                    if name == "plan":
                        text = page.get_by_label("New and changed objects, as YAML")
                        await text.fill(
                            (await text.input_value()).replace("weight: 90", "weight: 50", 1).replace("v2", "v3")
                        )
                        await page.get_by_role("button", name="Plan").click()
                        await page.get_by_text("Nothing was applied.").wait_for()
                    await page.screenshot(path=images / f"{name}.png")


if __name__ == "__main__":
    if not CHROMIUM:
        sys.exit("There is no Chromium here: `make chromium` as root installs it.")
    IMAGES.mkdir(exist_ok=True)
    asyncio.run(main(IMAGES))
