"""The part of an inventory with the settings of WebAssembly modules."""

from __future__ import annotations

from typing import NamedTuple

from controlplane.compiler.targets import Inventory, Part, Target
from controlplane.engine.recording import query
from controlplane.model.proxy_class import ClientScope
from controlplane.registry.store import View
from controlplane.registry.traffic_extensions import ExtensionKeys, extension
from controlplane.snapshots import ResourceType
from controlplane.translate.modules import ModuleKey, module


class ModulesKey(NamedTuple):
    """The extensions for one proxy, and whether an agent beside it fetches modules."""

    extensions: ExtensionKeys
    fetches: bool


def module_parts(client: ClientScope) -> tuple[Part, ...]:
    """Return the part of the modules for a proxy, none where there are no extensions for it."""
    key = ModulesKey(client.extensions, client.fetches)
    return (Part(ResourceType.EXTENSION, modules, key),) if client.extensions else ()


@query
def modules(view: View, key: ModulesKey) -> Inventory:
    """Return the settings of the modules among the extensions for a proxy."""
    held = ((each, extension(view, each)) for each in key.extensions)
    return Inventory(
        {
            found.full_name: Target(module, ModuleKey(each, key.fetches))
            for each, found in held
            if found is not None and found.wasm is not None
        }
    )
