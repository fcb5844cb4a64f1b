"""Filters of the user's own: WasmPlugins and TrafficExtensions as one kind of value, and which are for a workload."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from controlplane.apis.common import WorkloadMode
from controlplane.apis.extensions import (
    LuaConfig,
    PluginType,
    TrafficExtension,
    TrafficSelector,
    WasmConfig,
    WasmPlugin,
)
from controlplane.engine.recording import query
from controlplane.model import kinds
from controlplane.model.objects import Object, ObjectKey
from controlplane.model.side import Side
from controlplane.registry.mesh import root_namespace
from controlplane.registry.policies import WorkloadKey, applies
from controlplane.registry.store import View

_INDEXES = {kinds.WASM_PLUGIN: "wasm_plugins_in", kinds.TRAFFIC_EXTENSION: "traffic_extensions_in"}
_FROM_PLUGIN = "~istio-translated-wasmplugin"
_NAME = "extensions.istio.io/trafficextension"
_LOWEST = -(2**31)
_MODES: Mapping[WorkloadMode, frozenset[Side]] = {
    WorkloadMode.CLIENT: frozenset({Side.OUTBOUND, Side.GATEWAY}),
    WorkloadMode.SERVER: frozenset({Side.INBOUND}),
}
_OF_PLUGIN = frozenset(WasmConfig.model_fields)

ExtensionKeys = tuple[ObjectKey, ...]


class Place(Enum):
    """Where among the filters an extension stands; the order is that of the chain."""

    AUTHN = "AUTHN"
    AUTHZ = "AUTHZ"
    STATS = "STATS"
    UNSPECIFIED = "UNSPECIFIED"


class Traffic(NamedTuple):
    """Traffic that an extension may be for: one side of a proxy, one port (several where they share a listener)."""

    side: Side
    ports: frozenset[int]


@dataclass(frozen=True, slots=True)
class Extension:
    """A filter of the user's own: either a module (``wasm``) or a script (``lua``).

    ``priority`` is the higher the earlier. ``resource_version`` tells one version of a module from another.
    """

    key: ObjectKey
    namespace: str
    name: str
    created: str
    place: Place
    priority: int
    match: tuple[TrafficSelector, ...]
    wasm: WasmConfig | None = None
    lua: LuaConfig | None = None
    resource_version: str = ""

    @property
    def full_name(self) -> str:
        """The name of its filter, and of its settings."""
        return f"{_NAME}/{self.namespace}.{self.name}"

    @property
    def is_http(self) -> bool:
        """Whether it sees requests, rather than bytes."""
        return self.wasm is None or self.wasm.type is not PluginType.NETWORK

    def sees(self, traffic: Traffic) -> bool:
        """Whether it is for this traffic; a selector without ports is for all of them."""
        return not self.match or any(
            traffic.side in _MODES.get(each.mode, frozenset(Side))
            and (not each.ports or any(port.number in traffic.ports for port in each.ports))
            for each in self.match
        )


@query
def extension(view: View, key: ObjectKey) -> Extension | None:
    """Return one extension, whichever kind of object it is stated by."""
    obj = view.get(key)
    if obj is None:
        return None
    spec: WasmPlugin | TrafficExtension = obj.spec
    meta = obj.meta
    place = Place.UNSPECIFIED if spec.phase.value.startswith("UNSPECIFIED") else Place(spec.phase.value)
    if isinstance(spec, TrafficExtension):
        wasm, name = spec.wasm, meta.name
    else:
        stated = {field: getattr(spec, field) for field in spec.model_fields_set & _OF_PLUGIN}
        wasm, name = WasmConfig.model_construct(**stated), f"{meta.name}{_FROM_PLUGIN}"
    return Extension(
        key,
        meta.namespace,
        name,
        meta.created,
        place,
        spec.priority if spec.priority is not None else _LOWEST,
        spec.match,
        wasm,
        spec.lua if isinstance(spec, TrafficExtension) else None,
        meta.resource_version,
    )


@query
def _objects_in(view: View, namespace: str) -> tuple[Object, ...]:
    """Return the extensions of a namespace."""
    held = (view.get(key) for index in _INDEXES.values() for key in view.index(index, namespace))
    return tuple(obj for obj in held if obj is not None)


def attached_extensions(view: View, namespace: str, labels: Mapping[str, str]) -> ExtensionKeys:
    """Return the extensions for a workload of a namespace: of its own and the root namespace, sorted."""
    key = WorkloadKey(namespace, frozenset(labels.items()))
    return tuple(sorted(_attached(view, key, root_namespace(view, ()))))


def _attached(view: View, key: WorkloadKey, root: str) -> Iterator[ObjectKey]:
    for namespace in {key.namespace, root}:
        for obj in _objects_in(view, namespace):
            if applies(obj, key):
                yield obj.key


def ordered(view: View, keys: ExtensionKeys) -> tuple[Extension, ...]:
    """Return the extensions of a workload in the order of the chain: of equal ones its own namespace's come first."""
    order, root = list(Place), root_namespace(view, ())
    held = [found for key in keys if (found := extension(view, key)) is not None]
    return tuple(
        sorted(
            held,
            key=lambda each: (
                order.index(each.place),
                -each.priority,
                each.namespace == root,
                each.created,
                each.name,
                each.namespace,
            ),
        )
    )
