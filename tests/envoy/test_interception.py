"""Intercepted traffic between two pods: plain HTTP to a service address, mutual TLS on the wire."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from samples.authority import LocalAuthority, spiffe_id
from samples.backends import Backend
from samples.control_plane import ControlPlane
from samples.proxy import mount_certificates
from tests.envoy.mesh import eventually, print_logs, write
from tests.envoy.pods import APP_PORT, HOST_ADDRESS, PROXY_UID, Pod, Site, curl, fabric, pod

SERVICE_ADDRESS = "10.96.0.10"


def kube(kind: str, name: str, api_version: str = "v1", **rest: Any) -> dict[str, Any]:
    """Return an object of the namespace ``default``; ``labels`` go to its metadata."""
    metadata = {"name": name, "namespace": "default", "labels": rest.pop("labels", {})}
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **rest}


def kube_pod(name: str, address: str) -> dict[str, Any]:
    """Return a running pod with a sidecar."""
    return kube(
        "Pod",
        name,
        labels={"app": name, "security.istio.io/tlsMode": "istio"},
        spec={"serviceAccountName": name, "containers": [{"name": name, "ports": [{"containerPort": APP_PORT}]}]},
        status={
            "phase": "Running",
            "podIP": address,
            "podIPs": [{"ip": address}],
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    )


def objects(client: str, server: str) -> list[dict[str, Any]]:
    """Return two pods, and the service ``server`` in front of one of them."""
    endpoint = {
        "addresses": [server],
        "conditions": {"ready": True},
        "targetRef": {"kind": "Pod", "name": "server", "namespace": "default"},
    }
    return [
        kube_pod("client", client),
        kube_pod("server", server),
        kube(
            "Service",
            "server",
            spec={
                "clusterIP": SERVICE_ADDRESS,
                "clusterIPs": [SERVICE_ADDRESS],
                "selector": {"app": "server"},
                "ports": [{"name": "http", "port": 80, "targetPort": APP_PORT}],
            },
        ),
        kube(
            "EndpointSlice",
            "server-1",
            "discovery.k8s.io/v1",
            labels={"kubernetes.io/service-name": "server"},
            addressType="IPv4",
            ports=[{"name": "http", "port": APP_PORT, "protocol": "TCP"}],
            endpoints=[endpoint],
        ),
    ]


@dataclass(frozen=True, slots=True)
class Cluster:
    """Two pods, and the directory that configures them."""

    client: Pod
    server: Pod
    config_dir: Path
    authority: LocalAuthority


@asynccontextmanager
async def running(*options: str) -> AsyncIterator[Cluster]:
    """Run the control plane on the host and the two pods; ``options`` tell how their traffic is led."""
    authority = LocalAuthority()
    with tempfile.TemporaryDirectory(prefix="pods-") as name:
        directory = Path(name)
        os.chown(directory, PROXY_UID, PROXY_UID)  # its Envoys make their sockets there
        config_dir = directory / "config"
        config_dir.mkdir()
        subnet = HOST_ADDRESS.rpartition(".")[0]
        write(config_dir / "pods.yaml", *objects(f"{subnet}.1", f"{subnet}.2"))
        try:
            async with AsyncExitStack() as stack:
                network = await stack.enter_async_context(fabric())
                control_plane = ControlPlane(config_dir, directory / "control-plane.log", xds_host=HOST_ADDRESS)
                stack.push_async_callback(control_plane.stop)
                await control_plane.start()
                site = Site(network, directory, control_plane.xds, authority)
                client = await stack.enter_async_context(pod(site, "client", 1, *options))
                server = await stack.enter_async_context(pod(site, "server", 2, *options))
                yield Cluster(client, server, config_dir, authority)
        finally:
            print_logs(directory)


async def certificate_header(pod: Pod) -> str:
    """Ask the service from a pod; return what its server was told of the client's certificate."""
    status, body = await pod.curl(f"http://{SERVICE_ADDRESS}/hello")
    assert status == 200, body
    answer = json.loads(body)
    assert (answer["version"], answer["path"]) == ("server", "/hello")
    return str(answer["headers"].get("x-forwarded-client-cert", ""))


@pytest.mark.usefixtures("pods")
@pytest.mark.parametrize("options", [(), ("--native-nftables",)], ids=["iptables", "nftables"])
async def test_a_request_between_pods_goes_through_both_sidecars_with_mutual_tls(options: tuple[str, ...]) -> None:
    """The application speaks plain HTTP to a service address; the server learns the client's verified identity."""
    async with running(*options) as cluster:
        client, server = cluster.client, cluster.server

        async def answers() -> bool:
            return (await client.curl(f"http://{SERVICE_ADDRESS}/"))[0] == 200

        await eventually(answers, "the service answers")
        assert f"URI={spiffe_id('default', 'client')}" in await certificate_header(client)
        # By name too, where the name is all the route has to go by.
        named = ("--resolve", f"server:80:{SERVICE_ADDRESS}")
        assert (await client.curl("http://server/", *named))[0] == 200
        # PERMISSIVE: whoever has no sidecar is served in plaintext, and has no identity.
        status, body = await curl(f"http://{server.address}:{APP_PORT}/")
        assert (status, json.loads(body)["headers"].get("x-forwarded-client-cert")) == (200, None)
        # What is not in the mesh is reached all the same: ALLOW_ANY.
        outsider = Backend("outsider", HOST_ADDRESS)
        await outsider.start()
        try:
            status, body = await client.curl(f"http://{HOST_ADDRESS}:{outsider.port}/")
            assert (status, json.loads(body)["version"]) == (200, "outsider")
        finally:
            await outsider.stop()

        await strict_refuses_plaintext(cluster)
        await a_rotated_certificate_is_used(cluster)


async def strict_refuses_plaintext(cluster: Cluster) -> None:
    """After PeerAuthentication STRICT only the mesh is served."""
    strict = kube("PeerAuthentication", "default", "security.istio.io/v1", spec={"mtls": {"mode": "STRICT"}})
    write(cluster.config_dir / "strict.yaml", strict)

    async def refused() -> bool:
        return (await curl(f"http://{cluster.server.address}:{APP_PORT}/"))[0] == 0

    await eventually(refused, "plaintext is refused")
    assert "spiffe://" in await certificate_header(cluster.client)


async def a_rotated_certificate_is_used(cluster: Cluster) -> None:
    """A new identity in the files that are mounted for the client is the one its next connections show.

    Connections that are open show the old one for as long as they last, so each request gets a connection of its own.
    """
    client = cluster.client
    own = {"connectionPool": {"http": {"maxRequestsPerConnection": 1}}}
    spec = {"host": "server.default.svc.cluster.local", "trafficPolicy": own}
    write(cluster.config_dir / "own.yaml", kube("DestinationRule", "server", "networking.istio.io/v1", spec=spec))
    mount_certificates(client.folder, cluster.authority, "default", "renamed")

    async def renamed() -> bool:
        return f"URI={spiffe_id('default', 'renamed')}" in await certificate_header(client)

    await eventually(renamed, "the new certificate is in use")
