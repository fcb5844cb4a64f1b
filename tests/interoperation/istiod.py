"""Our agent with a real istiod: ``python -m tests.interoperation.istiod``.

istiod runs on a real API server. The agent gets its certificate by the token of a pod, and Envoy its configuration by
the agent, in both forms of ADS. istiod is built from Istio's Go module, once, into the user's cache; with Go on the
PATH and nothing there yet, that takes some fifteen minutes of one processor, so this is no test of CI. istiod exchanges
no metadata here: the filters for that are in no Envoy but Istio's own.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from samples.control_plane import READY_TIMEOUT, free_port
from samples.process import ChildProcess
from samples.proxy import Pod, Proxy
from tests import inherited
from tests.cluster.api_server import ApiServer
from tests.cluster.build import build, caches, go
from tests.kubernetes.secure import SYSTEM, account_token, roots_of

ISTIO = "v0.0.0-20260827124520-eed52ebb66ad"
ROOT = Path(__file__).parents[2]
NAMESPACE = "shop"
OBJECTS = """
apiVersion: v1
kind: Service
metadata: {name: db}
spec: {ports: [{name: http, port: 80}], clusterIP: None, selector: {app: db}}
---
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec: {nodeName: node-1, containers: [{name: web, image: web}]}
"""
CLUSTER = "outbound|80||db.shop.svc.cluster.local"
METADATA = {"INTERCEPTION_MODE": "NONE", "UNPRIVILEGED_POD": "true", "CLUSTER_ID": "Kubernetes"}


def built() -> Path:
    """Return istiod's program, which is built where it is not there yet.

    Raises:
        CalledProcessError: Go cannot build it.
    """
    folder = caches() / "controlplane-istio" / ISTIO
    program = folder / "pilot-discovery"
    if not program.exists():
        package = f"istio.io/istio/pilot/cmd/pilot-discovery@{ISTIO}"
        variables = {**os.environ, "CGO_ENABLED": "0", "GOBIN": str(folder)}
        subprocess.run([go(), "install", "-ldflags=-s", package], check=True, env=variables)
    return program


@asynccontextmanager
async def istiod(cluster: ApiServer, folder: Path) -> AsyncIterator[str]:
    """Run istiod on an API server; yield the address of its secure port once it gives out its root."""
    http, secure = free_port(), free_port()
    command = [str(built()), "discovery", "--kubeconfig", str(cluster.kubeconfig), "--ctrlz_port", "0"]
    command += ["--httpAddr", f"127.0.0.1:{http}", "--secureGRPCAddr", f"127.0.0.1:{secure}"]
    command += [f"--{name}=127.0.0.1:{free_port()}" for name in ("grpcAddr", "httpsAddr", "monitoringAddr")]
    variables = {
        "POD_NAME": "istiod-1",
        "POD_NAMESPACE": SYSTEM,
        "ISTIOD_CUSTOM_HOST": "localhost",
        "PILOT_ENABLE_METADATA_EXCHANGE": "false",
        "PILOT_ENABLE_TELEMETRY_LABEL": "false",
    }
    process = ChildProcess("istiod", command, folder / "istiod.log", variables, folder=folder)
    await process.start()
    try:

        async def ready() -> bool:
            return bool(roots_of(cluster, NAMESPACE))

        await process.wait_until(ready, READY_TIMEOUT)
        yield f"localhost:{secure}"
    finally:
        await process.stop()


async def seen(cluster: ApiServer, address: str, folder: Path, *, delta: bool) -> str:
    """Run an agent as in the pod ``web``; return what its Envoy has, in a line for a person.

    Raises:
        ProcessFailedError: Envoy does not get its configuration.
    """
    mounted = folder / "var/run/secrets"
    (mounted / "tokens").mkdir(parents=True)
    bound = ("--audience=istio-ca", "--bound-object-kind=Pod", "--bound-object-name=web")
    (mounted / "tokens/istio-token").write_text(account_token(cluster, NAMESPACE, *bound))
    (mounted / "istio").mkdir()
    (mounted / "istio/root-cert.pem").write_text(roots_of(cluster, NAMESPACE))
    config = {"discoveryAddress": address}
    variables = {"ISTIO_DELTA_XDS": str(delta).lower()}
    proxy = Proxy(Pod("web", NAMESPACE, service_account="default", metadata=METADATA), folder, config, variables)
    await proxy.start()
    try:
        await proxy.wait_ready()
        _, certificates = await proxy.ask(proxy.ports.admin, "/certs")
        _, clusters = await proxy.ask(proxy.ports.admin, "/clusters?format=json")
        names = [each["name"] for each in json.loads(clusters)["cluster_statuses"]]
        chains = [each["cert_chain"] for each in json.loads(certificates)["certificates"] if each.get("cert_chain")]
        if CLUSTER not in names or not chains or await proxy.rejected():
            raise RuntimeError(f"clusters {names}, chains {chains}, refused {await proxy.rejected()}")
        (name,) = chains[0][0]["subject_alt_names"]
        return f"ready, {len(names)} clusters, certificate of {name['uri']}, nothing refused"
    finally:
        await proxy.stop()


async def main() -> None:
    """Show both forms."""
    build(node=False)
    with tempfile.TemporaryDirectory(prefix="istiod-") as text:
        folder = Path(text)
        (folder / "kube").mkdir()
        cluster = ApiServer(folder / "kube")
        cluster.start()
        try:
            cluster.kubectl("apply", "--server-side", "-k", str(ROOT / "crds"))
            for name in (SYSTEM, NAMESPACE):
                cluster.kubectl("create", "namespace", name)
            cluster.kubectl("-n", NAMESPACE, "apply", "-f", "-", text=OBJECTS)
            async with istiod(cluster, folder) as address:
                for delta in (True, False):
                    said = await seen(cluster, address, folder / f"delta-{delta}", delta=delta)
                    print("delta:" if delta else "state of the world:", said, flush=True)
        finally:
            cluster.stop()


if __name__ == "__main__":
    inherited.settle()
    sys.exit(asyncio.run(main()))
