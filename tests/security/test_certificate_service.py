"""A client of grpc's own asks for certificates over TLS."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import grpc
import grpc.aio
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from google.protobuf.struct_pb2 import Struct

from controlplane import metrics
from controlplane.messages.istio_auth_pb2 import IstioCertificateRequest
from controlplane.security.authentication import Authenticator, TrustDomains
from controlplane.security.ca import Authority, Lifetimes
from controlplane.security.certificate_service import CertificateService
from controlplane.security.issuer import Issuer
from controlplane.security.kubernetes_signer import check_request
from controlplane.security.observer import SecurityObserver
from controlplane.security.refusal import CallRefused, Refusal
from controlplane.security.serving import ServingTls, SignedHere, serving_names
from controlplane.security.signing import Wanted, read_request
from controlplane.security.tokens import TokenUser
from controlplane.wiring.counting import CountCertificates
from tests.security.authorities import cacerts, csr, key_pem, of_version_6, repeating, root
from tests.security.wire import SecurePort, create_certificate

KEY = ec.generate_private_key(ec.SECP256R1())
REQUEST = IstioCertificateRequest(csr=csr(KEY))
CART = "spiffe://cluster.local/ns/shop/sa/cart"
DOMAINS = TrustDomains("cluster.local", frozenset({"old.example"}))
ROOT, STRANGER = root("root"), root("stranger")


class Tokens:
    """A cluster that knows these tokens; ``away`` stands for one that does not answer."""

    known: Mapping[str, str] = {"cart": "system:serviceaccount:shop:cart", "person": "anna"}

    async def check(self, token: str) -> TokenUser:
        if token == "away":
            raise CallRefused(Refusal.UNAVAILABLE, "token: it cannot be checked now")
        if token not in self.known:
            raise CallRefused(Refusal.UNAUTHENTICATED, "token: invalid bearer token")
        return TokenUser(self.known[token], "cart-1", "uid-1")


class Counting(SecurityObserver):
    """Notes what it is told."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def requested(self) -> None:
        self.heard.append("requested")

    def unauthenticated(self) -> None:
        self.heard.append("unauthenticated")

    def not_signed(self, error: str) -> None:
        self.heard.append(error)

    def not_read(self) -> None:
        self.heard.append("not read")

    def not_its_own(self) -> None:
        self.heard.append("not its own")

    def signed(self) -> None:
        self.heard.append("signed")


@pytest.fixture
def authority() -> Authority:
    issuer = Issuer.of_files(cacerts(ROOT.signs("intermediate"), [], [ROOT]))
    assert issuer is not None
    return Authority(issuer, Lifetimes())


@pytest.fixture
def observer() -> Counting:
    return Counting()


@pytest.fixture
async def port(authority: Authority, observer: Counting) -> AsyncIterator[int]:
    authenticator = Authenticator(lambda: DOMAINS, Tokens(), ["Kubernetes"])
    service = CertificateService(authenticator, authority, observer)
    tls = ServingTls(SignedHere(authority, lambda: serving_names("istio-system")))
    async with SecurePort(service).serve(tls.grpc_context()) as secure:
        yield secure.port


def names(chain: list[str]) -> list[str]:
    leaf = x509.load_pem_x509_certificate(chain[0].encode())
    return [each.value for each in leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value]


def client(authority: Authority, *identities: str, days: float = 1) -> tuple[bytes, bytes]:
    """A key, and a chain of our own authority for it."""
    chain = authority.sign_csr(csr(KEY), identities, timedelta(days=days))
    return key_pem(KEY), "".join(chain[:-1]).encode()


async def test_a_token_gets_the_certificate_of_its_service_account(
    port: int, authority: Authority, observer: Counting
) -> None:
    metadata = {"authorization": "Bearer cart", "clusterid": "Kubernetes"}
    request = IstioCertificateRequest(csr=csr(KEY, x509.DNSName("bank")), validity_duration=3600)
    chain = await create_certificate(port, request, authority.bundle, metadata)
    assert names(chain) == [CART]
    leaf = x509.load_pem_x509_certificate(chain[0].encode())
    assert abs(leaf.not_valid_after_utc - datetime.now(UTC) - timedelta(hours=1)) < timedelta(minutes=1)
    assert chain[1:] == [authority.issuer.certificate.public_bytes(Encoding.PEM).decode(), ROOT.pem.decode()]
    assert observer.heard == ["requested", "signed"]


