"""A control plane with an authority, and agents that prove who they are to it by a first certificate."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from controlplane.security.ca import Authority, Lifetimes
from controlplane.security.certificates import encode, encode_key
from controlplane.security.self_signed import RootPolicy
from controlplane.security.sources import FolderSource
from samples.control_plane import ControlPlane, free_port
from samples.proxy import Pod, Proxy
from tests.envoy.mesh import print_logs

WEB = Pod(
    "web-1",
    "shop",
    "10.0.0.7",
    labels={"app": "web"},
    metadata={"INTERCEPTION_MODE": "NONE", "UNPRIVILEGED_POD": "true"},
)


class SecureMesh:
    """A control plane on files, its secure port, and the folder of everything."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "config"
        self.config.mkdir()
        self.secure_port = free_port()
        options = ["--secure-port", str(self.secure_port), "--ca-dir", str(folder / "ca"), "--serving-names"]
        self.control_plane = ControlPlane(
            self.config, folder / "control-plane.log", options=[*options, "localhost", "--drain-period", "0s"]
        )

    async def authority(self) -> Authority:
        """Return the authority that the control plane signs with."""
        return Authority(await FolderSource(self.folder / "ca", RootPolicy()).read(), Lifetimes())

    async def pair(self, identity: str) -> bytes:
        """Return a key and its chain (PEM), signed for somebody of the mesh."""
        authority, key = await self.authority(), ec.generate_private_key(ec.SECP256R1())
        return encode_key(key) + encode(authority.sign(key.public_key(), [identity], timedelta(hours=1))).encode()

    async def proxy(self, pod: Pod = WEB, config: Mapping[str, Any] | None = None, **environment: str) -> Proxy:
        """Return an agent that may ask for its certificate; it does not run yet."""
        folder = self.folder / pod.name
        authority = await self.authority()
        first_certificate(
            folder / "first", authority, f"spiffe://cluster.local/ns/{pod.namespace}/sa/{pod.service_account}"
        )
        said = {"discoveryAddress": f"localhost:{self.secure_port}", **(config or {})}
        return Proxy(pod, folder, said, {"PROV_CERT": "./first", **environment})


def first_certificate(provided: Path, authority: Authority, identity: str) -> None:
    """Put a certificate into a folder that an agent shows instead of a token."""
    provided.mkdir(parents=True, exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1())
    chain = authority.sign(key.public_key(), [identity], timedelta(hours=1))
    (provided / "cert-chain.pem").write_text(encode(chain))
    (provided / "root-cert.pem").write_text(authority.bundle)
    (provided / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


@asynccontextmanager
async def secure_mesh(folder: Path) -> AsyncIterator[SecureMesh]:
    """Run the control plane."""
    mesh = SecureMesh(folder)
    try:
        await mesh.control_plane.start()
        yield mesh
    finally:
        await mesh.control_plane.stop()
        print_logs(folder)


@asynccontextmanager
async def started(proxy: Proxy) -> AsyncIterator[Proxy]:
    """Run an agent until its Envoy serves, and end it."""
    await proxy.start()
    try:
        await proxy.wait_ready()
        yield proxy
    finally:
        await proxy.stop()
