"""The control plane with its secure port, over files, and what its authority signs for those who connect there."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from controlplane.security.ca import Authority, Lifetimes
from controlplane.security.certificates import encode
from controlplane.security.self_signed import RootPolicy
from controlplane.security.sources import FolderSource
from tests.feature.server import Server, serving


@contextmanager
def securely(folder: Path, *documents: Any) -> Iterator[Server]:
    """Run it over the objects, with an authority of its own."""
    (folder / "mesh").mkdir()
    options = ["--secure-port", "0", "--webhook-port", "0", "--ca-dir", str(folder / "ca")]
    with serving(folder / "mesh", *documents, options=[*options, "--serving-names", "localhost"]) as running:
        yield running


async def authorities_of(server: Server) -> Authorities:
    """Return what signs as a server does that runs by ``securely``."""
    folder = server.folder.parent / "ca"
    return Authorities(Authority(await FolderSource(folder, RootPolicy()).read(), Lifetimes()))


class Authorities:
    """Makes what a workload has: a key, and a certificate of the server's own authority."""

    def __init__(self, authority: Authority) -> None:
        self._authority = authority

    @property
    def roots(self) -> bytes:
        return self._authority.bundle.encode()

    def identity(self, uri: str) -> tuple[bytes, bytes]:
        """Return key and certificate chain (PEM)."""
        key = ec.generate_private_key(ec.SECP256R1())
        chain = self._authority.sign(key.public_key(), [uri], timedelta(hours=1))
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return pem, encode(chain).encode()


@asynccontextmanager
async def channel(server: Server, authorities: Authorities, uri: str = "") -> AsyncIterator[Any]:
    """Connect over TLS, with the certificate of an identity if one is named."""
    pair = authorities.identity(uri) if uri else (None, None)
    credentials = grpc.ssl_channel_credentials(authorities.roots, *pair)
    address = f"localhost:{server.secure.rpartition(':')[2]}"
    async with grpc.aio.secure_channel(address, credentials) as opened:
        yield opened


def account(namespace: str, name: str = "default") -> str:
    return f"spiffe://cluster.local/ns/{namespace}/sa/{name}"
