"""Joins what concerns trust: the certificate authority, the ports with TLS, who may connect, the validating webhook."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from controlplane import metrics
from controlplane.ads.credential import Credential
from controlplane.ads.refusal import Refusal, StreamRefused
from controlplane.apis.mesh import MeshConfig
from controlplane.http2.call import Call
from controlplane.http2.connection import Handler
from controlplane.http2.headers import Status
from controlplane.http2.unary import CallRefused as GrpcRefused
from controlplane.http2.unary import unary
from controlplane.model.label_selector import discovered
from controlplane.model.objects import Labels
from controlplane.model.proxy import Proxy
from controlplane.registry.mesh import SYSTEM_NAMESPACE
from controlplane.security.authentication import Authenticator, Caller, TrustDomains
from controlplane.security.ca import Authority, Lifetimes
from controlplane.security.certificate_service import CREATE_CERTIFICATE, CertificateService
from controlplane.security.keeper import Keeper, open_authority
from controlplane.security.observer import SecurityObserver
from controlplane.security.refusal import CallRefused
from controlplane.security.self_signed import RootPolicy
from controlplane.security.serving import ServingTls, serving_names
from controlplane.security.sources import FolderSource, IssuerSource
from controlplane.settings import Settings
from controlplane.webhooks.server import WebhookServer
from controlplane.webhooks.validation import validate

if TYPE_CHECKING:
    from kubernetes.aio.client import ApiClient

    from controlplane.controllers.root_certificates import RootCertificates
    from controlplane.controllers.webhook_config import WebhookConfiguration
    from controlplane.security.tokens import TokenReviews

log = structlog.get_logger(__name__)

PLUGGED_IN = Path("/etc/cacerts")
READ_AGAIN = timedelta(seconds=30)


class _Counting(SecurityObserver):
    """Counts requests for certificates."""

    def requested(self) -> None:
        metrics.CSRS.inc()

    def unauthenticated(self) -> None:
        metrics.CSR_UNAUTHENTICATED.inc()

    def not_signed(self, error: str) -> None:
        metrics.CSR_SIGN_ERRORS.labels(error).inc()

    def signed(self) -> None:
        metrics.CSR_SIGNED.inc()


class _Proved(Credential):
    """The credential of a caller that has proved an identity."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self.namespace = caller.identity.namespace

    def check(self, proxy: Proxy) -> None:
        account = proxy.metadata.get("SERVICE_ACCOUNT", "")
        try:
            self._caller.check_node(proxy.namespace, account if isinstance(account, str) else "")
        except CallRefused as refused:
            raise _stream_refused(refused) from refused


