"""Makes a cluster what a plan says, one component after the other, and waits until each is ready."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from controlplane.documents.yaml_writer import readable_yaml
from controlplane.install.cluster import Cluster, Ref, deletable
from controlplane.install.errors import RefusedInputError
from controlplane.install.operator import KIND, Intent, intent
from controlplane.install.plan import MANAGED_BY, NAMESPACE, OURS, PART_OF, REVISION, Component
from controlplane.install.readiness import WORKLOADS, pod_problems, unready

Json = dict[str, Any]
Say = Callable[[str], None]

STATE = "installed-state"
_PAUSE = 0.5
_DRAWN_BY_OTHERS = frozenset({"EndpointSlice", "Endpoints", "Pod", "ReplicaSet", "ControllerRevision"})
"""Kinds that controllers make of ours, with our labels; they go with what made them."""


class NotReadyError(Exception):
    """Something was not ready in time; the message says what, and why as far as the cluster knows it."""


@dataclass(frozen=True, slots=True)
class Options:
    """How to apply: without change, and how long to wait for each component; ``None`` for not at all."""

    dry_run: bool = False
    wait: timedelta | None = timedelta(minutes=5)


async def apply(cluster: Cluster, components: Sequence[Component], asked: Intent, options: Options, say: Say) -> None:
    """Apply everything, then delete what an earlier installation of the revision had and this one has not.

    Raises:
        NotReadyError: a component is not ready in time; what comes after it is not applied.
        RefusedError: the cluster refuses; also ``UnreachableError``.
    """
    for component in components:
        await _apply_component(cluster, component, options, say)
    kept = {Ref.of(each) for component in components for each in component.objects}
    if components and not options.dry_run:
        state = _state(asked)
        await cluster.apply(state)
        kept.add(Ref.of(state))
    await _prune(cluster, asked.revision or "default", kept, options, say)


async def _apply_component(cluster: Cluster, component: Component, options: Options, say: Say) -> None:
    definitions = [each for each in component.objects if each["kind"] == "CustomResourceDefinition"]
    applied = []
    for obj in component.objects:
        if obj["kind"] == "Namespace" and await _is_of_others(cluster, obj):
            continue
        applied.append(obj)
        if not options.dry_run or await _can_be_tried(cluster, obj):
            await cluster.apply(obj, dry_run=options.dry_run)
    if definitions and not options.dry_run:  # nothing that follows works without these
        await _wait(cluster, definitions, options.wait or timedelta(minutes=1), say)
    if options.wait is not None and not options.dry_run:
        await _wait(cluster, applied, options.wait, say)
    verb = "would be applied" if options.dry_run else "applied" if options.wait is None else "ready"
    say(f"✔ {component.title}: {len(applied)} objects {verb}")


async def _is_of_others(cluster: Cluster, namespace: Json) -> bool:
    """Whether a namespace was there before: then it is not ours to label, nor to delete."""
    found = await cluster.read(Ref.of(namespace))
    return found is not None and (found["metadata"].get("labels") or {}).get(MANAGED_BY) != OURS


async def _can_be_tried(cluster: Cluster, obj: Json) -> bool:
    """Whether the server can say what it thinks of an object: in a namespace that is not there it cannot."""
    namespace = obj["metadata"].get("namespace")
    return not namespace or await cluster.read(Ref("v1", "Namespace", "", namespace)) is not None


async def _wait(cluster: Cluster, objects: Iterable[Json], time_left: timedelta, say: Say) -> None:
    deadline = time.monotonic() + time_left.total_seconds()
    said = ""
    waiting = [Ref.of(each) for each in objects if each["kind"] not in ("ConfigMap", "Secret")]
    while waiting:
        missing: list[tuple[Ref, str]] = []
        for ref in waiting:
            found = await cluster.read(ref)
            reason = unready(found) if found is not None else "it is not there"
            if reason:
                missing.append((ref, reason))
        if not missing:
            return
        waiting = [ref for ref, _ in missing]
        ref, reason = missing[0]
        text = f"  waiting for {ref}: {reason}"
        if text != said:
            say(text)
            said = text
        if time.monotonic() >= deadline:
            raise NotReadyError(await _why(cluster, missing, time_left))
        await asyncio.sleep(_PAUSE)


async def _why(cluster: Cluster, missing: Sequence[tuple[Ref, str]], time_left: timedelta) -> str:
    lines = [f"not ready after {time_left.total_seconds():g} seconds:"]
    for ref, reason in missing:
        lines.append(f"  {ref}: {reason}")
        lines += [f"    {each}" for each in await _pods_of(cluster, ref)]
    return "\n".join(lines)


async def _pods_of(cluster: Cluster, ref: Ref) -> list[str]:
    if ref.kind not in WORKLOADS or (workload := await cluster.read(ref)) is None:
        return []
    labels = ",".join(f"{key}={value}" for key, value in sorted(workload["spec"]["selector"]["matchLabels"].items()))
    pods = next(each for each in await cluster.resources() if each.kind == "Pod" and not each.group)
    problems = pod_problems(await cluster.listed(pods, labels, ref.namespace))
    said = [str(each.get("message")) for each in (workload.get("status") or {}).get("conditions") or ()
            if each.get("type") == "ReplicaFailure" and each.get("status") == "True"]  # fmt: skip
    return said + problems


async def _prune(cluster: Cluster, revision: str, kept: set[Ref], options: Options, say: Say) -> None:
    selector = f"{PART_OF}={OURS},{MANAGED_BY}={OURS},{REVISION}={revision}"
    names = {(each.kind, each.namespace, each.name) for each in kept}
    for ref in await labelled(cluster, selector):
        if (ref.kind, ref.namespace, ref.name) in names:
            continue
        if not options.dry_run:
            await cluster.delete(ref)
        say(f"  {'would remove' if options.dry_run else 'removed'} {ref}, which is no longer part of it")


async def labelled(cluster: Cluster, selector: str) -> list[Ref]:
    """Return all objects with some labels, but those that others make of them."""
    found = []
    for resource in deletable(await cluster.resources()):
        if resource.kind not in _DRAWN_BY_OTHERS:
            found += [Ref.of(each) for each in await cluster.listed(resource, selector)]
    return found


def state_name(revision: str) -> str:
    """Return the name of the ConfigMap that says what was asked for."""
    return f"{STATE}-{revision}" if revision else STATE


def _state(asked: Intent) -> Json:
    """What was asked for, so that it can be verified later: an IstioOperator in a ConfigMap."""
    operator = {"apiVersion": "install.istio.io/v1alpha1", "kind": KIND, "spec": {**asked.spec, "profile": "empty"}}
    labels = {PART_OF: OURS, MANAGED_BY: OURS, REVISION: asked.revision or "default"}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": state_name(asked.revision), "namespace": NAMESPACE, "labels": labels},
        "data": {"profile": asked.profile, "operator": readable_yaml(operator)},
    }


async def recorded(cluster: Cluster, revision: str) -> Intent:
    """Return what was asked for last.

    Raises:
        RefusedInputError: nothing is recorded.
    """
    name = state_name("" if revision == "default" else revision)
    found = await cluster.read(Ref("v1", "ConfigMap", NAMESPACE, name))
    if found is None:
        raise RefusedInputError(
            f"no ConfigMap {NAMESPACE}/{name} says what was installed; -f and --set state what should be there"
        )
    asked = intent([(name, (found.get("data") or {}).get("operator") or "")], [])
    return replace(asked, profile=(found.get("data") or {}).get("profile") or asked.profile)
