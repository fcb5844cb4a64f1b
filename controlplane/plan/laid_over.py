"""Manifests laid over others: the mesh of files before and after a change, each completed as a cluster would do it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from controlplane.analysis.problems import mesh_problem
from controlplane.compiler.compiler import Compiler
from controlplane.model.objects import ChangeSet, ObjectKey, Rejected
from controlplane.model.parse import Parsed
from controlplane.model.proxy import Proxy
from controlplane.plan.answering import plan_answer
from controlplane.plan.question import Doubt, Meant, Question, Repeated, near, object_key
from controlplane.plan.written import as_stored
from controlplane.registry.mesh import MESH_KEY
from controlplane.registry.store import Registry
from controlplane.simulate.built import mesh_of
from controlplane.simulate.manifests import WORKLOADS, Manifest, Manifests
from controlplane.simulate.mesh import Mesh
from controlplane.simulate.questions import WrongQuestionError
from controlplane.watchers.kinds import Unused, parse


@dataclass(frozen=True, slots=True)
class LaidOver:
    """The mesh before, and the change of it."""

    before: Manifests
    meant: Meant


def laid_over(
    base: Iterable[Manifest], new: Sequence[Manifest], delete: Iterable[str] = (), *, prune: bool = False
) -> LaidOver:
    """Return the mesh of ``base``, and what ``new`` makes of it; with ``prune`` what is not in ``new`` goes.

    A refused manifest leaves the one of before in force.

    Raises:
        WrongQuestionError: what is to be deleted is not there.
    """
    stated = list(base)
    held, bad = _by_key(stated)
    before = Manifests.of(stated)
    merged = {} if prune else dict(held)
    refused: list[Rejected] = []
    unused: set[str] = set()
    given: dict[ObjectKey, str] = {}
    repeated: list[Repeated] = []
    doubts: dict[ObjectKey, tuple[Doubt, ...]] = {}
    for each in new:
        result = parse(each.value, each.source)
        key = _key(result)
        if isinstance(result, Parsed) and key == MESH_KEY:
            result = mesh_problem(result.object) or result
        if isinstance(result, Rejected):
            refused.append(result)
            if key not in given and result.stand_in is not None and (key in bad or key not in held):
                merged[key] = each
            elif key not in given and key in held:
                merged[key] = held[key]
            continue
        if isinstance(result, Unused) and key.kind.name not in WORKLOADS:
            unused.add(result.kind)
        if key in given:
            repeated.append(Repeated(key, given[key], each.source))
        if isinstance(result, Parsed):
            doubts[key] = Doubt.of(result, each.value)
        given[key] = each.source
        merged[key] = each
    for text in delete:
        key = object_key(text)
        if merged.pop(key, None) is None:
            raise WrongQuestionError(
                f"there is no {key}, which is to be deleted{_whose(before, key) or near(key, merged)}"
            )
    after = Manifests.of(merged.values(), before)
    changes = _difference(before, after, refused)
    told = tuple(chain.from_iterable(doubts.values()))
    return LaidOver(before, Meant(changes, tuple(sorted(unused)), tuple(repeated), told))


def _whose(before: Manifests, key: ObjectKey) -> str:
    """Return whose a pod is that no manifest states, to be named in its place."""
    if key not in before.assumed_pods:
        return ""
    return f": it stands for {before.assumed_pods[key]}, so name that"


def _difference(before: Manifests, after: Manifests, refused: Sequence[Rejected]) -> ChangeSet:
    old = {obj.key: obj for obj in before.objects}
    upserts = {obj.key: as_stored(obj, old.get(obj.key), "") for obj in after.objects}
    deletes = tuple(key for key in old if key not in upserts)
    return ChangeSet(tuple(upserts.values()), deletes, tuple(refused))


def _by_key(manifests: Iterable[Manifest]) -> tuple[Mapping[ObjectKey, Manifest], Collection[ObjectKey]]:
    """Return manifests by their objects, the first good one of each, and the objects of which all are refused."""
    found: dict[ObjectKey, Manifest] = {}
    bad: set[ObjectKey] = set()
    for each in manifests:
        result = parse(each.value, each.source)
        key = _key(result)
        if key not in found or (key in bad and not isinstance(result, Rejected)):
            found[key] = each
            (bad.add if isinstance(result, Rejected) else bad.discard)(key)
    return found, bad


def _key(result: Parsed | Rejected | Unused) -> ObjectKey:
    return result.object.key if isinstance(result, Parsed) else result.key


async def plan_of_files(over: LaidOver, question: Question) -> dict[str, Any]:
    """Return the plan as JSON: see ``words``. The proxies are those that the files stand for."""
    mesh = await mesh_of(over.before.change_set())
    described = {
        f"{dict(each.pairs)['from']} of a test": mesh.stated(dict(each.pairs)["from"], each.proxy.model_dump())
        for each in question.requests
        if each.proxy is not None
    }
    proxies = _coming_gateways(over) | mesh.every() | described
    return await plan_answer(mesh.compiler, proxies, question, over.meant)


def _coming_gateways(over: LaidOver) -> dict[str, Proxy]:
    """Return the gateways of the mesh afterwards: a new Gateway may be for pods that no manifest here has."""
    registry = Registry()
    registry.apply(over.before.change_set())
    registry.apply(over.meant.changes)
    every = Mesh(Compiler(registry)).every()
    return {id_: proxy for id_, proxy in every.items() if proxy.type == "router"}