class Trust:
    """One control plane's identity and that of its callers; nothing works before ``open``."""

    def __init__(self, settings: Settings, mesh: Callable[[], MeshConfig], identity: str) -> None:
        """Prepare; ``mesh`` is asked when something depends on it, ``identity`` names this replica."""
        self._identity = identity
        self._settings = settings
        self._mesh = mesh
        self._client: ApiClient | None = None
        self._tokens: TokenReviews | None = None
        self._authenticator: Authenticator | None = None
        self._authority: Authority | None = None
        self._serving: ServingTls | None = None
        self._keeper: Keeper | None = None
        self._webhooks: WebhookServer | None = None
        self._configuration: WebhookConfiguration | None = None
        self._roots: RootCertificates | None = None

    @property
    def handlers(self) -> Mapping[str, Handler]:
        """The certificate service, by method."""
        return {CREATE_CERTIFICATE: unary(self._create_certificate)}

    @property
    def bundle(self) -> str:
        """The roots that everybody trusts (PEM); empty before ``open``."""
        return self._authority.bundle if self._authority is not None else ""

    async def open(self, client: ApiClient | None) -> ServingTls:
        """Wait for the authority, and return what the ports show; ``client`` reaches the cluster, if there is one.

        Raises:
            InvalidIssuerError: what is there cannot sign.
        """
        self._client, settings = client, self._settings
        if client is not None:
            from controlplane.security.tokens import TokenReviews  # noqa: PLC0415 - the Kubernetes client loads slowly

            self._tokens = TokenReviews(client, settings.audiences)
        self._authenticator = Authenticator(self._trust_domains, self._tokens, (settings.cluster_id,))
        source = self._issuers()
        lifetimes = Lifetimes(settings.certificate_lifetime, settings.max_certificate_lifetime)
        self._authority = await open_authority(source, lifetimes)
        self._authority.on_change(self._bundle_changed)
        self._serving = ServingTls(self._authority, self._names)
        self._keeper = Keeper(source, self._authority, self._serving, READ_AGAIN)
        return self._serving

    async def start_webhooks(self) -> int | None:
        """Open the webhooks' port, if there is to be one; return it.

        Raises:
            OSError: it cannot be had.
        """
        port = self._settings.https_port
        if port is None or self._serving is None:
            return None
        self._webhooks = WebhookServer(self._serving.https_context(), {"validate": validate})
        return await self._webhooks.start(self._settings.xds_host, port)

    async def run(self, status: Callable[[ApiClient], Awaitable[None]] | None = None) -> None:
        """Keep everything right until cancelled; what one replica at a time writes, while this one leads.

        ``status`` is such work that this module knows nothing of: what becomes of objects is written to their status.
        """
        async with asyncio.TaskGroup() as tasks:
            if self._keeper is not None:
                tasks.create_task(self._keeper.run())
            if self._client is not None and self._tokens is not None:
                tasks.create_task(self._tokens.run())
                for controller in self._controllers(self._client, status):
                    tasks.create_task(controller)

    def _controllers(
        self, client: ApiClient, status: Callable[[ApiClient], Awaitable[None]] | None
    ) -> Iterator[Coroutine[Any, Any, None]]:
        """Return the work of all that writes to the cluster."""
        from controlplane.controllers.leader import ROOT_CERTIFICATES, STATUS, Leadership  # noqa: PLC0415 - as above
        from controlplane.controllers.root_certificates import RootCertificates  # noqa: PLC0415
        from controlplane.controllers.webhook_config import Identity, WebhookConfiguration  # noqa: PLC0415

        revision = self._settings.revision
        if self._webhooks is not None:
            identity = Identity(revision, SYSTEM_NAMESPACE, f"istiod-{revision}-validator")
            self._configuration = WebhookConfiguration(client, lambda: self.bundle, identity)
            yield self._configuration.run()
        self._roots = RootCertificates(client, SYSTEM_NAMESPACE, lambda: self.bundle, self._selects)
        yield Leadership(client, (SYSTEM_NAMESPACE, ROOT_CERTIFICATES), self._identity, self._roots.run).run()
        if status is not None:
            work = partial(status, client)
            yield Leadership(client, (SYSTEM_NAMESPACE, STATUS), self._identity, work).run()

    def mesh_changed(self) -> None:
        """Have the root certificates written where they now belong: other namespaces may be selected."""
        if self._roots is not None:
            self._roots.changed()

    async def stop(self) -> None:
        """Close the webhooks' port."""
        if self._webhooks is not None:
            await self._webhooks.stop()

    async def identify(self, call: Call) -> Credential:
        """Return what a caller has proved; see ``ads.server.Identify``. Plaintext proves nothing."""
        if not call.secure or self._authenticator is None:
            return Credential()
        try:
            return _Proved(await self._authenticator.authenticate(call))
        except CallRefused as refused:
            raise _stream_refused(refused) from refused

    async def _create_certificate(self, request: bytes, call: Call) -> bytes:
        if self._authority is None or self._authenticator is None:
            raise GrpcRefused(Status.UNAVAILABLE, "the certificate authority is not ready")
        if not call.secure:
            raise GrpcRefused(Status.UNAUTHENTICATED, "certificates are signed over TLS only")
        service = CertificateService(self._authenticator, self._authority, _Counting())
        try:
            return await service.create_certificate(request, call)
        except CallRefused as refused:
            raise GrpcRefused(Status[refused.kind.value], str(refused)) from refused

    def _bundle_changed(self) -> None:
        """Tell those who hand the roots on."""
        if self._configuration is not None:
            self._configuration.bundle_changed()
        if self._roots is not None:
            self._roots.changed()

    def _selects(self, labels: Labels) -> bool:
        """Whether a namespace with these labels belongs to the mesh: ``discoverySelectors``."""
        return discovered(self._mesh().discovery_selectors, labels)

    def _issuers(self) -> IssuerSource:
        policy = RootPolicy(self._mesh().trust_domain)
        folder = self._settings.ca_dir
        if self._client is None:
            if folder is None:
                raise RuntimeError("no certificate authority without a folder or a cluster")
            return FolderSource(folder, policy)
        from controlplane.security.secret_source import ClusterSource  # noqa: PLC0415 - as above

        return ClusterSource(self._client, SYSTEM_NAMESPACE, folder or PLUGGED_IN, policy)

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
