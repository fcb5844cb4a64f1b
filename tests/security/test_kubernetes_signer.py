"""A signer outside, reached through CertificateSigningRequests: what it is asked, and what of its answers is taken."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from ssl import DER_cert_to_PEM_cert
from typing import Any, cast

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import ExtendedKeyUsageOID
from kubernetes.aio.client import ApiClient, Configuration

from controlplane.security.ca import Lifetimes
from controlplane.security.certificates import encode, leaf
from controlplane.security.external_roots import ExternalRoots, WithRoots
from controlplane.security.issuer import InvalidIssuerError
from controlplane.security.kubernetes_signer import KubernetesSigner, SignerPolicy, SignerRoots
from controlplane.security.refusal import CallRefused, Refusal
from controlplane.security.self_signed import RootPolicy
from controlplane.security.serving_signer import SignedOutside
from controlplane.security.signing import Wanted
from controlplane.security.signing_requests import SigningRequests
from controlplane.security.sources import FolderSource, SourceUnavailableError
from tests.security.authorities import Clock, Signer, csr, of_unknown_curve, of_version_6, repeating, root

ROOT, OTHER = root("root"), root("other")
ISSUER = ROOT.signs("issuer")
KEY = ec.generate_private_key(ec.SECP256R1())
CART = "spiffe://cluster.local/ns/shop/sa/cart"
URI = x509.UniformResourceIdentifier(CART)
REQUEST = csr(KEY, URI)
NOW = datetime.now(UTC)
HOUR = timedelta(hours=1)
BUNDLE = (ROOT.pem + OTHER.pem).decode()
"""What everybody in the mesh trusts."""
LATE = root("late")
"""A root that nobody has been told to trust."""
Answer = Callable[[x509.CertificateSigningRequest], dict[str, Any]]


def certificate(
    request: x509.CertificateSigningRequest,
    signer: Signer = ISSUER,
    names: Sequence[str] = (CART,),
    validity: tuple[datetime, datetime] = (NOW - HOUR, NOW + HOUR),
) -> x509.Certificate:
    key: Any = request.public_key()
    return leaf((signer.certificate, signer.key), key, names, validity)


def signed(*certificates: x509.Certificate) -> dict[str, Any]:
    return {"certificate": base64.b64encode(encode(certificates).encode()).decode()}


def usual(request: x509.CertificateSigningRequest) -> dict[str, Any]:
    return signed(certificate(request), ISSUER.certificate)


@dataclass
class Api:
    """The part of a Kubernetes API that requests go through, and a signer who answers once they are approved."""

    answer: Answer = usual
    status: int = 201
    url: str = ""
    seen: list[dict[str, Any]] = field(default_factory=list)
    held: dict[str, dict[str, Any]] = field(default_factory=dict)

    async def create(self, request: web.Request) -> web.Response:
        obj = await request.json()
        if self.status != 201:
            return web.json_response({"message": "no"}, status=self.status)
        self.seen.append(obj)
        self.held[obj["metadata"]["name"]] = obj | {"status": {}}
        return web.json_response(obj, status=201)

    async def approve(self, request: web.Request) -> web.Response:
        obj = self.held[request.match_info["name"]]
        obj["status"] = (await request.json())["status"]
        asked = x509.load_pem_x509_csr(base64.b64decode(obj["spec"]["request"]))
        (approved,) = obj["status"]["conditions"]
        assert (approved["type"], approved["status"]) == ("Approved", "True")
        answered = self.answer(asked)
        obj["status"] |= answered | {"conditions": [approved, *answered.get("conditions", ())]}
        return web.json_response(obj)

    async def read(self, request: web.Request) -> web.Response:
        return web.json_response(self.held[request.match_info["name"]])

    async def remove(self, request: web.Request) -> web.Response:
        del self.held[request.match_info["name"]]
        return web.json_response({"kind": "Status", "status": "Success"})


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    made = Api()
    app = web.Application()
    place = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
    app.router.add_post(place, made.create)
    app.router.add_patch(f"{place}/{{name}}/approval", made.approve)
    app.router.add_get(f"{place}/{{name}}", made.read)
    app.router.add_delete(f"{place}/{{name}}", made.remove)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.url = "http://{}:{}".format(*runner.addresses[0][:2])
    yield made
    await runner.cleanup()


@asynccontextmanager
async def signing(
    api: Api,
    policy: SignerPolicy | None = None,
    stated: Sequence[tuple[Sequence[str], str]] = (((), ROOT.pem.decode()),),
    patience: timedelta = timedelta(seconds=60),
) -> AsyncIterator[KubernetesSigner]:
    async with ApiClient(Configuration(host=api.url)) as client:
        roots = SignerRoots(ExternalRoots(Path("/nowhere"), lambda: stated), lambda: BUNDLE)
        policy = policy or SignerPolicy("mesh.test/usual", "mesh.test", Lifetimes(longest=timedelta(days=90)))
        yield KubernetesSigner(SigningRequests(client, patience), policy, roots)


async def refusal(api: Api, wanted: Wanted, **arguments: Any) -> CallRefused:
    async with signing(api, **arguments) as signer:
        with pytest.raises(CallRefused) as refused:
            await signer.chain(wanted)
    return refused.value


async def test_a_request_is_approved_signed_and_removed(api: Api) -> None:
    async with signing(api) as signer:
        chain = await signer.chain(Wanted(REQUEST, [CART], timedelta(hours=2)))
    found = x509.load_pem_x509_certificate(chain[0].encode())
    assert found.public_key() == KEY.public_key()
    assert chain[1:] == (ISSUER.pem.decode(), BUNDLE)
    (asked,) = api.seen
    assert base64.b64decode(asked["spec"].pop("request")) == REQUEST.encode()
    assert asked["spec"] == {
        "signerName": "mesh.test/usual",
        "expirationSeconds": 7200,
        "usages": ["digital signature", "key encipherment", "server auth", "client auth"],
    }
    assert not api.held


async def test_a_root_at_the_end_of_an_answer_is_left_to_the_bundle(api: Api) -> None:
    api.answer = lambda request: signed(certificate(request), ISSUER.certificate, ROOT.certificate)
    async with signing(api) as signer:
        assert len(await signer.chain(Wanted(REQUEST, [CART]))) == 3


async def test_an_agent_may_name_a_signer_of_the_domain_with_roots_of_its_own(api: Api) -> None:
    api.answer = lambda request: signed(certificate(request, OTHER))
    stated = ((("mesh.test/usual",), ROOT.pem.decode()), (("mesh.test/special",), OTHER.pem.decode()))
    async with signing(api, stated=stated) as signer:
        assert await signer.chain(Wanted(REQUEST, [CART], signer="special"))
        with pytest.raises(CallRefused, match="it does not lead to a root of this signer"):
            await signer.chain(Wanted(REQUEST, [CART]))
    assert [each["spec"]["signerName"] for each in api.seen] == ["mesh.test/special", "mesh.test/usual"]


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        (Wanted(csr(KEY), [CART]), "the request has no names; it must have spiffe://cluster.local/ns/shop/sa/cart"),
        (Wanted(REQUEST, [CART.replace("cart", "till")]), "the request has other names than its sender"),
        (
            Wanted(csr(KEY, x509.UniformResourceIdentifier(CART), x509.DNSName("bank.test")), [CART]),
            "the request has other names than its sender",
        ),
        (
            Wanted(csr(KEY, x509.UniformResourceIdentifier(CART), authority=True), [CART]),
            "the request is for a certificate authority",
        ),
        (Wanted(csr(KEY, x509.DNSName(CART)), [CART]), "the request has other names than its sender"),
        (Wanted(csr(KEY, URI, common_name="admin"), [CART]), "the request has a subject, CN=admin"),
        (Wanted(csr(KEY, URI, usages=[ExtendedKeyUsageOID.CODE_SIGNING]), [CART]), "is for extendedKeyUsage"),
        (Wanted(REQUEST, [CART], timedelta(days=91)), "TTL_ERROR"),
        (Wanted("nonsense", [CART]), "CSR_ERROR"),
    ],
)
async def test_what_asks_for_too_much_reaches_no_signer(api: Api, wanted: Wanted, reason: str) -> None:
    refused = await refusal(api, wanted)
    assert reason in str(refused)
    assert refused.kind is Refusal.INVALID
    assert not api.seen


@pytest.mark.parametrize(
    ("policy", "stated", "signer", "reason"),
    [
        (SignerPolicy("mesh.test/usual"), (((), ROOT.pem.decode()),), "special", "no domain of signers is set"),
        (SignerPolicy(domain="mesh.test"), (((), ROOT.pem.decode()),), "", "there is no usual one"),
        (SignerPolicy("mesh.test/usual"), (), "", "signer mesh.test/usual: no root of it is known"),
        (SignerPolicy("mesh.test/usual"), (((), "nonsense"),), "", "caCertificates[0].pem: is no list of certificates"),
        (SignerPolicy("mesh.test/usual"), (((), LATE.pem.decode()),), "", "its root is not given out yet"),
    ],
)
async def test_a_signer_that_is_not_known_is_not_asked(
    api: Api, policy: SignerPolicy, stated: Any, signer: str, reason: str
) -> None:
    refused = await refusal(api, Wanted(REQUEST, [CART], signer=signer), policy=policy, stated=stated)
    assert reason in str(refused)
    assert not api.seen


def stating(*values: x509.ExtensionType, ends: datetime = NOW + HOUR, signer: Signer = ISSUER) -> Answer:
    """Return a signer that says more of a certificate, or lets it end at another time."""

    def answer(request: x509.CertificateSigningRequest) -> dict[str, Any]:
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(signer.certificate.subject)
            .public_key(request.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(NOW - HOUR)
            .not_valid_after(ends)
            .add_extension(x509.SubjectAlternativeName([URI]), critical=True)
        )
        for value in values:
            builder = builder.add_extension(value, critical=False)
        return signed(builder.sign(signer.key, SHA256()), signer.certificate)

    return answer


def usage(*, digital_signature: bool = True, key_cert_sign: bool = False) -> x509.KeyUsage:
    others = ["content_commitment", "key_encipherment", "data_encipherment", "key_agreement"]
    others += ["encipher_only", "decipher_only", "crl_sign"]
    return x509.KeyUsage(
        digital_signature=digital_signature, key_cert_sign=key_cert_sign, **dict.fromkeys(others, False)
    )


SERVER, CLIENT = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH


def by_no_authority(request: x509.CertificateSigningRequest) -> dict[str, Any]:
    between = ROOT.signs("leaf", authority=False)
    return signed(certificate(request, between), between.certificate)


def by_what_has_ended(request: x509.CertificateSigningRequest) -> dict[str, Any]:
    between = ROOT.signs("ended", days=-0.5)
    return signed(certificate(request, between), between.certificate)


@pytest.mark.parametrize(
    "answer",
    [
        stating(),
        stating(usage(), x509.ExtendedKeyUsage([SERVER, CLIENT])),
        stating(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE])),
        stating(x509.ExtendedKeyUsage([SERVER, CLIENT, ExtendedKeyUsageOID.CODE_SIGNING])),
        stating(ends=NOW + timedelta(days=90)),
    ],
)
async def test_an_answer_may_say_more_of_what_is_good(api: Api, answer: Answer) -> None:
    """No purpose at all is every purpose, and lifetimes are the signer's to say up to the longest that there may be."""
    api.answer = answer
    async with signing(api) as signer:
        assert await signer.chain(Wanted(REQUEST, [CART], HOUR))


