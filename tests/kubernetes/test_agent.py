"""An agent as in a pod: it has a token and the roots of its namespace, and nothing else."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from samples.control_plane import READY_TIMEOUT
from samples.proxy import Pod, Proxy
from tests.cluster.api_server import ApiServer
from tests.kubernetes.secure import ControlPlane, account_token, roots_of

NAMESPACE = "agents"


@pytest.fixture
def control_plane(cluster: ApiServer, tmp_path: Path) -> Iterator[ControlPlane]:
    cluster.kubectl("create", "namespace", NAMESPACE)
    program = ControlPlane(cluster, tmp_path, "--no-plaintext")
    with program.running():
        program.until(lambda: bool(roots_of(cluster, NAMESPACE)))
        yield program


async def test_a_token_is_all_that_an_agent_needs(control_plane: ControlPlane, cluster: ApiServer) -> None:
    """It gets a certificate for the account of the token, and Envoy its configuration; another's token gets neither."""
    port = control_plane.secure.rpartition(":")[2]
    with tempfile.TemporaryDirectory(prefix="agent-") as name:
        for service_account, token in (("default", account_token(cluster, NAMESPACE)), ("other", "no token")):
            folder = Path(name) / service_account
            mounted = folder / "var/run/secrets"
            (mounted / "tokens").mkdir(parents=True)
            (mounted / "tokens/istio-token").write_text(token)
            (mounted / "istio").mkdir()
            (mounted / "istio/root-cert.pem").write_text(roots_of(cluster, NAMESPACE))
            metadata = {"INTERCEPTION_MODE": "NONE", "UNPRIVILEGED_POD": "true", "CLUSTER_ID": "Kubernetes"}
            pod = Pod("web", NAMESPACE, service_account=service_account, metadata=metadata)
            proxy = Proxy(pod, folder, {"discoveryAddress": f"localhost:{port}"})
            await proxy.start()
            try:
                if service_account == "other":

                    async def refused(proxy: Proxy = proxy) -> bool:
                        said = proxy.process.said
                        return said("agent.certificate_missing") and said("agent.control_plane_ended")

                    await proxy.process.wait_until(refused, READY_TIMEOUT)
                    assert proxy.process.said("UNAUTHENTICATED")
                    assert not await proxy.is_ready()
                    continue
                await proxy.wait_ready()
                events = [
                    json.loads(line) for line in proxy.process.log_path.read_text().splitlines() if line[0] == "{"
                ]
                (received,) = (each for each in events if each["event"] == "agent.certificate_received")
                assert received["identity"] == f"spiffe://cluster.local/ns/{NAMESPACE}/sa/default"
                assert await proxy.rejected() == {}
            finally:
                await proxy.stop()
    signed = control_plane.said["security.certificate_signed"]
    assert (signed["identity"], signed["by"]) == (f"spiffe://cluster.local/ns/{NAMESPACE}/sa/default", "token")
