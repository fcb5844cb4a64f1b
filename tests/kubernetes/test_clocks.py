"""The program on a machine whose clock is wrong, among others whose clocks are right: tokens and certificates count.

Its clock is set by ``libfaketime``, which answers in place of the C library what time it is; what measures durations
goes as ever.
"""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from tests.cluster.api_server import ApiServer
from tests.feature.client import EDS, Proof, connected
from tests.kubernetes.conftest import missing
from tests.kubernetes.objects import Writer
from tests.kubernetes.secure import DEPLOY, ControlPlane, Tool, account_token, refusal, roots_of
from tests.kubernetes.watching import SERVICES, SLICES, endpoint_slice
from tests.patience import PATIENCE_SECONDS
from tests.security.authorities import csr

CART = "outbound|80||cart.shop.svc.cluster.local"
OTHER = "sidecar~10.9.0.2~client-2.shop~shop.svc.cluster.local"
PORT = {"name": "http", "port": 80, "targetPort": 8080}
MINUTE = 60
AHEAD, BEHIND = 100, -10 * MINUTE
"""Seconds. A certificate is valid from two minutes before it was made, so a clock that is further ahead shuts out peers
until then; one that is behind may be so by more."""
LEFT = AHEAD - 10
"""Seconds that a token is still good for, which it is not by a clock that is ahead."""


@pytest.fixture(scope="module")
def library() -> Path:
    """The library that sets the clock of one process."""
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    if not found:
        missing("needs libfaketime: apt-get install faketime")
    return found[0]


@pytest.fixture
def cluster(own_kube_cluster: ApiServer) -> ApiServer:
    """An API server with everything of ``deploy/`` and a Service."""
    own_kube_cluster.kubectl("apply", "-k", str(DEPLOY))
    own_kube_cluster.kubectl("create", "namespace", "shop")
    return own_kube_cluster


def control_plane(cluster: ApiServer, folder: Path, library: Path, seconds: int) -> ControlPlane:
    """Return the program with a clock that is ahead by so much; nothing but the time of day is different for it."""
    variables = {
        "LD_PRELOAD": str(library),
        "FAKETIME": f"{seconds:+d}s",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "NO_FAKE_STAT": "1",  # files have the age that they have
    }
    return ControlPlane(cluster, folder, "--xds-bind=127.0.0.1", environment=variables)


def ending(cluster: ApiServer, token: str, seconds: int) -> str:
    """Return a token that ends so long after now: one of the API server, signed with its key for another ten minutes.

    It makes none that ends earlier.
    """
    header, claims, _ = token.split(".")
    end = int(time.time()) + seconds
    began = end - 10 * MINUTE
    body = json.loads(base64.urlsafe_b64decode(f"{claims}==")) | {"exp": end, "iat": began, "nbf": began}
    signed = f"{header}.{_encoded(json.dumps(body).encode())}"
    key = serialization.load_pem_private_key((cluster.folder / "sa.key").read_bytes(), None)
    assert isinstance(key, rsa.RSAPrivateKey)
    return f"{signed}.{_encoded(key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


def _encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def certificate_is_valid(cluster: ApiServer, address: str, folder: Path) -> bool:
    """Whether ``openssl``, by the right time, accepts a certificate that the program signs now."""
    with Tool(cluster, address, "shop") as tool:
        leaf, *_ = tool.certificate(csr(ec.generate_private_key(ec.SECP256R1())))
    (folder / "leaf.pem").write_text(leaf)
    (folder / "roots.pem").write_text(roots_of(cluster, "shop"))
    command = ["openssl", "verify", "-x509_strict", "-CAfile", str(folder / "roots.pem"), str(folder / "leaf.pem")]
    return subprocess.run(command, capture_output=True, check=False, timeout=PATIENCE_SECONDS).returncode == 0


def own_folder(folder: Path) -> Path:
    """Return a new folder within this one."""
    made = folder / "other"
    made.mkdir()
    return made


@pytest.mark.parametrize("seconds", [AHEAD, BEHIND], ids=["ahead", "behind"])
async def test_a_clock_that_is_wrong(cluster: ApiServer, tmp_path: Path, library: Path, seconds: int) -> None:
    """Tokens are good for as long as the API server's clock says, also while it is away, and certificates are valid.

    Nothing is lost meanwhile: in the end a proxy holds what another program serves, which begins with the right time.
    """
    program = control_plane(cluster, tmp_path, library, seconds)
    async with Writer(cluster) as writer:
        await writer.create(SERVICES.format("shop"), {"metadata": {"name": "cart"}, "spec": {"ports": [PORT]}})
        await writer.create(SLICES.format("shop"), endpoint_slice("cart", 1))
        with program.running():
            assert abs((program.serving_since - datetime.now(UTC)).total_seconds() - seconds) < MINUTE
            program.until(lambda: bool(roots_of(cluster, "shop")))
            roots = roots_of(cluster, "shop")
            assert certificate_is_valid(cluster, program.secure, tmp_path)
            known, unseen = (Proof(roots, account_token(cluster, "shop")) for _ in range(2))
            ended, unasked = (
                Tool(cluster, program.secure, "shop", ending(cluster, known.token, minutes * MINUTE))
                for minutes in (-5, -4)
            )
            async with connected(program.secure, proof=known) as proxy:
                with ended, unasked:
                    code, reason = refusal(ended)
                    assert (code, "token has expired" in reason) == ("UNAUTHENTICATED", True), reason
                    cluster.api.stop()
                    program.until(lambda: "watchers.api_server_away" in program.said)
                    code, reason = refusal(unasked)  # a refusal is remembered, and nobody was asked about this one
                    assert (code, "it has expired at" in reason) == ("UNAUTHENTICATED", True), reason
                for proof in (unseen, Proof(roots, ending(cluster, known.token, LEFT))):
                    async with connected(program.secure, node_id=OTHER, proof=proof) as second:
                        assert second.bodies() == proxy.bodies()
                cluster.api.start()
                await asyncio.to_thread(cluster.wait_ready)
                before = proxy.held[EDS][CART]
                change = {"endpoints": endpoint_slice("cart", 7)["endpoints"]}
                await writer.request("PATCH", f"{SLICES.format('shop')}/cart-x", change)
                await proxy.until(lambda: proxy.held[EDS][CART] != before)
                other = ControlPlane(cluster, own_folder(tmp_path), "--xds-bind=127.0.0.1")
                with other.running():
                    async with connected(other.secure, proof=known) as from_scratch:
                        assert proxy.bodies() == from_scratch.bodies()
