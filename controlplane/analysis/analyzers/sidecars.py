"""Sidecars and Telemetries, of which one alone is used for a workload: several for one, or for none."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from controlplane.analysis import codes, raw
from controlplane.analysis.codes import Code
from controlplane.analysis.mesh_members import is_ambient_namespace, is_ambient_pod
from controlplane.analysis.resources import Message, Resource, Resources, message, selector_text
from controlplane.model import kinds
from controlplane.model.kinds import GroupKind


def sidecar_selectors(resources: Resources) -> Iterator[Message]:
    """Find Sidecars for no pod, for one that another selects too, and for pods that have no sidecar."""
    yield from _selectors(
        resources, kinds.SIDECAR, ("workloadSelector", "labels"), codes.CONFLICTING_SIDECARS, codes.MULTIPLE_SIDECARS
    )
    for sidecar in resources.of(kinds.SIDECAR):
        selector = raw.string_map(sidecar.spec, "workloadSelector", "labels")
        if selector:
            pods = resources.selected_pods(selector, sidecar.namespace)
            if any(map(is_ambient_pod, pods)):
                reason = "it selects a pod in ambient mode, which has no sidecar"
                yield message(codes.INEFFECTIVE_POLICY, sidecar, "spec.workloadSelector", reason=reason)
        elif is_ambient_namespace(resources.find(kinds.NAMESPACE, "", sidecar.namespace)):
            reason = f"pods of namespace {sidecar.namespace} are in ambient mode and have no sidecar"
            yield message(codes.INEFFECTIVE_POLICY, sidecar, reason=reason)


def telemetry_selectors(resources: Resources) -> Iterator[Message]:
    """Find Telemetries for no pod, or for one that another selects too."""
    yield from _selectors(
        resources,
        kinds.TELEMETRIES,
        ("selector", "matchLabels"),
        codes.CONFLICTING_TELEMETRIES,
        codes.MULTIPLE_TELEMETRIES,
    )


def _selectors(
    resources: Resources, kind: GroupKind, way: tuple[str, str], conflicting: Code, multiple: Code
) -> Iterator[Message]:
    by_pod: defaultdict[tuple[str, str], list[Resource]] = defaultdict(list)
    without: defaultdict[str, list[Resource]] = defaultdict(list)
    for each in resources.of(kind):
        selector = raw.string_map(each.spec, *way)
        if not selector:
            if raw.at(each.spec, "targetRef") is None and not raw.at(each.spec, "targetRefs"):
                without[each.namespace].append(each)
            continue
        pods = resources.selected_pods(selector, each.namespace)
        if not pods:
            path, value = f"spec.{way[0]}", selector_text(selector)
            yield message(codes.NOT_FOUND, each, path, kind="selector", value=value)
        for pod in pods:
            by_pod[pod.namespace, pod.name].append(each)
    for (namespace, name), several in sorted(by_pod.items()):
        names = [each.name for each in several]
        for each in several if len(several) > 1 else ():
            path = f"spec.{way[0]}"
            yield message(conflicting, each, path, names=names, namespace=namespace, pod=name)
    for namespace, several in sorted(without.items()):
        names = [each.name for each in several]
        for each in several if len(several) > 1 else ():
            yield message(multiple, each, names=names, namespace=namespace)