UNREAD = "it is no list of certificates in PEM that can be read: "


def odd_names(request: x509.CertificateSigningRequest) -> dict[str, Any]:
    """A certificate for the right key, which states one extension twice."""
    key = cast("ec.EllipticCurvePublicKey", request.public_key())
    stated = x509.SubjectKeyIdentifier.from_public_key(key)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(ISSUER.certificate.subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - HOUR)
        .not_valid_after(NOW + HOUR)
        .add_extension(stated, critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key), critical=False)
    )
    made = builder.sign(ISSUER.key, SHA256())
    return as_answer(repeating(Signer(made, ISSUER.key)))


def as_answer(der: bytes) -> dict[str, Any]:
    return {"certificate": base64.b64encode(DER_cert_to_PEM_cert(der).encode()).decode()}


def for_another_key(_request: x509.CertificateSigningRequest) -> dict[str, Any]:
    return usual(x509.load_pem_x509_csr(csr(ec.generate_private_key(ec.SECP256R1())).encode()))


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (for_another_key, "it is for another key"),
        (lambda request: signed(certificate(request, names=[CART, "bank.test"]), ISSUER.certificate), "other names"),
        (lambda request: signed(certificate(request, OTHER)), "it does not lead to a root of this signer"),
        (lambda request: signed(certificate(request)), "it does not lead to a root of this signer"),
        (lambda request: signed(certificate(request, ROOT, [CART], (NOW - 2 * HOUR, NOW - HOUR))), "it has ended"),
        (lambda _: signed(ROOT.certificate), "it holds no certificate"),
        (stating(x509.ExtendedKeyUsage([SERVER])), "its extendedKeyUsage is not that of a client and server"),
        (stating(x509.ExtendedKeyUsage([CLIENT])), "its extendedKeyUsage is not that of a client and server"),
        (stating(usage(digital_signature=False)), "its keyUsage is not that of a client and server"),
        (stating(usage(key_cert_sign=True)), "its keyUsage is not that of a client and server"),
        (stating(x509.BasicConstraints(ca=True, path_length=None)), "it is that of a certificate authority"),
        (stating(ends=NOW + timedelta(days=91)), "it ends at "),
        (by_no_authority, "it was signed by what is no certificate authority"),
        (by_what_has_ended, "what it was signed by has ended, or has not begun"),
        (lambda _: {"certificate": base64.b64encode(b"nonsense").decode()}, "it is no list of certificates in PEM"),
        (lambda _: as_answer(of_version_6(ISSUER)), f"{UNREAD}5 is not a valid X509 version"),
        (lambda _: as_answer(of_unknown_curve(ISSUER)), f"{UNREAD}Curve "),
        (odd_names, f"{UNREAD}its extensions cannot be read: "),
        (
            lambda _: {
                "conditions": [{"type": "Denied", "status": "True", "reason": "Policy", "message": "not today"}]
            },
            "denied: Policy: not today",
        ),
        (
            lambda _: {"conditions": [{"type": "Failed", "status": "True", "reason": "Broken", "message": "no key"}]},
            "failed: Broken: no key",
        ),
    ],
)
async def test_an_answer_that_is_not_what_was_asked_for_reaches_no_workload(
    api: Api, answer: Answer, reason: str
) -> None:
    api.answer = answer
    refused = await refusal(api, Wanted(REQUEST, [CART]))
    assert f"signer mesh.test/usual: {reason}" in str(refused).replace("its answer is refused: ", "").replace(
        "it has other names", "other names"
    )
    assert refused.kind is Refusal.INTERNAL
    assert len(api.seen) == 1
    assert not api.held


