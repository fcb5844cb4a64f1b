"""``serve`` as a process that reads a cluster."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from typing import Any

import aiohttp

from tests.cli.command import ROOT
from tests.cluster.api_server import ApiServer
from tests.kubernetes.objects import service
from tests.patience import patience


async def _event(lines: asyncio.StreamReader, name: str) -> dict[str, Any]:
    seen = []
    async for line in lines:
        seen.append(line)
        event: dict[str, Any] = json.loads(line)
        if event["event"] == name:
            return event
    raise AssertionError(b"".join(seen).decode())


async def _hosts(session: aiohttp.ClientSession) -> set[str]:
    async with session.get("/debug/registryz") as response:
        return {each["hostname"] for each in await response.json()}


async def test_from_start_to_end(own_kube_cluster: ApiServer) -> None:
    """It serves what the cluster has, and goes on without its API server."""
    own_kube_cluster.kubectl("create", "namespace", "istio-system")  # where the root of its identity is kept
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "controlplane", "serve", "--kubeconfig", str(own_kube_cluster.kubeconfig)),
        *("--xds-bind", "127.0.0.1", "--xds-port", "0", "--monitoring-port", "0"),
        *("--secure-port", "0", "--webhook-port", "0"),
        cwd=ROOT,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    try:
        async with patience():
            address = (await _event(process.stderr, "app.serving"))["monitoring"]
        async with aiohttp.ClientSession(f"http://{address}") as session:
            async with session.get("/ready") as response:
                assert response.status == 200
            raw = json.dumps(service("cart"))
            await asyncio.to_thread(own_kube_cluster.kubectl, "apply", "-f", "-", text=raw)
            async with patience():
                while "cart.default.svc.cluster.local" not in await _hosts(session):
                    await asyncio.sleep(0.05)
            own_kube_cluster.api.stop()
            async with patience():
                await _event(process.stderr, "watchers.api_server_away")
            assert "cart.default.svc.cluster.local" in await _hosts(session)
            async with session.get("/ready") as response:
                assert response.status == 200
            async with session.get("/metrics") as response:
                page = await response.text()
        assert "controlplane_api_server_away_seconds 0.0\n" not in page
        assert 'controlplane_watch_listed{namespace="",resource="pods"} 1.0\n' in page
        process.send_signal(signal.SIGTERM)
        async with patience():
            await process.stderr.read()
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_it_stops_while_it_waits_for_the_first_list(own_kube_cluster: ApiServer) -> None:
    own_kube_cluster.api.stop()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "controlplane", "serve", "--kubeconfig", str(own_kube_cluster.kubeconfig)),
        *("--xds-bind", "127.0.0.1", "--xds-port", "0", "--monitoring-port", "0"),
        *("--secure-port", "0", "--webhook-port", "0"),
        cwd=ROOT,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    try:
        async with patience():
            await _event(process.stderr, "watchers.api_server_away")
            process.send_signal(signal.SIGTERM)
            await process.stderr.read()
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_root_certificates_are_for_the_namespaces_of_the_mesh(own_kube_cluster: ApiServer) -> None:
    """``discoverySelectors`` say where they are written, and a change of them is followed."""
    cluster = own_kube_cluster
    cluster.kubectl("create", "namespace", "istio-system")
    for name, zone in (("inside", "a"), ("outside", "b")):
        cluster.kubectl("create", "namespace", name)
        cluster.kubectl("label", "namespace", name, f"zone={zone}")
    _select(cluster, "matchLabels: {zone: a}")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "controlplane", "serve", "--kubeconfig", str(cluster.kubeconfig)),
        *("--xds-bind", "127.0.0.1", "--xds-port", "0", "--monitoring-port", "0"),
        *("--secure-port", "0", "--webhook-port", "0"),
        cwd=ROOT,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    try:
        async with patience():
            written = await _event(process.stderr, "root_certificates.written")
            assert written["namespace"] == "inside"
            cluster.kubectl("label", "namespace", "default", "zone=a")
            written = await _event(process.stderr, "root_certificates.written")
            assert written["namespace"] == "default"
            _select(cluster, "matchExpressions: [{key: zone, operator: In, values: [a, b]}]")
            written = await _event(process.stderr, "root_certificates.written")
            assert written["namespace"] == "outside"
    finally:
        process.kill()
        await process.wait()
    have = cluster.kubectl("get", "configmaps", "-A", "--field-selector=metadata.name=istio-ca-root-cert", "-o", "name")
    assert have.split() == ["configmap/istio-ca-root-cert"] * 3


def _select(cluster: ApiServer, selector: str) -> None:
    """Write the mesh configuration with one of ``discoverySelectors``."""
    mesh = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "istio", "namespace": "istio-system"}}
    cluster.kubectl(
        "apply", "-f", "-", text=json.dumps({**mesh, "data": {"mesh": f"discoverySelectors: [{{{selector}}}]"}})
    )
