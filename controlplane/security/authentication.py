"""Who is it that calls? A client certificate answers, or a ServiceAccount token."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Protocol

from cryptography import x509

from controlplane.model.certificate_text import decode_der, extension
from controlplane.security.ca import utc_now
from controlplane.security.jwt import LEEWAY
from controlplane.security.refusal import CallRefused, Refusal
from controlplane.security.spiffe import SpiffeId
from controlplane.security.tokens import TokenUser

_BEARER = "Bearer "
_CLUSTER = "clusterid"
NOBODY = "authentication failure"


class Call(Protocol):
    """What is known of a call before its first message."""

    @property
    def metadata(self) -> Mapping[str, str]:
        """The request's headers by lower-case name."""

    @property
    def peer(self) -> str:
        """The peer's address, for people to read."""

    @property
    def peer_certificate(self) -> bytes | None:
        """The certificate (DER) that the peer showed and TLS verified; ``None`` where it showed none."""


class TokenCheck(Protocol):
    """Something that knows whose a token is."""

    async def check(self, token: str) -> TokenUser:
        """Return whom a token stands for.

        Raises:
            CallRefused: it is not accepted, or nobody can say.
        """


class Method(Enum):
    """How a caller has proved who it is."""

    CERTIFICATE = "certificate"
    TOKEN = "token"  # noqa: S105 - a word


@dataclass(frozen=True, slots=True)
class TrustDomains:
    """The mesh's own trust domain, and others whose identities count as of this mesh."""

    own: str = "cluster.local"
    aliases: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody who has proved an identity. The pod is known for tokens that are bound to one, and empty otherwise."""

    identity: SpiffeId
    method: Method
    pod_name: str = ""
    pod_uid: str = ""

    def check_node(self, namespace: str, service_account: str) -> None:
        """Check what a proxy says of itself; what it leaves empty it does not claim. Trust domains are not compared.

        Raises:
            CallRefused: it claims what its credential does not say.
        """
        for what, claimed, proved in (
            ("namespace", namespace, self.identity.namespace),
            ("service account", service_account, self.identity.service_account),
        ):
            if claimed and claimed != proved:
                raise CallRefused(
                    Refusal.FORBIDDEN,
                    f'authorization failed: the node says its {what} is "{claimed}", and the {self.method.value} of the'
                    f" caller is that of {self.identity}",
                )


class Authenticator:
    """Identifies callers, by certificate before token; the first that is accepted counts.

    ``tokens`` is ``None`` where there is no cluster to ask. ``clusters`` are the names by which callers may call this
    cluster. ``trust_domains`` is asked for each call: the mesh configuration may change.
    """

    def __init__(
        self,
        trust_domains: Callable[[], TrustDomains],
        tokens: TokenCheck | None = None,
        clusters: Collection[str] = (),
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._trust_domains = trust_domains
        self._tokens = tokens
        self._clusters = frozenset(clusters)
        self._clock = clock

    async def authenticate(self, call: Call) -> Caller:
        """Return who calls.

        Raises:
            CallRefused: nobody that can be proved, with what was wrong with each credential; or the one
                who could tell is away.
        """
        problems, kind = [], Refusal.UNAUTHENTICATED
        if call.peer_certificate is not None:
            try:
                return Caller(self._certified(call.peer_certificate), Method.CERTIFICATE)
            except ValueError as error:
                problems.append(f"certificate: {error}")
        authorization = call.metadata.get("authorization", "")
        if authorization:
            try:
                return await self._bearer(authorization, call.metadata.get(_CLUSTER, ""))
            except CallRefused as refused:
                problems.append(str(refused))
                kind = refused.kind
        reason = "; ".join(problems) or "the caller shows neither a client certificate nor a bearer token"
        raise CallRefused(kind, f"{NOBODY}: {reason}")

    def _certified(self, der: bytes) -> SpiffeId:
        """Return the identity of a certificate whose signature TLS has verified.

        Raises:
            ValueError: it proves no identity of this mesh.
        """
        certificate = decode_der(der)
        now = self._clock()
        if now > certificate.not_valid_after_utc + LEEWAY:  # a connection may outlive it
            raise ValueError(f"it ended at {certificate.not_valid_after_utc.isoformat()}")
        names = extension(certificate, x509.SubjectAlternativeName)
        if names is None:
            raise ValueError("it has no subject alternative name")
        ids = names.get_values_for_type(x509.UniformResourceIdentifier)
        if len(ids) != 1:
            raise ValueError(f"it must have exactly one URI as subject alternative name, and has {len(ids)}")
        identity, domains = SpiffeId.parse(ids[0]), self._trust_domains()
        if identity.trust_domain not in {domains.own, *domains.aliases}:
            raise ValueError(f'the trust domain of {identity} is neither "{domains.own}" nor an alias of it')
        return identity

    async def _bearer(self, authorization: str, cluster: str) -> Caller:
        if not authorization.startswith(_BEARER):
            raise CallRefused(Refusal.UNAUTHENTICATED, "token: the authorization header must begin with Bearer")
        if self._tokens is None:
            raise CallRefused(Refusal.UNAUTHENTICATED, "token: there is no cluster here that could check it")
        if cluster and cluster not in self._clusters:
            raise CallRefused(Refusal.UNAUTHENTICATED, f'token: the cluster "{cluster}" is not known')
        user = await self._tokens.check(authorization.removeprefix(_BEARER).strip())
        try:
            identity = SpiffeId.of_service_account(self._trust_domains().own, user.username)
        except ValueError as error:
            raise CallRefused(Refusal.UNAUTHENTICATED, f"token: {error}") from error
        return Caller(identity, Method.TOKEN, user.pod_name, user.pod_uid)