async def test_a_certificate_gets_its_successor(port: int, authority: Authority) -> None:
    first = await create_certificate(port, REQUEST, authority.bundle, {"authorization": "Bearer cart"})
    shown = (key_pem(KEY), "".join(first[:-1]).encode())
    assert names(await create_certificate(port, REQUEST, authority.bundle, certificate=shown)) == [CART]


async def test_a_certificate_of_an_alias_of_the_trust_domain(port: int, authority: Authority) -> None:
    shown = client(authority, "spiffe://old.example/ns/shop/sa/cart")
    chain = await create_certificate(port, REQUEST, authority.bundle, certificate=shown)
    assert names(chain) == ["spiffe://old.example/ns/shop/sa/cart"]


@pytest.mark.parametrize(
    ("metadata", "status", "reason"),
    [
        pytest.param({}, "UNAUTHENTICATED", "neither a client certificate nor a bearer token", id="nothing"),
        pytest.param({"authorization": "Bearer x"}, "UNAUTHENTICATED", "invalid bearer token", id="bad-token"),
        pytest.param({"authorization": "Basic x"}, "UNAUTHENTICATED", "must begin with Bearer", id="basic"),
        pytest.param({"authorization": "Bearer person"}, "UNAUTHENTICATED", '"anna" is not a service', id="person"),
        pytest.param({"authorization": "Bearer away"}, "UNAVAILABLE", "cannot be checked now", id="away"),
        pytest.param(
            {"authorization": "Bearer cart", "clusterid": "other"},
            "UNAUTHENTICATED",
            'the cluster "other" is not known',
            id="other-cluster",
        ),
    ],
)
async def test_who_is_not_identified_gets_nothing(
    port: int, authority: Authority, observer: Counting, metadata: dict[str, str], status: str, reason: str
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await create_certificate(port, REQUEST, authority.bundle, metadata)
    assert refused.value.code().name == status
    assert "request authenticate failure: " in str(refused.value.details())
    assert reason in str(refused.value.details())
    assert observer.heard == ["requested", "unauthenticated"]


@pytest.mark.parametrize(
    ("identities", "reason"),
    [
        pytest.param(["spiffe://strange/ns/shop/sa/cart"], "neither .cluster.local. nor an alias", id="trust-domain"),
        pytest.param(["spiffe://cluster.local/host/1"], "is not of the form", id="other-path"),
        pytest.param([CART, f"{CART}2"], "exactly one URI", id="two"),
        pytest.param(["shop.example"], "exactly one URI", id="dns-only"),
    ],
)
async def test_a_certificate_that_proves_no_identity(
    port: int, authority: Authority, identities: list[str], reason: str
) -> None:
    with pytest.raises(grpc.aio.AioRpcError, match=f"certificate: .*{reason}") as refused:
        await create_certificate(port, REQUEST, authority.bundle, certificate=client(authority, *identities))
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_a_token_helps_where_the_certificate_does_not(port: int, authority: Authority) -> None:
    shown = client(authority, "shop.example")
    chain = await create_certificate(port, REQUEST, authority.bundle, {"authorization": "Bearer cart"}, shown)
    assert names(chain) == [CART]


async def test_tls_refuses_a_certificate_of_a_stranger(port: int, authority: Authority) -> None:
    issuer = Issuer.of_files(cacerts(STRANGER, [], [STRANGER]))
    assert issuer is not None
    shown = client(Authority(issuer, Lifetimes()), CART)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await create_certificate(port, REQUEST, authority.bundle, {"authorization": "Bearer cart"}, shown)
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize(
    ("request_", "status", "reason", "heard"),
    [
        pytest.param(
            IstioCertificateRequest(csr="x"), "INVALID_ARGUMENT", "CSR_ERROR", ["CSR_ERROR", "not read"], id="csr"
        ),
        pytest.param(
            IstioCertificateRequest(csr=REQUEST.csr, validity_duration=91 * 86400),
            "INVALID_ARGUMENT",
            "TTL_ERROR",
            ["TTL_ERROR"],
            id="lifetime",
        ),
        pytest.param(
            IstioCertificateRequest(csr=REQUEST.csr, validity_duration=2**63 - 1),
            "INVALID_ARGUMENT",
            "TTL_ERROR",
            ["TTL_ERROR"],
            id="for-ever",
        ),
    ],
)
async def test_what_is_not_signed(
    port: int,
    authority: Authority,
    observer: Counting,
    request_: IstioCertificateRequest,
    status: str,
    reason: str,
    heard: list[str],
) -> None:
    with pytest.raises(grpc.aio.AioRpcError, match=reason) as refused:
        await create_certificate(port, request_, authority.bundle, {"authorization": "Bearer cart"})
    assert refused.value.code().name == status
    assert observer.heard == ["requested", *heard]


async def test_nobody_may_ask_for_somebody_else(port: int, authority: Authority, observer: Counting) -> None:
    metadata = Struct()
    metadata.update({"ImpersonatedIdentity": "spiffe://cluster.local/ns/bank/sa/vault", "CertSigner": ""})
    request = IstioCertificateRequest(csr=REQUEST.csr, metadata=metadata)
    with pytest.raises(grpc.aio.AioRpcError, match="request impersonation authentication failure") as refused:
        await create_certificate(port, request, authority.bundle, {"authorization": "Bearer cart"})
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert observer.heard == ["requested", "unauthenticated"]


async def test_the_service_is_known_by_istiods_names(port: int, authority: Authority) -> None:
    for name in ("istiod.istio-system.svc", "istiod-remote.istio-system.svc", "istio-pilot.istio-system.svc"):
        metadata = {"authorization": "Bearer cart"}
        assert await create_certificate(port, REQUEST, authority.bundle, metadata, server=name)
    with pytest.raises(grpc.aio.AioRpcError, match="Hostname Verification Check failed"):
        await create_certificate(port, REQUEST, authority.bundle, {}, server="not_istiod")


@dataclass(frozen=True)
class Shown:
    """A call over a connection on which TLS has verified a certificate."""

    peer_certificate: bytes | None
    metadata: Mapping[str, str]
    peer: str = "127.0.0.1:1"


@pytest.mark.parametrize(
    ("certificate", "reason"),
    [(repeating(ROOT), "certificate: its extensions cannot be read"), (of_version_6(ROOT), "certificate: 5 is not")],
    ids=["repeating", "version"],
)
async def test_a_certificate_that_cannot_be_read_proves_nothing_and_a_token_beside_it_does(
    certificate: bytes, reason: str
) -> None:
    authenticator = Authenticator(lambda: DOMAINS, Tokens(), ["Kubernetes"])
    caller = await authenticator.authenticate(Shown(certificate, {"authorization": "Bearer cart"}))
    assert str(caller.identity) == CART
    with pytest.raises(CallRefused, match=reason):
        await authenticator.authenticate(Shown(certificate, {}))


class Strict:
    """A signer that takes names from requests, as Kubernetes' do."""

    async def chain(self, wanted: Wanted) -> tuple[str, ...]:
        check_request(read_request(wanted.csr)[0], wanted.names)
        return ("chain",)


@pytest.mark.parametrize(
    ("body", "counted"),
    [
        pytest.param(b"\xff", [1, 0, 0], id="no-message"),
        pytest.param(IstioCertificateRequest(csr="x").SerializeToString(), [1, 0, 1], id="no-request"),
        pytest.param(REQUEST.SerializeToString(), [0, 1, 1], id="no-names"),
        pytest.param(
            IstioCertificateRequest(csr=csr(KEY, x509.UniformResourceIdentifier(f"{CART}2"))).SerializeToString(),
            [0, 1, 1],
            id="somebody-elses-names",
        ),
    ],
)
async def test_what_is_wrong_with_requests_is_counted_as_istiod_does(body: bytes, counted: list[int]) -> None:
    """By the reason: it cannot be read, or it has other names than its sender; either is a refusal too."""

    def counts() -> list[float]:
        names = ("csr_parsing_err_count", "id_extraction_err_count")
        values = [metrics.REGISTRY.get_sample_value(f"citadel_server_{name}_total") or 0.0 for name in names]
        errors = metrics.REGISTRY.get_sample_value("citadel_server_csr_sign_err_count_total", {"error": "CSR_ERROR"})
        return [*values, errors or 0.0]

    authenticator = Authenticator(lambda: DOMAINS, Tokens(), ["Kubernetes"])
    service = CertificateService(authenticator, Strict(), CountCertificates())
    before = counts()
    with pytest.raises(CallRefused):
        await service.create_certificate(body, Shown(None, {"authorization": "Bearer cart"}))
    assert [after - earlier for after, earlier in zip(counts(), before, strict=True)] == counted