async def test_a_signer_that_says_nothing_is_not_waited_for_without_end(api: Api) -> None:
    api.answer = lambda _: {}
    refused = await refusal(api, Wanted(REQUEST, [CART]), patience=timedelta(milliseconds=20))
    assert refused.kind is Refusal.UNAVAILABLE
    assert "no certificate after 0.02 s" in str(refused)
    assert not api.held


async def test_a_missing_right_is_named(api: Api) -> None:
    api.status = 403
    refused = await refusal(api, Wanted(REQUEST, [CART]))
    assert "the API server refused: 403 Forbidden" in str(refused)
    assert not api.held


async def test_an_api_server_that_is_away(api: Api) -> None:
    away = Api(url="http://127.0.0.1:1")
    refused = await refusal(away, Wanted(REQUEST, [CART]), policy=SignerPolicy("a/b", lifetimes=Lifetimes()))
    assert refused.kind is Refusal.UNAVAILABLE
    assert "the API server is not reached" in str(refused)
    assert not api.seen


async def test_roots_of_others_are_trusted_beside_our_own(tmp_path: Path) -> None:
    file, stated = tmp_path / "roots.pem", [((), ROOT.pem.decode())]
    source = FolderSource(tmp_path / "ca", RootPolicy())
    own = (await source.read()).roots
    both = WithRoots(source, ExternalRoots(file, lambda: stated))
    assert (await both.read()).roots == (*own, ROOT.certificate)
    file.write_bytes(OTHER.pem + ROOT.pem)
    assert (await both.read()).roots == (*own, OTHER.certificate, ROOT.certificate)
    file.write_bytes(b"nonsense")
    with pytest.raises(InvalidIssuerError, match=r"roots\.pem: is no list of certificates in PEM"):
        await both.read()


