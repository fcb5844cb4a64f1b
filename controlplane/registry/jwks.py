"""Keys that tokens are checked with, where a RequestAuthentication says only where they are to be had.

What was fetched stands in the registry as objects of a kind of their own, so that whoever reads it is made again when
it changes. Until then, and where nothing could be fetched, there is no object.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple

from controlplane.engine.recording import query
from controlplane.model import kinds
from controlplane.model.kinds import GroupKind
from controlplane.model.objects import Meta, Object, ObjectKey
from controlplane.registry.providers import remote_cluster
from controlplane.registry.store import View

JWKS = GroupKind("JsonWebKeySet", "internal")
"""The kind of what was fetched; no user writes such objects."""


FETCH_TIMEOUT = timedelta(seconds=5)
"""How long keys may take to come where a rule does not say. Source: ``jwtRules[].timeout``."""


class JwksSource(NamedTuple):
    """Where keys are to be had: at ``uri``, or (empty) where the issuer's discovery document says.

    Source: ``jwksUri`` and ``issuer`` of ``jwtRules``; OpenID Connect Discovery 1.0, section 4.
    """

    uri: str
    issuer: str = ""

    @property
    def key(self) -> ObjectKey:
        """The key of the object that holds what was fetched."""
        return ObjectKey(JWKS, "", self.uri or f"discovered from {self.issuer}")

    def fetched(self, jwks: str) -> Object:
        """Return the object that holds a key set, as it was fetched."""
        return Object(JWKS, Meta("", self.key.name), Jwks(jwks))


@dataclass(frozen=True, slots=True)
class Jwks:
    """A JSON Web Key Set as text. Reference: RFC 7517, section 5."""

    jwks: str


def source_of(uri: str | None, issuer: str | None) -> JwksSource:
    """Return where a rule's keys come from; its issuer counts only where it names no address."""
    return JwksSource(uri) if uri else JwksSource("", issuer or "")


def jwks(view: View, source: JwksSource) -> str | None:
    """Return the keys that were fetched, ``None`` where there are none."""
    obj = view.get(source.key)
    return obj.spec.jwks if obj is not None and isinstance(obj.spec, Jwks) else None


@query
def wanted_jwks(view: View, _key: tuple[()]) -> Mapping[JwksSource, timedelta]:
    """Return where keys are to be fetched from, and how long each may take: what all RequestAuthentications want.

    Nothing is to be fetched for a rule that states its keys, nor where Envoy fetches them itself.
    """
    found: dict[JwksSource, timedelta] = {}
    for key in view.keys(kinds.REQUEST_AUTHENTICATION):
        obj = view.get(key)
        for rule in obj.spec.jwt_rules if obj is not None else ():
            if rule.jwks or (rule.jwks_uri and remote_cluster(view, rule.jwks_uri) is not None):
                continue
            source = source_of(rule.jwks_uri, rule.issuer)
            found[source] = max(rule.timeout or FETCH_TIMEOUT, found.get(source, timedelta()))
    return found
