"""What is wrong with the configuration, from all who judge it: for the log and for those who ask."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple, Protocol

import structlog

from controlplane.analysis import codes
from controlplane.analysis.findings import Finding, findings, is_about_proxies, prepared_findings, without_connected
from controlplane.analysis.left_out import LeftOutParts
from controlplane.apis.mesh import InvalidMeshConfigError, MeshConfig
from controlplane.apis.mesh_fields import read
from controlplane.apis.mesh_networks import MeshNetworks
from controlplane.model.objects import ChangeSet, Object, ObjectKey, Rejected, Warned
from controlplane.model.patches import PatchRef
from controlplane.model.problems import Problem, Sort
from controlplane.model.proxy import Proxy
from controlplane.registry.mesh import MESH_KEY

if TYPE_CHECKING:
    from controlplane.registry.store import Registry

log = structlog.get_logger(__name__)


_LEVELS = {code.id: code.level for code in codes.ALL_CODES}


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


class _Found(NamedTuple):
    """What was found between objects, of patches that change nothing, and what is left out of what objects ask for."""

    between: tuple[Finding, ...] = ()
    idle: tuple[Finding, ...] = ()
    left_out: tuple[Finding, ...] = ()


class Problems:
    """Problems of single objects, which the source knows, of objects together, and of the mesh configuration."""

    def __init__(self, source: Judge, registry: Registry, connected: Callable[[], Iterable[Proxy]] = tuple) -> None:
        """Look at what a source gives and a registry holds; ``connected`` are the proxies that are there."""
        self._source = source
        self._registry = registry
        self._connected = connected
        self._mesh: Rejected | None = None
        self._found = _Found()
        self.findings: tuple[Finding, ...] = ()
        """What was found when it was last looked for, sorted by object."""
        self.told: tuple[Finding, ...] = ()
        """The findings, and what was left out then of what each object asks for, sorted by object."""
        self.is_about_proxies = False
        """Whether some of what was found depends on which proxies are connected."""
        self._unjudged: set[ObjectKey] = set()
        self._judging: set[ObjectKey] = set()
        self.left_out = LeftOutParts(registry)
        """What Envoy would refuse, and is not served therefore."""
        registry.memo.keep(findings, ())

    def __iter__(self) -> Iterator[Rejected]:
        """Yield all there are now, in no order; a step takes a moment only, however many there are."""
        yield from self._source.rejected.values()
        if self._mesh is not None:
            yield self._mesh
        yield from self.left_out
        warned: dict[ObjectKey, list[str]] = {}
        for warning in self._source.warnings:
            warned.setdefault(warning.key, []).append(warning.text)
        for key, texts in warned.items():
            yield Rejected(key, tuple(sorted(texts)), self._where(key))
        for key, found in groupby(self.findings, key=lambda finding: finding.key):  # used, but worth a look too
            problems = tuple(f"{finding.path}: {finding.reason}" for finding in found)
            yield Rejected(key, problems, self._where(key))

    def each(self) -> Iterator[Problem]:
        """Yield every problem by itself, in no order; a step takes a moment only."""
        for sort, level, refused in (
            (Sort.REFUSED, codes.Level.ERROR, self._source.rejected.values()),
            (Sort.REFUSED, codes.Level.ERROR, () if self._mesh is None else (self._mesh,)),
            (Sort.LEFT_OUT, codes.Level.ERROR, self.left_out),
        ):
            for rejected in refused:
                for text in rejected.problems:
                    yield Problem(rejected.key, sort, level, text, source=rejected.source)
        for warning in self._source.warnings:
            yield Problem(warning.key, Sort.WARNING, codes.Level.WARNING, warning.text, source=self._where(warning.key))
        for found in self.findings:
            level = _LEVELS.get(found.code, codes.Level.WARNING)
            where = self._where(found.key)
            yield Problem(found.key, Sort.FINDING, level, found.reason, found.path, found.code, found.winner, where)

    def checked(self, changes: ChangeSet) -> ChangeSet:
        """Keep the last good mesh configuration where a new one cannot be read."""
        stated = next((obj for obj in changes.upserts if obj.key == MESH_KEY), None)
        if stated is None:
            if MESH_KEY in changes.deletes:
                self._mesh = None
            return changes
        self._mesh = mesh_problem(stated)
        if self._mesh is None:
            return changes
        log.warning("registry.rejected", object=str(MESH_KEY), problems=list(self._mesh.problems))
        return replace(changes, upserts=tuple(obj for obj in changes.upserts if obj is not stated))

    def changed(self, changes: ChangeSet) -> None:
        """Hear of objects that are in force by now, or no more, and that nobody has looked at since."""
        self._unjudged.update(obj.key for obj in changes.upserts)
        self._unjudged.update(changes.deletes)

    def in_force(self, key: ObjectKey) -> Object | None:
        """Return an object that is in force and that has been looked at since it is."""
        unknown = key in self._unjudged or key in self._judging
        return None if unknown else self._registry.objects.get(key)

    def find(self) -> Iterator[None]:
        """Look for mistakes between objects, step by step; each is logged when it appears.

        What changes meanwhile is for the next time.
        """
        self._judging |= self._unjudged
        self._unjudged = set()
        if self._registry.memo.is_stale(findings, ()):
            yield from prepared_findings(self._registry)
        between: tuple[Finding, ...] = self._registry.memo.outcome(findings, ()).value or ()
        self.is_about_proxies = any(map(is_about_proxies, between))
        found = _Found(
            without_connected(self._registry, between, self._connected()),
            tuple(_idle(ref) for ref in self.left_out.idle_patches()),
            tuple(Finding(*each) for each in self.left_out.reasons()),
        )
        before, self._judging = self.findings, set()
        if found == self._found:
            return
        self._found = found
        self.findings = tuple(sorted((*found.between, *found.idle), key=lambda each: each.key))
        self.told = tuple(sorted((*found.left_out, *self.findings), key=lambda each: each.key))
        for new in sorted(set(self.findings) - set(before)):
            log.warning("registry.finding", object=str(new.key), path=new.path, reason=new.reason, code=new.code)

    def _where(self, key: ObjectKey) -> str:
        obj = self._registry.objects.get(key)
        return obj.meta.source if obj is not None else ""


def _idle(ref: PatchRef) -> Finding:
    """Return what is told of a patch that changes nothing."""
    code = codes.IDLE_PATCH
    return Finding(ref.filter, ref.path, code.sentence.format(patch=ref.path), code=code.id)


def mesh_problem(obj: Object) -> Rejected | None:
    """Return why the mesh configuration of this ConfigMap cannot be used, ``None`` where it can be."""
    texts: dict[str, str] = obj.spec.data
    problems = [
        *_reasons("mesh", lambda: MeshConfig.parse(texts.get("mesh", ""))),
        *_reasons("meshNetworks", lambda: read(MeshNetworks, texts.get("meshNetworks", ""))),
    ]
    return Rejected(MESH_KEY, tuple(problems), obj.meta.source) if problems else None


def _reasons(key: str, parse: Callable[[], object]) -> list[str]:
    try:
        parse()
    except InvalidMeshConfigError as error:
        return [f"data.{key}: {error}"]
    except Exception as error:  # our bug: what is in force stays, as with any other text that cannot be read
        log.exception("registry.mesh_unreadable", key=key)
        return [f"data.{key}: cannot be read ({type(error).__name__}: {error})"]
    return []
