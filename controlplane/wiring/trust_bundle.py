"""Joins those who know roots of the mesh with the registry, from where agents are told: ``ISTIO_MULTIROOT_MESH``.

In: the roots of our own authority and of signers outside, ``caCertificates`` of the mesh configuration, and bundles of
other meshes. Out: one object of the registry. What is wrong leaves the last good roots of its source in force.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta

import structlog

from controlplane.apis.mesh import MeshConfig
from controlplane.model.certificate_text import decode
from controlplane.model.objects import ChangeSet
from controlplane.registry.trust_bundle import stated_roots, trust_bundle
from controlplane.security.certificates import encode, is_authority
from controlplane.security.jwks_fetcher import AddressRules, JwksFetcher, JwksLocation
from controlplane.security.spiffe_bundle import spiffe_bundle

log = structlog.get_logger(__name__)

MULTIROOT = "ISTIO_MULTIROOT_MESH"
_TRUE = frozenset({"1", "t", "T", "true", "TRUE", "True"})
_REFRESH = timedelta(minutes=30)
_TIMEOUT = timedelta(seconds=10)


class TrustBundle:
    """The roots that agents are told of; nothing where that is not wanted, but for a word in the log."""

    def __init__(
        self,
        mesh: Callable[[], MeshConfig],
        own: Callable[[], str],
        add: Callable[[ChangeSet], None],
        environment: Mapping[str, str],
        rules: AddressRules | None = None,
    ) -> None:
        """``own`` are the roots (PEM) of those who sign here; changes go to ``add``."""
        self._mesh = mesh
        self._own = own
        self._add = add
        self.wanted = environment.get(MULTIROOT, "") in _TRUE
        self._stated: tuple[str, ...] = ()
        self._fetched: dict[JwksLocation, str] = {}
        self._told: tuple[str, ...] = ()
        self._unused: object = ()
        self._problem = ""
        self._fetcher = JwksFetcher(self.take, rules=rules, refresh=_REFRESH, read=spiffe_bundle)

    @property
    def problems(self) -> tuple[str, ...]:
        """Why there are no roots, or no newer ones, from where they are wanted: one sentence each."""
        fetched = (f"roots from {location.uri}: {reason}" for location, reason in self._fetcher.problems)
        return (*((self._problem,) if self._problem else ()), *fetched)

    def changed(self, *, for_signers: bool = False) -> None:
        """Look again at all sources: the mesh configuration, or the roots of those who sign here, changed.

        ``for_signers``: what the mesh configuration states is of use for signers outside, too.
        """
        stated = stated_roots(self._mesh())
        if not self.wanted:
            unused = tuple(each for each in stated if each.pem or each.url)
            if unused and unused != self._unused and not for_signers:
                log.warning("security.roots_unused", variable=MULTIROOT, entries=len(unused))
            self._unused = unused
            return
        urls = {JwksLocation(each.url): _TIMEOUT for each in stated if each.url}
        self._fetcher.want(urls)
        self._read([each.pem for each in stated])
        self._tell()

    async def run(self) -> None:
        """Fetch until cancelled."""
        await self._fetcher.run()

    def _read(self, texts: list[str]) -> None:
        """Take the roots that the mesh configuration states, all of them or none."""
        found: list[str] = []
        for index, text in enumerate(texts):
            try:
                certificates = decode(text.encode())
            except ValueError:
                self._wrong(f"mesh configuration, caCertificates[{index}].pem: is no list of certificates in PEM")
                return
            if not all(map(is_authority, certificates)):
                self._wrong(f"mesh configuration, caCertificates[{index}].pem: is not that of a certificate authority")
                return
            found += (encode([each]) for each in certificates)
        self._problem, self._stated = "", tuple(found)

    def _wrong(self, problem: str) -> None:
        if problem != self._problem:
            log.error("security.roots_unusable", reason=problem)
        self._problem = problem

    def take(self, location: JwksLocation, roots: str | None) -> None:
        """Take the roots (PEM) that were fetched; ``None`` where nobody wants them any more."""
        if roots is None:
            del self._fetched[location]
        else:
            self._fetched[location] = roots
        self._tell()

    def _tell(self) -> None:
        texts = (self._own(), *self._fetched.values())
        each = {encode([root]) for text in texts for root in decode(text.encode())}
        roots = tuple(sorted(each | set(self._stated)))
        if roots != self._told:
            self._told = roots
            self._add(ChangeSet(upserts=(trust_bundle(roots),)))
