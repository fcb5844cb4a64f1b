"""Joins what concerns trust: the certificate authority, the ports with TLS, who may connect, the validating webhook."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING

import structlog

from controlplane import metrics
from controlplane.ads.credential import Credential, SecretAccess
from controlplane.ads.refusal import Refusal, StreamRefused
from controlplane.apis.mesh import MeshConfig
from controlplane.http2.call import Call
from controlplane.http2.connection import Handler
from controlplane.http2.headers import Status
from controlplane.http2.unary import CallRefused as GrpcRefused
from controlplane.http2.unary import unary
from controlplane.model.certificate_text import decode
from controlplane.model.certificates import Certificate
from controlplane.model.label_selector import any_matches
from controlplane.model.leads import Lead
from controlplane.model.proxy import Proxy
from controlplane.registry.environment import is_false
from controlplane.registry.mesh import SYSTEM_NAMESPACE
from controlplane.security.authentication import Authenticator, Caller, TrustDomains
from controlplane.security.ca import Authority
from controlplane.security.certificate_service import CREATE_CERTIFICATE, CertificateService
from controlplane.security.issuer import InvalidIssuerError
from controlplane.security.refusal import CallRefused
from controlplane.security.rotation import ServingKeeper
from controlplane.security.serving import ServingTls, serving_names
from controlplane.security.serving_files import InvalidServingError
from controlplane.security.signing import Signer
from controlplane.security.sources import SourceUnavailableError
from controlplane.settings import Settings
from controlplane.webhooks.advice import Advise
from controlplane.webhooks.review import Reviewer, Webhook
from controlplane.webhooks.server import WebhookServer
from controlplane.webhooks.validation import validate
from controlplane.wiring.authorities import Place, opened
from controlplane.wiring.callers import Callers
from controlplane.wiring.counting import (
    CountCertificates,
    count_configuration,
    count_http_error,
    count_limit,
    count_review,
    counted,
    counted_injection,
)
from controlplane.wiring.process import Process
from controlplane.wiring.tasks import Work
from controlplane.wiring.trust_bundle import TrustBundle

if TYPE_CHECKING:
    from kubernetes.aio.client import ApiClient

    from controlplane.controllers.injection_config import InjectionConfiguration
    from controlplane.controllers.leader import Leadership
    from controlplane.controllers.root_certificates import RootCertificates
    from controlplane.controllers.webhook_config import WebhookConfiguration
    from controlplane.security.secret_reviews import SecretReviews
    from controlplane.security.tokens import TokenReviews

log = structlog.get_logger(__name__)

_HANDS_REVOKED_ON = "PILOT_ENABLE_CA_CRL"
"""istiod's variable: lists of revoked certificates are put into each namespace, unless it is false."""
_ROOTS_NAME, _REVOKED_NAME = "PILOT_CA_CERT_CONFIGMAP", "PILOT_CRL_CONFIGMAP"
"""istiod's variables for the names of both ConfigMaps."""
_LARGEST_CSR = 32 << 10  # bytes; nobody is known yet who sends one


class _Proved(Credential):
    """The credential of a caller that has proved an identity.

    Without ``reviews`` it may read the Secrets of its namespace.
    """

    def __init__(self, caller: Caller, reviews: SecretReviews | None) -> None:
        self._caller = caller
        self._reviews = reviews
        self.namespace = caller.identity.namespace
        self.service_account = caller.identity.service_account

    async def secret_access(self) -> AsyncIterator[SecretAccess]:
        if self._reviews is None:
            yield SecretAccess.ALL
            return
        account = (self._caller.identity.namespace, self._caller.identity.service_account)
        async for allowed in self._reviews.answers(account):
            yield SecretAccess.ALL if allowed else SecretAccess.ROOTS

    def check(self, proxy: Proxy) -> None:
        account = proxy.metadata.get("SERVICE_ACCOUNT", "")
        try:
            self._caller.check_node(proxy.namespace, account if isinstance(account, str) else "")
        except CallRefused as refused:
            raise _stream_refused(refused) from refused


