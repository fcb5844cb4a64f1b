"""The roots that agents are told of: from whom they come, and what becomes of those that are no good."""

from __future__ import annotations

from ssl import DER_cert_to_PEM_cert
from typing import Any

import pytest
import structlog

from controlplane.apis.mesh import MeshConfig
from controlplane.model.objects import ChangeSet
from controlplane.registry.trust_bundle import TrustedRoots
from controlplane.security.jwks_fetcher import JwksLocation
from controlplane.wiring.trust_bundle import TrustBundle
from tests.security.authorities import of_version_6, repeating, root

OWN, MORE, OTHER = (root(name) for name in ("own", "more", "other"))
LEAF = OWN.signs("leaf", authority=False)


class Told:
    """What agents were told, newest last."""

    def __init__(self, **environment: str) -> None:
        self.own = OWN.pem.decode()
        self.roots: list[tuple[str, ...]] = []
        self.certificates: list[dict[str, Any]] = []
        self.bundle = TrustBundle(self._mesh, lambda: self.own, self._add, environment)

    def _mesh(self) -> MeshConfig:
        return MeshConfig.model_validate({"caCertificates": self.certificates})

    def _add(self, changes: ChangeSet) -> None:
        (obj,) = changes.upserts
        assert isinstance(obj.spec, TrustedRoots)
        self.roots.append(obj.spec.roots)

    def state(self, *certificates: dict[str, Any], for_signers: bool = False) -> None:
        self.certificates = list(certificates)
        self.bundle.changed(for_signers=for_signers)


def pem(*signers: Any) -> dict[str, Any]:
    return {"pem": "".join(each.pem.decode() for each in signers)}


def texts(*signers: Any) -> tuple[str, ...]:
    return tuple(sorted(each.pem.decode() for each in signers))


async def test_the_roots_of_all_sources_are_told_each_once() -> None:
    told = Told(ISTIO_MULTIROOT_MESH="true")
    told.state()
    told.state(pem(MORE), pem(MORE, OTHER))
    told.state(pem(OTHER, MORE))
    told.own += MORE.pem.decode()
    told.state()
    assert told.roots == [texts(OWN), texts(OWN, MORE, OTHER), texts(OWN, MORE)]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ({"pem": "nonsense"}, "caCertificates[1].pem: is no list of certificates in PEM"),
        (pem(LEAF), "caCertificates[1].pem: is not that of a certificate authority"),
        (
            {"pem": DER_cert_to_PEM_cert(repeating(OTHER))},
            "caCertificates[1].pem: is not that of a certificate authority",
        ),
        (
            {"pem": DER_cert_to_PEM_cert(of_version_6(OTHER))},
            "caCertificates[1].pem: is no list of certificates in PEM",
        ),
    ],
)
async def test_what_is_no_root_leaves_the_last_good_ones(bad: dict[str, Any], reason: str) -> None:
    told = Told(ISTIO_MULTIROOT_MESH="true")
    told.state(pem(MORE))
    told.state(pem(OTHER), bad)
    assert told.roots == [texts(OWN, MORE)]
    assert told.bundle.problems == (f"mesh configuration, {reason}",)
    told.state(pem(OTHER))
    assert told.roots[-1] == texts(OWN, OTHER)
    assert not told.bundle.problems


async def test_fetched_roots_come_and_go_with_their_address() -> None:
    told = Told(ISTIO_MULTIROOT_MESH="true")
    told.state({"spiffeBundleUrl": "far.test/bundle"})
    location = JwksLocation("far.test/bundle")
    told.bundle.take(location, MORE.pem.decode())
    told.bundle.take(location, None)
    assert told.roots == [texts(OWN), texts(OWN, MORE), texts(OWN)]


async def test_where_nobody_is_told_the_log_says_what_is_missing() -> None:
    told = Told()
    with structlog.testing.capture_logs() as events:
        told.state({"trustDomains": ["far.test"]})
        told.state(pem(MORE), for_signers=True)
        assert not events
        told.state(pem(OTHER))
        told.state(pem(OTHER))
    assert [(each["event"], each["variable"]) for each in events] == [("security.roots_unused", "ISTIO_MULTIROOT_MESH")]
    assert not told.roots
