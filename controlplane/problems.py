"""What is wrong with the configuration, from all who judge it: for the log and for those who ask."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING, Protocol

import structlog

from controlplane.apis.mesh import MeshConfig
from controlplane.apis.mesh_fields import read
from controlplane.apis.mesh_networks import MeshNetworks
from controlplane.model.objects import ChangeSet, Object, ObjectKey, Rejected
from controlplane.registry.findings import Finding, findings
from controlplane.registry.mesh import MESH_KEY

if TYPE_CHECKING:
    from controlplane.registry.store import Registry
    from controlplane.watchers.reading import Warned

log = structlog.get_logger(__name__)


class Judge(Protocol):
    """A source of objects, which refuses some of them and wonders about others."""

    @property
    def rejected(self) -> Mapping[str, Rejected]:
        """What is refused now, by where it comes from."""
        ...

    @property
    def warnings(self) -> Collection[Warned]:
        """What is odd in objects that are used all the same."""
        ...


class Problems:
    """Problems of single objects, which the source knows, of objects together, and of the mesh configuration."""

    def __init__(self, source: Judge, registry: Registry) -> None:
        """Look at what a source gives and a registry holds."""
        self._source = source
        self._registry = registry
        self._mesh: Rejected | None = None
        self._findings: tuple[Finding, ...] = ()
        registry.memo.keep(findings, ())

    def __iter__(self) -> Iterator[Rejected]:
        """Yield all there are now."""
        yield from self._source.rejected.values()
        if self._mesh is not None:
            yield self._mesh
        for key, warned in groupby(sorted(self._source.warnings), key=lambda warning: warning.key):
            yield Rejected(key, tuple(warning.text for warning in warned), self._where(key))
        for key, found in groupby(self._findings, key=lambda finding: finding.key):  # used, but worth a look too
            problems = tuple(f"{finding.path}: {finding.reason}" for finding in found)
            yield Rejected(key, problems, self._where(key))

    def checked(self, changes: ChangeSet) -> ChangeSet:
        """Keep the last good mesh configuration where a new one cannot be read."""
        stated = next((obj for obj in changes.upserts if obj.key == MESH_KEY), None)
        if stated is None:
            if MESH_KEY in changes.deletes:
                self._mesh = None
            return changes
        self._mesh = _mesh_problem(stated)
        if self._mesh is None:
            return changes
        log.warning("registry.rejected", object=str(MESH_KEY), problems=list(self._mesh.problems))
        return replace(changes, upserts=tuple(obj for obj in changes.upserts if obj is not stated))

    def find(self) -> None:
        """Look for mistakes between objects; each is logged when it appears."""
        before, found = self._findings, self._registry.memo.get(findings, ())
        self._findings = found or ()
        for new in sorted(set(self._findings) - set(before)):
            log.warning("registry.finding", object=str(new.key), path=new.path, reason=new.reason)

    def _where(self, key: ObjectKey) -> str:
        obj = self._registry.objects.get(key)
        return obj.meta.source if obj is not None else ""


def _mesh_problem(obj: Object) -> Rejected | None:
    problems: list[str] = []
    try:
        MeshConfig.parse(obj.spec.data.get("mesh", ""))
    except ValueError as error:
        problems.append(f"data.mesh: {error}")
    try:
        read(MeshNetworks, obj.spec.data.get("meshNetworks", ""))
    except ValueError as error:
        problems.append(f"data.meshNetworks: {error}")
    return Rejected(MESH_KEY, tuple(problems), obj.meta.source) if problems else None