class Trust:
    """One control plane's identity and that of its callers. What needs no authority works before there is one."""

    def __init__(self, settings: Settings, mesh: Callable[[], MeshConfig], inject: Reviewer, process: Process) -> None:
        """Prepare; ``mesh`` is asked when something depends on it, ``inject`` reviews pods that are made."""
        self.advise: Advise | None = None
        """Who tells more of an object that is only tried."""
        self._identity = process.identity
        self._inject = inject
        self._settings = settings
        self._mesh = mesh
        self._supervisor, self._signals = process.supervisor, process.signals
        self._callers = Callers(settings)
        self._client: ApiClient | None = None
        self._tokens: TokenReviews | None = None
        self._reviews: SecretReviews | None = None
        self._authenticator: Authenticator | None = None
        self._authority: Authority | None = None
        self._signer: Signer | None = None
        self._keeper: ServingKeeper | None = None
        self._webhooks: WebhookServer | None = None
        self._configuration: WebhookConfiguration | None = None
        self._injectors: InjectionConfiguration | None = None
        self._published: tuple[RootCertificates, ...] = ()
        self._led: dict[str, Leadership] = {}
        self._working = self._telling = False
        self.told = TrustBundle(mesh, lambda: self.bundle, process.add, os.environ)
        """The roots that agents are told of."""
        self._missing = "the certificate authority has no key yet"
        self.serving: ServingTls | None = None
        """What the ports with TLS show; nothing until there is an authority that can sign."""

    @property
    def handlers(self) -> Mapping[str, Handler]:
        """The certificate service, by method."""
        return {CREATE_CERTIFICATE: unary(self._create_certificate, _LARGEST_CSR)}

    @property
    def bundle(self) -> str:
        """The roots that everybody trusts (PEM); empty while there is nothing that says so."""
        if self._authority is not None:
            return self._authority.bundle
        return self.serving.bundle if self.serving is not None else ""

    @property
    def missing(self) -> str:
        """Why nothing can be signed; empty where it can."""
        return "" if self.serving is not None else self._missing

    @property
    def problem(self) -> str:
        """What is wrong with where the authority comes from, whether it can sign meanwhile or not; empty if nothing."""
        return self.missing or (self._keeper.problem if self._keeper is not None else "")

    def certificates(self) -> Iterator[Certificate]:
        """Yield what is trusted, what signs below it, and what the ports show, to watch over their ends."""
        yield from (Certificate.of("root", root) for root in decode(self.bundle.encode()))
        if self._authority is not None:
            yield from (Certificate.of("intermediate", each) for each in self._authority.issuer.chain)
        if self.serving is not None and self.serving.certificate is not None:
            yield Certificate.of("serving", self.serving.certificate)

    def connect(self, client: ApiClient | None, away: Callable[[], bool]) -> None:
        """Take the way to the cluster, if there is one; ``away`` says whether its API server answers nobody."""
        self._client, settings = client, self._settings
        if client is not None:
            from controlplane.security.secret_reviews import SecretReviews  # noqa: PLC0415 - the Kubernetes client loads slowly
            from controlplane.security.tokens import TokenReviews  # noqa: PLC0415 - as above

            self._reviews = SecretReviews(client)
            self._tokens = TokenReviews(client, settings.audiences, away)
        self._authenticator = Authenticator(self._trust_domains, self._tokens, (settings.cluster_id,))

    async def open(self) -> ServingTls | None:
        """Try to open the authority; return what the ports show, ``None`` while ``missing`` says why there is none.

        What is wrong is logged when it is something else than the last time.
        """
        if self.serving is not None:
            return self.serving
        place = Place(self._settings, self._mesh, self._client, self._names)
        try:
            found = await opened(place, self._bundle_changed)
        except SourceUnavailableError as error:
            self._lacking(f"{self._source} cannot be read: {error}")
            return None
        except (InvalidIssuerError, InvalidServingError, CallRefused) as error:
            self._lacking(f"{self._source} cannot be used: {error}")
            return None
        self.serving, self._keeper, self._authority, self._signer = found
        self._tell()
        return self.serving

    @property
    def _source(self) -> str:
        """What certificates come from, in a sentence."""
        return "the certificate authority" if self._settings.ca_server else "the serving certificate"

    def _lacking(self, problem: str) -> None:
        if problem != self._missing:
            log.error("security.authority_unusable", reason=problem)
        self._missing = problem

    async def start_webhooks(self) -> int | None:
        """Open the webhooks' port, if there is to be one; return it.

        Raises:
            OSError: it cannot be had.
        """
        port = self._settings.https_port
        if port is None or self.serving is None:
            return None
        webhooks = {
            "validate": Webhook(counted(validate), told_apart=count_review, advise=self.advise),
            "inject": Webhook(counted_injection(self._inject), is_slow=True, answers_nonsense=True),
        }
        context = self.serving.https_context()
        self._webhooks = WebhookServer(context, webhooks, count_http_error, self._settings, count_limit)
        return await self._webhooks.start(self._settings.xds_host, port)

    async def keep(self) -> None:
        """Keep the authority and the serving certificate right until cancelled; call it once there is one."""
        if self._keeper is None:
            raise RuntimeError("there is no authority to keep")
        self._start_work()
        if self.told.wanted and not self._telling:
            self._telling = True  # as above
            self._supervisor.start("roots of other meshes", self.told.run)
        await self._keeper.run()

    def _start_work(self) -> None:
        """Begin what needs the roots: the keys of tokens, and what hands the roots on."""
        if self._client is None or self._tokens is None or self._working:
            return  # it goes on, whatever becomes of who called
        self._working = True
        self._supervisor.start("keys of tokens", self._tokens.run)
        if self._webhooks is not None:
            self._configure_webhooks(self._client)
        if self._authority is not None:
            self._publish(self._client, self._authority)

    def _publish(self, client: ApiClient, authority: Authority) -> None:
        """Begin to hand the roots on, and what is revoked; whoever signs instead of us does it, too."""
        from controlplane.controllers.leader import ROOT_CERTIFICATES  # noqa: PLC0415 - as above
        from controlplane.controllers.root_certificates import (  # noqa: PLC0415
            RevokedCertificates,
            RootCertificates,
            keep_all,
        )

        wanted: list[tuple[type[RootCertificates], Callable[[], str], str]] = [
            (RootCertificates, lambda: self.bundle, _ROOTS_NAME)
        ]
        if not is_false(os.environ.get(_HANDS_REVOKED_ON, "")):
            wanted.append((RevokedCertificates, lambda: authority.revoked, _REVOKED_NAME))
        self._published = tuple(
            kind(
                client,
                SYSTEM_NAMESPACE,
                text,
                self._discovered,
                signals=self._signals,
                name=os.environ.get(variable, ""),
            )
            for kind, text, variable in wanted
        )
        self.lead("root certificates", ROOT_CERTIFICATES, partial(keep_all, self._published))

    def _configure_webhooks(self, client: ApiClient) -> None:
        """Begin to tell the API server whom the webhooks' certificate leads to."""
        from controlplane.controllers.injection_config import InjectionConfiguration  # noqa: PLC0415
        from controlplane.controllers.webhook_config import Identity, WebhookConfiguration  # noqa: PLC0415

        start, revision = self._supervisor.start, self._settings.revision
        identity = Identity(revision, SYSTEM_NAMESPACE, f"istiod-{revision}-validator")
        self._configuration = WebhookConfiguration(
            client, lambda: self.bundle, identity, count_configuration, signals=self._signals
        )
        start("webhook configuration", self._configuration.run)
        self._injectors = InjectionConfiguration(client, lambda: self.bundle, revision, signals=self._signals)
        start("injection configuration", self._injectors.run)

    def lead(self, name: str, lease: str, work: Work) -> None:
        """Compete for a lease, and do some work while this replica has it; both under supervision."""
        if self._client is None:
            return
        from controlplane.controllers.leader import Leadership  # noqa: PLC0415 - as above

        leading = metrics.LEADING.labels(name)
        leading.set(0)

        async def led() -> None:
            leading.set(1)
            try:
                await work()
            finally:
                leading.set(0)

        supervised = partial(self._supervisor.keep, name, led)
        leadership = Leadership(self._client, (SYSTEM_NAMESPACE, lease), self._identity, supervised)
        self._led[name] = leadership
        self._supervisor.start(f"election for {name}", leadership.run)

    @property
    def leads(self) -> tuple[Lead, ...]:
        """What one replica does for all, and who that is, by name; none where files are read."""
        return tuple(Lead(name, held.leads, held.holder) for name, held in sorted(self._led.items()))

    async def stop(self) -> None:
        """Close the webhooks' port."""
        if self._webhooks is not None:
            await self._webhooks.stop()

    async def identify(self, call: Call) -> Credential:
        """Return what a caller has proved; see ``ads.server.Identify``. Plaintext proves nothing."""
        if not call.secure or self._authenticator is None:
            return Credential()
        try:
            async with self._callers.identified(call):
                return _Proved(await self._authenticator.authenticate(call), self._reviews)
        except CallRefused as refused:
            raise _stream_refused(refused) from refused

    async def _create_certificate(self, request: bytes, call: Call) -> bytes:
        if not self._settings.ca_server:
            raise GrpcRefused(Status.UNIMPLEMENTED, "certificates are signed elsewhere (--no-ca-server): ask there")
        if self._signer is None or self._authenticator is None:
            raise GrpcRefused(Status.UNAVAILABLE, "the certificate authority is not ready")
        if not call.secure:
            raise GrpcRefused(Status.UNAUTHENTICATED, "certificates are signed over TLS only")
        may_sign = self._callers.may_sign
        service = CertificateService(self._authenticator, self._signer, CountCertificates(), may_sign)
        try:
            async with self._callers.identified(call):
                response = await service.create_certificate(request, call)
        except (CallRefused, StreamRefused) as refused:
            raise GrpcRefused(Status[refused.kind.value], str(refused)) from refused
        call.identified()
        return response

    def mesh_changed(self) -> None:
        """Tell those who depend on the mesh configuration."""
        for each in self._published:
            each.changed()
        self._tell()

    def _tell(self) -> None:
        self.told.changed(for_signers=bool(self._settings.external_ca))

    def _discovered(self, labels: Mapping[str, str]) -> bool:
        """Whether a namespace with these labels is one that the mesh configuration selects."""
        selectors = self._mesh().discovery_selectors
        return not selectors or any_matches(selectors, labels)

    def _bundle_changed(self) -> None:
        """Tell those who hand the roots on."""
        if self._configuration is not None:
            self._configuration.bundle_changed()
        if self._injectors is not None:
            self._injectors.bundle_changed()
        for each in self._published:
            each.changed()
        self._tell()

    def _names(self) -> tuple[str, ...]:
        settings = self._settings
        address = self._mesh().default_config.discovery_address or ""
        return serving_names(SYSTEM_NAMESPACE, address, settings.revision, settings.further_names)

    def _trust_domains(self) -> TrustDomains:
        mesh = self._mesh()
        return TrustDomains(mesh.trust_domain, frozenset(mesh.trust_domain_aliases))


def _stream_refused(refused: CallRefused) -> StreamRefused:
    kinds = {kind.value: kind for kind in Refusal}
    return StreamRefused(kinds.get(refused.kind.value, Refusal.UNAVAILABLE), str(refused))
