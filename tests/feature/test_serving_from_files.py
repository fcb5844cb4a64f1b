"""The control plane as a process that signs nothing: its certificate and the roots come from somebody else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from tests.feature.identities import account
from tests.feature.objects import MESH
from tests.feature.server import Server, serving
from tests.feature.test_secure_port import CDS, CREATE, ask, request
from tests.security.authorities import Signer, key_pem
from tests.security.authorities import root as new_root
from tests.security.test_serving_files import mount

ROOT = new_root("root of somebody else")
OPTIONS = ["--secure-port", "0", "--webhook-port", "0", "--no-ca-server", "--serving-dir"]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    (tmp_path / "mesh").mkdir()
    (tmp_path / "given").mkdir()
    mount(tmp_path / "given", ROOT.signs("istiod", authority=False, names=("localhost",)), roots=ROOT.pem)
    with serving(tmp_path / "mesh", *MESH, options=[*OPTIONS, str(tmp_path / "given")]) as running:
        yield running


def of(server: Server, identity: Signer) -> Any:
    credentials = grpc.ssl_channel_credentials(ROOT.pem, key_pem(identity.key), identity.pem)
    return grpc.aio.secure_channel(f"localhost:{server.secure.rpartition(':')[2]}", credentials)


async def test_proxies_with_certificates_of_the_same_root_are_served_and_given_none(server: Server) -> None:
    identity = ROOT.signs("workload", authority=False, names=(account("shop"),))
    async with of(server, identity) as opened:
        assert (await ask(opened, request(CDS))).resources
        with pytest.raises(grpc.aio.AioRpcError, match="certificates are signed elsewhere") as refused:
            await opened.unary_unary(CREATE)(b"")
    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_stranger_is_not_let_in(server: Server) -> None:
    stranger = new_root("stranger").signs("workload", authority=False, names=(account("shop"),))
    async with of(server, stranger) as opened:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await opened.unary_unary(CREATE)(b"", timeout=60)
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE  # TLS itself ends
