"""Opens what certificates come from: an authority of our own, or files of somebody else's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import structlog

from controlplane.apis.mesh import MeshConfig
from controlplane.registry.mesh import SYSTEM_NAMESPACE
from controlplane.registry.trust_bundle import stated_roots
from controlplane.security.ca import Authority, Lifetimes
from controlplane.security.external_roots import ExternalRoots, WithRoots
from controlplane.security.handover import Memory
from controlplane.security.rotation import Rotator, ServingKeeper, open_authority
from controlplane.security.self_signed import RootPolicy
from controlplane.security.serving import ServingSource, ServingTls, SignedHere
from controlplane.security.serving_files import ServingFiles
from controlplane.security.signing import Signer
from controlplane.security.sources import FolderSource, IssuerSource
from controlplane.settings import Settings

if TYPE_CHECKING:
    from kubernetes.aio.client import ApiClient

log = structlog.get_logger(__name__)

READ_AGAIN = timedelta(seconds=30)
PLUGGED_IN = Path("/etc/cacerts")
EXTERNAL_ROOTS = Path("/etc/external-ca-cert/root-cert.pem")
MOUNTED = Path("/var/run/secrets/istiod")
ANSWER_PATIENCE = timedelta(seconds=60)
"""How long a signer outside may take for one answer."""


class Opened(NamedTuple):
    """What the ports show, what keeps it right, and whose roots are handed on: ``None`` where somebody else does that.

    ``signer`` signs for workloads: the authority or, with its word, a signer outside; ``None`` if nobody here does.
    """

    serving: ServingTls
    keeper: ServingKeeper
    authority: Authority | None
    signer: Signer | None


class Place(NamedTuple):
    """Where a control plane is: its settings, the mesh at present, its cluster if it has one, and its own names."""

    settings: Settings
    mesh: Callable[[], MeshConfig]
    client: ApiClient | None
    names: Callable[[], Sequence[str]]


async def opened(place: Place, changed: Callable[[], None]) -> Opened:
    """Open it; ``changed`` is called when the roots that everybody trusts have become others.

    Raises:
        CallRefused: the authority has ended, or a signer outside does not sign for the ports.
        InvalidIssuerError: the authority cannot sign.
        InvalidServingError: the files of somebody else's certificate do not fit.
        SourceUnavailableError: something cannot be read.
    """
    settings = place.settings
    if not settings.ca_server:
        serving = ServingTls(ServingFiles(settings.serving_dir or MOUNTED))
        log.info("security.serving_from_files", folder=str(settings.serving_dir or MOUNTED))
        return Opened(serving, ServingKeeper(serving, READ_AGAIN, changed), None, None)
    lifetimes = Lifetimes(settings.certificate_lifetime, settings.max_certificate_lifetime)
    source, memory = _issuers(place), _memory(place)
    external = _external_roots(place)
    if external is not None:
        source = WithRoots(source, external)
    authority = await open_authority(source, lifetimes, memory)
    outside = None if external is None else _Outside(place, external, authority)
    serving = ServingTls(await _prepared(SignedHere(authority, place.names) if outside is None else outside.serving()))
    authority.on_change(changed)
    log.info("security.authority_opened", subject=authority.issuer.certificate.subject.rfc4514_string())
    signer = authority if outside is None else outside.signer(lifetimes)
    return Opened(serving, Rotator(source, authority, serving, READ_AGAIN, memory), authority, signer)


def _external_roots(place: Place) -> ExternalRoots | None:
    """Return the roots of signers outside; ``None`` where there are no such signers."""
    if not place.settings.external_ca:
        return None
    return ExternalRoots(
        place.settings.external_roots or EXTERNAL_ROOTS,
        lambda: [(each.signers, each.pem) for each in stated_roots(place.mesh())],
    )


class _Outside:
    """Signers outside, for workloads and, where that is wanted, for our ports."""

    def __init__(self, place: Place, roots: ExternalRoots, authority: Authority) -> None:
        if place.client is None:
            raise RuntimeError("no signer of Kubernetes without a cluster")
        from controlplane.security.kubernetes_signer import SignerRoots  # noqa: PLC0415 - as below
        from controlplane.security.signing_requests import SigningRequests  # noqa: PLC0415

        self._place, self._authority = place, authority
        self._requests = SigningRequests(place.client, ANSWER_PATIENCE)
        self._roots = SignerRoots(roots, lambda: authority.bundle)

    def signer(self, lifetimes: Lifetimes) -> Signer:
        """Return what has signers outside sign for workloads."""
        from controlplane.security.kubernetes_signer import KubernetesSigner, SignerPolicy  # noqa: PLC0415

        settings = self._place.settings
        policy = SignerPolicy(settings.csr_signer, settings.csr_signer_domain, lifetimes)
        log.info("security.signer_outside", signer=policy.default, domain=policy.domain)
        return KubernetesSigner(self._requests, policy, self._roots)

    def serving(self) -> ServingSource:
        """Return what our ports show: signed by an authority of our own, if nothing else is said."""
        signer = self._place.settings.serving_signer
        if not signer:
            return SignedHere(self._authority, self._place.names)
        from controlplane.security.serving_signer import SignedOutside  # noqa: PLC0415

        log.info("security.serving_signer", signer=signer)
        return SignedOutside(self._requests, signer, self._roots, self._place.names)


async def _prepared(source: ServingSource) -> ServingSource:
    await source.prepare()
    return source


def _issuers(place: Place) -> IssuerSource:
    policy, folder = RootPolicy(place.mesh().trust_domain), place.settings.ca_dir
    if place.client is None:
        if folder is None:
            raise RuntimeError("no certificate authority without a folder or a cluster")
        return FolderSource(folder, policy)
    from controlplane.security.secret_source import ClusterSource  # noqa: PLC0415 - the Kubernetes client loads slowly

    return ClusterSource(place.client, SYSTEM_NAMESPACE, folder or PLUGGED_IN, policy)


def _memory(place: Place) -> Memory | None:
    if place.client is None:
        return None
    from controlplane.security.cluster_memory import ClusterMemory  # noqa: PLC0415 - as above

    return ClusterMemory(place.client, SYSTEM_NAMESPACE)
