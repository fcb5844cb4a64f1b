"""Certificates between our side and Istio's, by the bytes that Istio's programs send: no class of ours makes them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path
from ssl import DER_cert_to_PEM_cert
from typing import Any

import grpc
import grpc.aio
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from controlplane.agent.addresses import TcpAddress
from controlplane.agent.control_plane import TOKEN, ClientPair, Peer
from controlplane.agent.keys import KeyPolicy
from controlplane.agent.protobuf_fields import length_delimited
from controlplane.agent.workload_certificate import CREATE_CERTIFICATE, CertificateClient, NotSignedError
from controlplane.security.authentication import Authenticator
from controlplane.security.ca import Authority, Lifetimes
from controlplane.security.certificate_service import CertificateService
from controlplane.security.issuer import Issuer
from controlplane.security.serving import ServingTls, SignedHere, serving_names
from tests.patience import PATIENCE_SECONDS
from tests.security.authorities import cacerts, key_pem, of_unknown_curve, of_version_6, root
from tests.security.test_certificate_service import CART, DOMAINS, Tokens, names
from tests.security.wire import SecurePort

ISTIOD = "istiod.istio-system.svc"
ROOT = root("root")
ISTIOS_CSR = """\
-----BEGIN CERTIFICATE REQUEST-----
MIIClzCCAX8CAQAwCzEJMAcGA1UECgwAMIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8A
MIIBCgKCAQEArl55kqIB++pQ/k3QffVFsanK54Y2F02/r0L6c9ewb7RPF9fYPZkx
wyhk78Wh9ZVZVpJe+8GaNhizYWIeFmo9t0YFKoOv3E5mssY30qMGXfj8pAHx40GD
pdtPMP3iOzlu73CDgRltYsiZ1G9pI9nADWA6Q/CliKnlWalfhXcO1LpIzPkPwqpe
9rauLCJKgyJDOlbvSQENx0advscasXttqzx6keWyj7WH32+UFHh/VWRhbltZv2tX
zWundj7hJhfZguz/qxkFtHBYnbs5zHTQ1P2B/bkP5FOFUx0janqZFVhjZcbVVtJr
YoKg9l/QyQqdjQZf1jFaii90Z8XAJR5ARQIDAQABoEcwRQYJKoZIhvcNAQkOMTgw
NjA0BgNVHREBAf8EKjAohiZzcGlmZmU6Ly9jbHVzdGVyLmxvY2FsL25zL3Nob3Av
c2EvY2FydDANBgkqhkiG9w0BAQsFAAOCAQEAl/6TW/S7rrzy1Z4AkQJ2L2f8PHxu
6xcZFSnmR/29GVlVm0yAU4YL1oKJQ0/wUjjNoysDD6tnX38yc9EbStnGowrslK0l
HJjvwqLwBvIvgmP69rFoDFXmWUlUaM/DTxg+207VINuZOXZKIj09fUJ6XxxuFstA
e54IiFjaoH6E6ObxS51UL4YJzwwO1dSjSljpyZ7VaDMRUie6Y+kqeV5eiuECE5Zk
5P/HYXZfRb1fcmuaQhSRFFlMLRUj3iljgb2OI9XYGjwDD9u/I5hAbvU2RvbeL55t
ldl8wqvveR4wu/WbaakmzAz1ziTZU2r3i+rn3Xg6aBeMF4M53ED/1TU5Tg==
-----END CERTIFICATE REQUEST-----
"""
"""As Istio's agent makes it: a key for RSA of 2,048 bits, one empty organisation, a critical name."""


def text(number: int, value: bytes) -> bytes:
    """A field of a message, by hand."""
    size = bytearray()
    rest = len(value)
    while rest > 0x7F:
        size.append(rest & 0x7F | 0x80)
        rest >>= 7
    return bytes([number << 3 | 2]) + bytes([*size, rest]) + value


NO_SIGNER = text(1, text(1, b"CertSigner") + text(2, text(3, b"")))
"""The Struct ``{"CertSigner": ""}``, which is sent where nobody named a signer."""
ISTIOS_REQUEST = text(1, ISTIOS_CSR.encode()) + b"\x18\x80\xa3\x05" + text(4, NO_SIGNER)
"""``IstioCertificateRequest``: the CSR, 86,400 seconds, and metadata."""


