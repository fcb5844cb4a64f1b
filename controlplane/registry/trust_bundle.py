"""The roots of the whole mesh, where agents are told of them beside their certificates.

They stand in the registry as an object of a kind of its own, so that what proxies are sent is made again when they
change. Without ``ISTIO_MULTIROOT_MESH`` there is no such object.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from controlplane.apis.mesh import MeshConfig
from controlplane.model.kinds import GroupKind
from controlplane.model.objects import Meta, Object, ObjectKey
from controlplane.registry.store import View

TRUST_BUNDLE = GroupKind("TrustBundle", "internal")
"""The kind of that object; no user writes one."""
_KEY = ObjectKey(TRUST_BUNDLE, "", "roots")


@dataclass(frozen=True, slots=True)
class TrustedRoots:
    """Certificates of authorities, each as PEM, sorted."""

    roots: tuple[str, ...]


class StatedRoots(NamedTuple):
    """What one entry of ``caCertificates`` says: roots (PEM), where more are published, and the signers of both.

    Texts are empty where nothing is said; no signers are all signers.
    """

    pem: str
    url: str
    signers: tuple[str, ...]


def stated_roots(mesh: MeshConfig) -> tuple[StatedRoots, ...]:
    """Return the further roots of the mesh configuration, an entry each."""
    return tuple(StatedRoots(each.pem, each.spiffe_bundle_url, each.cert_signers) for each in mesh.ca_certificates)


def trust_bundle(roots: Iterable[str]) -> Object:
    """Return the object that holds these roots, each once."""
    return Object(TRUST_BUNDLE, Meta("", _KEY.name), TrustedRoots(tuple(sorted(set(roots)))))


def trusted_roots(view: View) -> tuple[str, ...]:
    """Return the roots (PEM) that proxies are told of; none where they are not told."""
    obj = view.get(_KEY)
    return obj.spec.roots if obj is not None and isinstance(obj.spec, TrustedRoots) else ()