NAMES = ("10.0.0.1", "istiod.istio-system.svc")


@dataclass
class Ports:
    """What the ports of a control plane depend on, and what they show."""

    names: tuple[str, ...] = NAMES
    bundle: str = BUNDLE
    stated: tuple[tuple[Sequence[str], str], ...] = (((), ROOT.pem.decode()),)
    clock: Clock = field(default_factory=lambda: Clock(datetime.now(UTC)))

    @asynccontextmanager
    async def served(self, api: Api) -> AsyncIterator[SignedOutside]:
        async with ApiClient(Configuration(host=api.url)) as client:
            roots = SignerRoots(ExternalRoots(Path("/nowhere"), lambda: self.stated), lambda: self.bundle)
            requests = SigningRequests(client, timedelta(seconds=60))
            yield SignedOutside(requests, "mesh.test/ports", roots, lambda: self.names, self.clock)

    def sign(self, request: x509.CertificateSigningRequest) -> dict[str, Any]:
        now = self.clock()
        return signed(certificate(request, names=self.names, validity=(now, now + HOUR)), ISSUER.certificate)


async def test_a_certificate_of_the_ports_is_asked_for_by_names_alone_and_kept_for_half_its_life(api: Api) -> None:
    ports = Ports()
    api.answer = ports.sign
    async with ports.served(api) as source:
        with pytest.raises(SourceUnavailableError, match=r"signer mesh\.test/ports has not signed yet"):
            source.current()
        await source.prepare()
        shown = source.current()
        ports.clock.pass_by(HOUR * 0.4)
        await source.prepare()
        assert source.current() is shown
        ports.clock.pass_by(HOUR * 0.2)
        await source.prepare()
        renewed = source.current()
        assert renewed.certificate != shown.certificate
        ports.names = (*NAMES, "istiod-remote.istio-system.svc")
        await source.prepare()
        assert source.current().certificate not in (renewed.certificate, shown.certificate)
    (asked, *_) = api.seen
    request = x509.load_pem_x509_csr(base64.b64decode(asked["spec"]["request"]))
    (extension,) = request.extensions
    assert set(extension.value) == {x509.IPAddress(ip_address("10.0.0.1")), x509.DNSName("istiod.istio-system.svc")}
    assert not request.subject
    assert (asked["spec"]["signerName"], asked["metadata"]["name"][:11]) == ("mesh.test/ports", "csr-istiod-")
    assert len(api.seen) == 3
    chain = x509.load_pem_x509_certificates(shown.pem[shown.pem.index(b"-----BEGIN CERT") :])
    assert chain == [shown.certificate, ISSUER.certificate]


async def test_the_ports_go_on_with_what_they_have_while_the_signer_refuses(api: Api) -> None:
    """And whom they trust follows the bundle, also without a new certificate."""
    ports = Ports()
    api.answer = ports.sign
    async with ports.served(api) as source:
        await source.prepare()
        shown = source.current()
        api.status = 403
        ports.clock.pass_by(HOUR * 0.9)
        with pytest.raises(CallRefused, match="the API server refused: 403 Forbidden"):
            await source.prepare()
        assert source.current() is shown
        ports.bundle = LATE.pem.decode() + BUNDLE
        assert source.current() == shown._replace(bundle=ports.bundle)


async def test_a_certificate_of_other_names_is_not_shown(api: Api) -> None:
    ports = Ports()
    api.answer = lambda request: signed(certificate(request, names=["istiod.bank.svc"]), ISSUER.certificate)
    async with ports.served(api) as source:
        with pytest.raises(CallRefused, match="it has other names than 10"):
            await source.prepare()
        with pytest.raises(SourceUnavailableError):
            source.current()
