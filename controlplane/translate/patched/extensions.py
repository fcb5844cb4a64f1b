"""Settings of filters that proxies fetch by themselves, as patches give them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from envoy.extensions.filters.http.wasm.v3.wasm_pb2 import Wasm as HttpWasm
from envoy.extensions.filters.network.wasm.v3.wasm_pb2 import Wasm as NetworkWasm

from controlplane.apis.envoy_filter import ApplyTo
from controlplane.engine.recording import Query
from controlplane.model.patches import PatchRef
from controlplane.registry.store import View
from controlplane.snapshots import Resource, ResourceType
from controlplane.translate.patched.added import added_message
from controlplane.translate.tls_context import typed

_FETCHED = "/module.wasm"
"""Stands for the file that an agent puts in the place of a module's address."""


def _resource(view: View, ref: PatchRef, seen: Callable[[Any], Any]) -> Resource | None:
    config = added_message(view, ref, ApplyTo.EXTENSION_CONFIG, seen)
    if config is None:
        return None
    return Resource.of(ResourceType.EXTENSION, config.name, config.SerializeToString(deterministic=True))


def _extension_config(view: View, ref: PatchRef) -> Resource | None:
    return _resource(view, ref, lambda config: config)


def _fetching_config(view: View, ref: PatchRef) -> Resource | None:
    return _resource(view, ref, _with_file)


def _with_file(config: TypedExtensionConfig) -> TypedExtensionConfig:
    """Return what Envoy sees of settings behind an agent that fetches modules: a file for the address of one."""
    for kind in (HttpWasm, NetworkWasm):
        wasm = kind()
        if config.typed_config.Unpack(wasm) and wasm.config.vm_config.code.HasField("remote"):
            wasm.config.vm_config.code.local.filename = _FETCHED
            return TypedExtensionConfig(name=config.name, typed_config=typed(wasm))
    return config


extension_config: Query[PatchRef, Resource | None] = Query(_extension_config, isolated=True)
"""The settings that a patch gives; ``None`` where Envoy would refuse them."""
extension_config.name = "extension_config"

fetching_config: Query[PatchRef, Resource | None] = Query(_fetching_config, isolated=True)
"""As ``extension_config``, for proxies with an agent that fetches modules."""
fetching_config.name = "fetching_config"