def texts(message: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the fields of a message that have a length."""
    for number, start, end in length_delimited(message):
        yield number, message[start:end]


@pytest.fixture
def authority() -> Authority:
    issuer = Issuer.of_files(cacerts(ROOT.signs("intermediate"), [], [ROOT]))
    assert issuer is not None
    return Authority(issuer, Lifetimes())


@pytest.fixture
async def port(authority: Authority) -> AsyncIterator[int]:
    service = CertificateService(Authenticator(lambda: DOMAINS, Tokens(), ["Kubernetes"]), authority)
    tls = ServingTls(SignedHere(authority, lambda: serving_names("istio-system")))
    async with SecurePort(service).serve(tls.grpc_context()) as secure:
        yield secure.port


async def test_istios_agent_gets_a_certificate_from_us(port: int, authority: Authority) -> None:
    """It wants at least two elements, the last of which are the roots, and asks again with a header that counts."""
    credentials = grpc.ssl_channel_credentials(authority.bundle.encode())
    options = [("grpc.ssl_target_name_override", ISTIOD)]
    headers = (("authorization", "Bearer cart"), ("clusterid", "Kubernetes"), ("x-retry-attempt", "1"))
    async with grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials, options) as channel:
        opened: Any = channel
        answer = await opened.unary_unary(CREATE_CERTIFICATE)(
            ISTIOS_REQUEST, metadata=headers, timeout=PATIENCE_SECONDS
        )
    found = list(texts(answer))
    assert {number for number, _ in found} == {1}
    chain = [each.decode() for _, each in found]
    assert names(chain) == [CART]
    key = x509.load_pem_x509_certificate(chain[0].encode()).public_key()
    assert key == x509.load_pem_x509_csr(ISTIOS_CSR.encode()).public_key()
    assert chain[-1] == ROOT.pem.decode()


class Istiod:
    """Answers as istiod does, and keeps what it was sent."""

    def __init__(self, *chain: bytes) -> None:
        self._answer = b"".join(text(1, each) for each in chain)
        self.request = b""
        self.headers: dict[str, str] = {}

    async def serve(self, request: bytes, context: Any) -> bytes:
        self.request = request
        self.headers = {name: str(value) for name, value in context.invocation_metadata()}
        return self._answer


async def asked(istiod: Istiod, folder: Path) -> Any:
    """Have our agent's client ask for a certificate, over TLS, with a token."""
    own = ROOT.signs("istiod", authority=False, names=(ISTIOD,))
    (folder / "root.pem").write_bytes(ROOT.pem)
    mounted = folder / TOKEN
    mounted.parent.mkdir(parents=True)
    mounted.write_text("the token\n")
    name, _, method = CREATE_CERTIFICATE.strip("/").partition("/")
    server = grpc.aio.server()
    handler = grpc.unary_unary_rpc_method_handler(istiod.serve)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, {method: handler}),))
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(key_pem(own.key), own.pem)]))
    await server.start()
    seconds = timedelta(seconds=PATIENCE_SECONDS)
    where = TcpAddress("127.0.0.1", port)
    peer = Peer(where, folder / "root.pem", ISTIOD, None, (("clusterid", "east"),), seconds, seconds)
    client = CertificateClient(peer, CART, KeyPolicy(), timedelta(hours=24))
    try:
        return await client.identity()
    finally:
        await server.stop(None)


async def test_our_agent_asks_istiod_as_its_own_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Istiod takes the key of the request; a leaf for another one is no answer."""
    monkeypatch.chdir(tmp_path)  # where its token is mounted
    leaf = ROOT.signs("cart", authority=False, names=(CART,))
    istiod = Istiod(leaf.pem, ROOT.pem)
    with pytest.raises(NotSignedError, match="certifies another key"):
        await asked(istiod, tmp_path)
    fields = dict(texts(istiod.request))
    request = x509.load_pem_x509_csr(fields.pop(1))
    (extension,) = request.extensions
    assert (extension.critical, list(extension.value)) == (True, [x509.UniformResourceIdentifier(CART)])
    assert request.is_signature_valid
    assert isinstance(request.public_key(), ec.EllipticCurvePublicKey)
    assert fields == {4: NO_SIGNER}
    assert b"\x18\x80\xa3\x05" in istiod.request, "field 3: 86,400 seconds"
    assert istiod.headers["authorization"] == "Bearer the token"
    assert istiod.headers["clusterid"] == "east"


@pytest.mark.parametrize("odd", [of_version_6(ROOT), of_unknown_curve(ROOT), b"x"], ids=["version", "curve", "none"])
async def test_an_answer_that_cannot_be_read_is_refused_and_asked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, odd: bytes
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NotSignedError, match=r"^the answer of 127\.0\.0\.1:\d+ is no certificate that can be read: "):
        await asked(Istiod(DER_cert_to_PEM_cert(odd).encode(), ROOT.pem), tmp_path)


@pytest.mark.parametrize("odd", [of_version_6(ROOT), of_unknown_curve(ROOT), b"x"], ids=["version", "curve", "none"])
def test_a_client_certificate_that_cannot_be_read_is_not_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, odd: bytes
) -> None:
    """The token is shown in its place, as where it has ended."""
    pair = ClientPair(tmp_path / "chain.pem", tmp_path / "key.pem")
    pair.chain.write_text(DER_cert_to_PEM_cert(odd))
    pair.key.write_bytes(key_pem(ROOT.key))
    (tmp_path / "root.pem").write_bytes(ROOT.pem)
    seconds = timedelta(seconds=PATIENCE_SECONDS)
    peer = Peer(TcpAddress("127.0.0.1", 1), tmp_path / "root.pem", ISTIOD, pair, (("a", "b"),), seconds, seconds)
    monkeypatch.chdir(tmp_path)
    TOKEN.parent.mkdir(parents=True)
    TOKEN.write_text("the token")
    assert peer.metadata() == (("a", "b"), ("authorization", "Bearer the token"))
    pair.chain.write_bytes(ROOT.pem)
    assert peer.metadata() == (("a", "b"),)


async def test_an_answer_of_one_element_is_refused_as_istios_agent_does(tmp_path: Path) -> None:
    with pytest.raises(NotSignedError, match="answered without certificate and root"):
        await asked(Istiod(ROOT.pem), tmp_path)
