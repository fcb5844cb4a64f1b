"""What the control plane itself finds when it reads objects, and Istio has no code for."""

from __future__ import annotations

from collections.abc import Iterator

from controlplane.analysis import codes, raw
from controlplane.analysis.overruled import overruled
from controlplane.analysis.resources import Message, Resource, Resources, has_labels, message, selector_text
from controlplane.analysis.superseded import superseded
from controlplane.analysis.untranslated import untranslated
from controlplane.apis.kinds import KINDS
from controlplane.model import kinds
from controlplane.model.objects import ChangeSet, Object
from controlplane.model.parse import Parsed, parse
from controlplane.registry.store import Registry


def _objects(resources: Resources) -> Iterator[tuple[Resource, Object]]:
    """Yield the objects of Istio's kinds that can be used."""
    for name in KINDS:
        for each in resources.of(kinds.istio_kind(name)):
            parsed = parse(name, each.written) if not each.cluster else None
            if isinstance(parsed, Parsed):
                yield each, parsed.object


def conflicts(resources: Resources) -> Iterator[Message]:
    """Find fields of objects in place of which those of an older one are used."""
    about = {obj.key: (each, obj) for each, obj in _objects(resources)}
    registry = Registry()
    registry.apply(ChangeSet(tuple(obj for _, obj in about.values())))
    for lost in registry.memo.get(overruled, ()):
        yield message(codes.OVERRULED, about[lost.key][0], lost.path, winner=lost.winner)
    for policy in registry.memo.get(superseded, kinds.PEER_AUTHENTICATION):
        yield message(codes.SUPERSEDED, about[policy.key][0], policy.path, winner=policy.winner)


def fields(resources: Resources) -> Iterator[Message]:
    """Find fields that no translator uses."""
    for each, obj in _objects(resources):
        for path in untranslated(obj):
            yield message(codes.UNTRANSLATED, each, path, field=path)


_SELECTORS = {
    kinds.PEER_AUTHENTICATION: ("selector", "matchLabels"),
    kinds.REQUEST_AUTHENTICATION: ("selector", "matchLabels"),
    kinds.PROXY_CONFIG: ("selector", "matchLabels"),
    kinds.WASM_PLUGIN: ("selector", "matchLabels"),
    kinds.TRAFFIC_EXTENSION: ("selector", "matchLabels"),
    kinds.ENVOY_FILTER: ("workloadSelector", "labels"),
    kinds.SERVICE_ENTRY: ("workloadSelector", "labels"),
    kinds.DESTINATION_RULE: ("workloadSelector", "matchLabels"),
}
"""Where each kind says whom it is for; of the others, analyzers with codes of Istio's look at that."""


def selectors(resources: Resources) -> Iterator[Message]:
    """Find objects for workloads by labels that none has."""
    root = resources.mesh.config.root_namespace
    for kind, way in _SELECTORS.items():
        for each in resources.of(kind):
            selector = raw.string_map(each.spec, *way)
            namespace = None if each.namespace == root else each.namespace
            if selector and not _selected(resources, selector, namespace):
                where = f"of namespace {namespace}" if namespace else "of any namespace"
                path = f"spec.{'.'.join(way)}"
                yield message(codes.SELECTS_NOBODY, each, path, where=where, labels=selector_text(selector))


def _selected(resources: Resources, selector: dict[str, str], namespace: str | None) -> bool:
    entries = resources.of(kinds.WORKLOAD_ENTRY)
    return bool(resources.selected_pods(selector, namespace)) or any(
        namespace in {None, entry.namespace}
        and has_labels({**entry.labels, **raw.string_map(entry.spec, "labels")}, selector)
        for entry in entries
    )


def delegates(resources: Resources) -> Iterator[Message]:
    """Find rules that delegate to VirtualServices that are not there."""
    for service in resources.of(kinds.VIRTUAL_SERVICE):
        for at, rule in raw.mappings(service.spec, "http"):
            named = raw.text(rule, "delegate", "name")
            namespace = raw.text(rule, "delegate", "namespace") or service.namespace
            if named and resources.find(kinds.VIRTUAL_SERVICE, namespace, named) is None:
                yield message(
                    codes.DELEGATE_NOT_FOUND, service, f"spec.http[{at}].delegate", delegate=f"{namespace}/{named}"
                )
