"""``serve`` as a process, its proxies and its cluster, while the API server is away."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.cli.command import ROOT, run
from tests.cluster.api_server import ApiServer
from tests.feature.client import EDS, Proof, connected
from tests.feature.server import Server
from tests.kubernetes.objects import Writer
from tests.kubernetes.secure import Tool, account_token, refusal, roots_of
from tests.kubernetes.watching import SERVICES, SLICES, endpoint_slice
from tests.patience import patience

CART = "outbound|80||cart.shop.svc.cluster.local"
OTHER = "sidecar~10.9.0.2~client-2.shop~shop.svc.cluster.local"


@contextmanager
def serving(cluster: ApiServer, folder: Path) -> Iterator[Server]:
    """Run the control plane on free loopback ports."""
    command = [sys.executable, "-m", "controlplane", "serve", "--kubeconfig", str(cluster.kubeconfig)]
    for name in ("xds", "secure", "webhook", "monitoring"):
        command += [f"--{name}-port", "0"]
    command += ["--xds-bind", "127.0.0.1", "--log-format", "json", "--drain-period", "1s"]
    server = Server(folder, subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True))
    try:
        yield server
    finally:
        server.close()


async def test_proxies_are_served_and_get_the_difference(own_kube_cluster: ApiServer, tmp_path: Path) -> None:
    """Those that are connected, and new ones whose token the cluster's keys vouch for; then what changed, alone."""
    cluster = own_kube_cluster
    for name in ("istio-system", "shop"):
        cluster.kubectl("create", "namespace", name)
    async with Writer(cluster) as writer:
        ports = {"ports": [{"name": "http", "port": 80, "targetPort": 8080}]}
        await writer.create(SERVICES.format("shop"), {"metadata": {"name": "cart"}, "spec": ports})
        await writer.create(SLICES.format("shop"), endpoint_slice("cart", 1))
        with serving(cluster, tmp_path) as server:
            await server.event("root_certificates.written", namespace="shop")
            roots = roots_of(cluster, "shop")
            known, unseen = (Proof(roots, account_token(cluster, "shop")) for _ in range(2))
            wrong = Tool(cluster, server.secure, "shop", account_token(cluster, "shop", "--audience=others"))
            async with connected(server.secure, proof=known) as first:
                cluster.api.stop()
                await server.event("watchers.api_server_away")
                async with connected(server.secure, node_id=OTHER, proof=unseen) as second:
                    assert second.bodies() == first.bodies()
                    with wrong:
                        code, reason = refusal(wrong)
                    assert code == "UNAUTHENTICATED"
                    assert "its audience is others" in reason
                    told = await run("status", "--address", server.monitoring)
                    assert "The API server has not answered since 20" in told.err
                    _, page = await server.get("/metrics")
                    assert "controlplane_api_server_away_seconds 0.0\n" not in page
                    assert told.out.count("SYNCED") == 8
                    del first.responses[:], second.responses[:]
                    cluster.api.start()
                    await asyncio.to_thread(cluster.wait_ready)
                    before = first.copy()
                    change = {"endpoints": endpoint_slice("cart", 7)["endpoints"]}
                    await writer.request("PATCH", f"{SLICES.format('shop')}/cart-x", change)
                    for proxy in (first, second):
                        await proxy.until(lambda proxy=proxy: proxy.held[EDS][CART] != before[EDS][CART])  # type: ignore[misc]
                        assert proxy.responses == [EDS]
            async with patience():
                while (await run("status", "--address", server.monitoring)).err:
                    await asyncio.sleep(0.1)
            _, page = await server.get("/metrics")
            assert "controlplane_api_server_away_seconds 0.0\n" in page
