"""What the control plane itself finds when it reads objects, and Istio has no code for."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from controlplane.analysis import codes
from controlplane.analysis.findings import missing_delegates
from controlplane.analysis.nobody import for_nobody
from controlplane.analysis.overruled import overruled
from controlplane.analysis.resources import Message, Resource, Resources, message
from controlplane.analysis.superseded import superseded
from controlplane.analysis.unasked_authorisers import PATH, no_authoriser
from controlplane.analysis.untranslated import untranslated
from controlplane.apis.authorization_policy import Action, AuthorizationPolicy
from controlplane.model import kinds
from controlplane.model.kubernetes import ConfigMap, Pod
from controlplane.model.objects import ChangeSet, Meta, Object, ObjectKey
from controlplane.registry.mesh import MESH_KEY
from controlplane.registry.store import Registry
from controlplane.registry.virtual_services import large_delegates

_About = dict[ObjectKey, Resource]


def _registry(resources: Resources, beside: Iterable[Object] = ()) -> tuple[Registry, _About]:
    """Return the objects as a control plane would hold them, others beside them, and where each was written."""
    about = {obj.key: each for each, obj in resources.usable}
    root = ConfigMap({"mesh": json.dumps({"rootNamespace": resources.mesh.config.root_namespace})})
    mesh = Object(MESH_KEY.kind, Meta(MESH_KEY.namespace, MESH_KEY.name), root)
    registry = Registry(resources.domain)
    registry.apply(ChangeSet((mesh, *(obj for _, obj in resources.usable), *beside)))
    return registry, about


def conflicts(resources: Resources) -> Iterator[Message]:
    """Find fields of objects in place of which those of an older one are used."""
    registry, about = _registry(resources)
    for lost in registry.memo.get(overruled, ()):
        yield message(codes.OVERRULED, about[lost.key], lost.path, winner=lost.winner)
    for policy in registry.memo.get(superseded, kinds.PEER_AUTHENTICATION):
        yield message(codes.SUPERSEDED, about[policy.key], policy.path, winner=policy.winner)


def authorisers(resources: Resources) -> Iterator[Message]:
    """Find policies that ask a provider which the mesh configuration does not have.

    Whether its service is there is not asked: the files of a mesh seldom hold all of its Services.
    """
    providers = resources.mesh.config.extension_providers
    for each, obj in resources.usable if resources.mesh.stated else ():
        policy = obj.spec
        if isinstance(policy, AuthorizationPolicy) and policy.action is Action.CUSTOM:
            name = policy.provider.name if policy.provider is not None else ""
            if reason := no_authoriser(name, providers):
                yield message(codes.AUTHORISER_NOT_ASKED, each, PATH, reason=reason)


def fields(resources: Resources) -> Iterator[Message]:
    """Find fields that no translator uses."""
    for each, obj in resources.usable:
        for path in untranslated(obj):
            yield message(codes.UNTRANSLATED, each, path, field=path)


def selectors(resources: Resources) -> Iterator[Message]:
    """Find objects for workloads by labels that none has."""
    pods = (
        Object(kinds.POD, Meta(pod.namespace, pod.name, labels=pod.labels, cluster=pod.cluster), Pod())
        for pod in resources.of(kinds.POD)
    )
    registry, about = _registry(resources, pods)
    for key in registry.indexed("selecting", ()):
        nobody = registry.memo.get(for_nobody, key)
        if nobody is not None:
            yield message(codes.SELECTS_NOBODY, about[key], nobody.path, where=nobody.where, labels=nobody.text)


def delegates(resources: Resources) -> Iterator[Message]:
    """Find rules that delegate to VirtualServices that are not there, or that have too many matches."""
    registry, about = _registry(resources)
    for key in registry.keys(kinds.VIRTUAL_SERVICE):
        for path, delegate in registry.memo.get(missing_delegates, key):
            yield message(codes.DELEGATE_NOT_FOUND, about[key], path, delegate=delegate)
        for path, delegate in registry.memo.get(large_delegates, key):
            yield message(codes.DELEGATE_TOO_LARGE, about[key], path, delegate=delegate)
