"""Everything but the source and the compiler fails again and again, on a real API server: proxies notice nothing.

``FAILING_SECONDS`` says for how long; a few seconds are enough for each work to fail many times, in every state.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.cli.command import ROOT, run
from tests.cluster.api_server import ApiServer
from tests.feature.client import EDS, Client, Proof, Variant, connected
from tests.feature.failing import REASON
from tests.feature.server import Server
from tests.kubernetes.objects import Writer
from tests.kubernetes.secure import account_token, roots_of
from tests.kubernetes.test_security import until
from tests.kubernetes.watching import SERVICES, SLICES, endpoint_slice

SECONDS = float(os.environ.get("FAILING_SECONDS", "6"))
EVENTUALLY_SECONDS = 240
LED = ("root certificates", "conditions", "events", "status of Ingresses", "automatic addresses", "removal of machines")
WORKS = (
    "certificates and the clock",
    "ends of certificates",
    "authority",
    "event loop probe",
    "findings",
    "key sets of issuers",
    "keys of tokens",
    "webhook configuration",
    "injection configuration",
    "names of gateways",
    "registration of machines",
    "share of proxies",
    *LED,
    *(f"election for {name}" for name in LED),
)
CART = "outbound|80||cart.shop.svc.cluster.local"
OTHER = "sidecar~10.9.0.2~client-2.shop~shop.svc.cluster.local"
NEW = "sidecar~10.9.0.3~client-3.shop~shop.svc.cluster.local"
ENTRIES = "/apis/networking.istio.io/v1/namespaces/shop/serviceentries"
ENTRY = {
    "apiVersion": "networking.istio.io/v1",
    "kind": "ServiceEntry",
    "metadata": {"name": "db"},
    "spec": {
        "hosts": ["db.example.com"],
        "resolution": "DNS",
        "ports": [{"number": 5432, "name": "tcp", "protocol": "TCP"}],
    },
}


@contextmanager
def failing(cluster: ApiServer, folder: Path) -> Iterator[Server]:
    """Run the control plane with its fault on free loopback ports."""
    command = [sys.executable, "-m", "tests.feature.failing", "every_task_after_a_while", "serve"]
    command += ["--kubeconfig", str(cluster.kubeconfig)]
    for name in ("xds", "secure", "webhook", "monitoring"):
        command += [f"--{name}-port", "0"]
    command += ["--xds-bind", "127.0.0.1", "--log-format", "json", "--drain-period", "1s"]
    server = Server(folder, subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True))
    try:
        yield server
    finally:
        server.close()


async def moved(writer: Writer, client: Client, last: int) -> None:
    """Give the one endpoint another address, and wait until the proxy has it."""
    body = {"endpoints": endpoint_slice("cart", last)["endpoints"]}
    await writer.request("PATCH", f"{SLICES.format('shop')}/cart-x", body)
    await client.until(lambda: f'10.70.0.{last}"' in str(client.message(EDS, CART)), "the new address")


def often_enough(server: Server) -> bool:
    return all(len(server.logged("app.task_failed", task=name)) >= 3 for name in WORKS)


async def traffic(server: Server, writer: Writer, client: Client, proof: Proof) -> int:
    """Change the mesh and have newcomers join until all has failed often enough; return how many changes there were."""
    end = asyncio.get_running_loop().time() + SECONDS
    for number in itertools.count():
        await moved(writer, client, number % 200 + 1)
        if number % 10 == 0:
            async with connected(server.secure, node_id=NEW, proof=proof) as newcomer:
                assert newcomer.bodies() == client.bodies()
        now = asyncio.get_running_loop().time()
        if now > end and often_enough(server):
            return number
        if now > end + EVENTUALLY_SECONDS:
            break
    counts = {name: len(server.logged("app.task_failed", task=name)) for name in WORKS}
    raise AssertionError(f"failed too rarely: {counts}")


async def test_all_other_work_may_fail_in_a_loop_and_proxies_notice_nothing(
    own_kube_cluster: ApiServer, tmp_path: Path
) -> None:
    cluster = own_kube_cluster
    for name in ("istio-system", "shop"):
        cluster.kubectl("create", "namespace", name)
    cluster.kubectl("apply", "--server-side", "-k", str(ROOT / "crds"))
    cluster.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=120s")
    async with Writer(cluster) as writer:
        ports = {"ports": [{"name": "http", "port": 80, "targetPort": 8080}]}
        await writer.create(SERVICES.format("shop"), {"metadata": {"name": "cart"}, "spec": ports})
        await writer.create(SLICES.format("shop"), endpoint_slice("cart", 1))
        await writer.create(ENTRIES, ENTRY)
        with failing(cluster, tmp_path) as server:
            await server.event("root_certificates.written", namespace="shop")
            proof = Proof(roots_of(cluster, "shop"), account_token(cluster, "shop"))
            async with (
                connected(server.secure, proof=proof) as first,
                connected(server.secure, Variant.SOTW, OTHER, proof) as second,
            ):
                changes = await traffic(server, writer, first, proof)
                last = changes % 200 + 1
                await second.until(lambda: f'10.70.0.{last}"' in str(second.message(EDS, CART)), "the last address")
                assert second.bodies() == first.bodies()
                assert not first.ended.is_set()
                assert not second.ended.is_set()
            await until(lambda: "240.240." in _addresses(cluster))  # in the end all is done
            _, metrics = await server.get("/metrics")
            for name in WORKS:
                assert f'controlplane_task_failures_total{{task="{name}"}}' in metrics
            status = await run("status", "--address", server.monitoring)
            assert status.code == 0
            assert "Not working in the control plane:" in status.err
            assert f"RuntimeError: {REASON}" in status.err
            assert (await server.get("/ready"))[0] == 200
            assert server.logged("app.unawaited_failed") == []
            assert not server.logged("app.failed")
            assert {event["task"] for event in server.logged("app.task_failed")} == set(WORKS)
            assert all(REASON in event["exception"] for event in server.logged("app.task_failed"))
            server.terminate()
            assert await server.exit_code() == 0


def _addresses(cluster: ApiServer) -> str:
    return cluster.kubectl("-n", "shop", "get", "serviceentry", "db", "-o", "jsonpath={.status.addresses}")
