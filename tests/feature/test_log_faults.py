"""The log of a running control plane: nobody can stop it with it, and nobody's secret is in it."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import grpc.aio
import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric import ec
from envoy.config.core.v3.base_pb2 import Node
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest, DiscoveryResponse

from controlplane.messages.istio_auth_pb2 import IstioCertificateRequest, IstioCertificateResponse
from samples.control_plane import free_port
from tests.cli.command import ROOT, run
from tests.feature.client import CDS, SERVICE, Proof, connected
from tests.feature.objects import MESH
from tests.feature.test_faults import at, moved
from tests.patience import PATIENCE_SECONDS, patience
from tests.security.authorities import csr

CANARY = "eyJhbGciOiJSUzI1NiIsImtpZCI6ImMifQ.eyJzdWIiOiJjYW5hcnkifQ.Y2FuYXJ5LWNhbmFyeS1jYW5hcnk"
OPAQUE = "canary-0123456789-canary-0123456789"
ESC = "\x1b]0;owned\x07\x1b[2J"
CREATE = "/istio.v1.auth.IstioCertificateService/CreateCertificate"


@contextmanager
def logging_to(descriptor: int, folder: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Run the control plane with its log somewhere; give the address of xDS, and the process."""
    (folder / "mesh.yaml").write_text(yaml.safe_dump_all(MESH))
    port = free_port()
    options = ["--xds-port", str(port), "--monitoring-port", "0", "--log-level", "debug", "--drain-period", "0"]
    command = [sys.executable, "-m", "controlplane", "serve", "--config-dir", str(folder), *options]
    process = subprocess.Popen(command, cwd=ROOT, stderr=descriptor)
    try:
        yield f"127.0.0.1:{port}", process
    finally:
        process.terminate()
        assert process.wait(20) == 0


async def works(address: str, folder: Path) -> None:
    """Let proxies come and go, which is logged, and get changes."""
    async with grpc.aio.insecure_channel(address) as channel, patience():
        await channel.channel_ready()
    for number in range(30):
        async with connected(address) as client:
            text = yaml.safe_dump_all(moved(f"10.9.8.{number + 1}"))
            (folder / ".mesh.yaml").write_text(text)
            (folder / ".mesh.yaml").rename(folder / "mesh.yaml")
            await client.until(partial(at, client, f"10.9.8.{number + 1}"), "the new address")


async def test_nobody_reads_the_log(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    try:
        with logging_to(writing, tmp_path) as (address, _):
            await works(address, tmp_path)
            assert len(os.read(reading, 65536)) > 1000  # it was full
    finally:
        os.close(reading)
        os.close(writing)


@pytest.mark.parametrize("full", [True, False], ids=["full-disk", "broken-pipe"])
async def test_the_log_cannot_be_written(tmp_path: Path, *, full: bool) -> None:
    if full:
        descriptor = os.open("/dev/full", os.O_WRONLY)
    else:
        reading, descriptor = os.pipe()
        os.close(reading)
    try:
        with logging_to(descriptor, tmp_path) as (address, _):
            await works(address, tmp_path)
    finally:
        os.close(descriptor)


async def ask(channel: grpc.aio.Channel, token: str, node_id: str) -> None:
    """Open a stream with a credential, and let it end as it may, which for one that is let in is after a while."""
    method: Any = channel.stream_stream(
        f"{SERVICE}StreamAggregatedResources",
        request_serializer=DiscoveryRequest.SerializeToString,
        response_deserializer=DiscoveryResponse.FromString,
    )
    call = method(metadata=(("authorization", token), ("x-token", token)), timeout=5)
    node = Node(id=node_id)
    node.metadata.update({"token": token})
    try:
        await call.write(DiscoveryRequest(type_url=CDS, node=node))
        await call.read()
        refusal = DiscoveryRequest(type_url=CDS, response_nonce="x")
        shown = token if CANARY in token else "nothing"  # what has no mark of a credential cannot be known
        refusal.error_detail.message = f"refused with {shown} {ESC}"
        await call.write(refusal)
        await call.read()
    except grpc.aio.AioRpcError:
        pass
    finally:
        call.cancel()


@pytest.mark.parametrize("style", ["json", "console"])
async def test_no_credential_and_no_control_character_is_logged(tmp_path: Path, style: str) -> None:
    folder, authority, log = tmp_path / "mesh", tmp_path / "ca", tmp_path / "log"
    folder.mkdir()
    ports = {name: free_port() for name in ("xds", "secure", "webhook", "monitoring")}
    (folder / "mesh.yaml").write_text(yaml.safe_dump_all(MESH))
    command = [sys.executable, "-m", "controlplane", "serve", "--config-dir", str(folder), "--ca-dir", str(authority)]
    command += ["--log-level", "debug", "--log-format", style, "--drain-period", "0"]
    command += [text for name, port in ports.items() for text in (f"--{name}-port", str(port))]
    with log.open("w") as stream:
        process = subprocess.Popen(command, cwd=ROOT, stderr=stream)  # noqa: ASYNC220 - it is quick
    try:
        async with aiohttp.ClientSession() as session, patience():
            while not await _ready(session, ports["monitoring"]):
                await asyncio.sleep(0.05)
        roots = (authority / "root-cert.pem").read_text()
        for token in (f"Bearer {CANARY}", f"Bearer {OPAQUE}", OPAQUE, f"Basic {OPAQUE}"):
            await _everywhere(ports, roots, token)
        status = await run("status", "--address", f"127.0.0.1:{ports['monitoring']}")
        assert "\x1b" not in status.out + status.err
    finally:
        process.terminate()
        assert process.wait(20) == 0
    said = log.read_text()
    assert "ads." in said
    assert "canary" not in said
    assert CANARY.rpartition(".")[2] not in said
    assert "PRIVATE KEY" not in said
    assert "\x1b" not in said
    assert "\x07" not in said


async def _ready(session: aiohttp.ClientSession, port: int) -> bool:
    try:
        async with session.get(f"http://127.0.0.1:{port}/ready") as response:
            return response.status == 200
    except aiohttp.ClientError:
        return False


async def _everywhere(ports: dict[str, int], roots: str, token: str) -> None:
    """Show a credential wherever one can be shown."""
    node = f"sidecar~10.9.0.1~client-1.shop{ESC}~shop.svc.cluster.local"
    async with grpc.aio.insecure_channel(f"127.0.0.1:{ports['xds']}") as channel:
        await ask(channel, token, node)
        await ask(channel, token, f"nonsense {ESC}")
    async with Proof(roots, "").channel(f"127.0.0.1:{ports['secure']}") as channel:
        await ask(channel, token, node)
        create = channel.unary_unary(
            CREATE,
            request_serializer=IstioCertificateRequest.SerializeToString,
            response_deserializer=IstioCertificateResponse.FromString,
        )
        with pytest.raises(grpc.aio.AioRpcError):
            await create(
                IstioCertificateRequest(csr=csr(ec.generate_private_key(ec.SECP256R1()))),
                metadata=(("authorization", token),),
                timeout=PATIENCE_SECONDS,
            )
    context = ssl.create_default_context(cadata=roots)
    context.check_hostname = False
    headers = {"Authorization": token}
    async with aiohttp.ClientSession(headers=headers) as session:
        for url in (f"https://127.0.0.1:{ports['webhook']}/validate", f"http://127.0.0.1:{ports['monitoring']}/x"):
            body = json.dumps({"kind": "AdmissionReview", "request": {"uid": ESC}})
            async with session.post(url, data=body, ssl=context if url.startswith("https") else True) as response:
                await response.read()
