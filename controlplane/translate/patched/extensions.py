"""Settings of filters that proxies fetch by themselves, as patches give them."""

from __future__ import annotations

from controlplane.apis.envoy_filter import ApplyTo
from controlplane.engine.recording import Query
from controlplane.model.patches import PatchRef
from controlplane.registry.store import View
from controlplane.snapshots import Resource, ResourceType
from controlplane.translate.patched.added import added_message


def _extension_config(view: View, ref: PatchRef) -> Resource | None:
    config = added_message(view, ref, ApplyTo.EXTENSION_CONFIG)
    if config is None:
        return None
    return Resource.of(ResourceType.EXTENSION, config.name, config.SerializeToString(deterministic=True))


extension_config: Query[PatchRef, Resource | None] = Query(_extension_config, isolated=True)
"""The settings that a patch gives; ``None`` where Envoy would refuse them."""
extension_config.name = "extension_config"
