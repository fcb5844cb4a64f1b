"""Manifests as they may be shown: what Envoy's API marks as sensitive is ``[redacted]`` in the patches of EnvoyFilters.

As in configuration dumps, what is in a type that this program does not know is shown.
"""

from __future__ import annotations

from typing import Any

from controlplane.apis.envoy_filter import ApplyTo
from controlplane.patches.messages import MESSAGES
from controlplane.published import REDACTED, is_sensitive, message_descriptor

_TYPED_STRUCTS = frozenset({"xds.type.v3.TypedStruct", "udpa.type.v1.TypedStruct"})


def published_manifest(manifest: dict[str, Any]) -> dict[str, Any]:
    """Return a manifest with nothing in it that nobody may see; the same object where nothing is."""
    if manifest["kind"] != "EnvoyFilter":
        return manifest
    spec = manifest["spec"]
    patches = [_patch(each) for each in spec.get("configPatches", ())]
    return {**manifest, "spec": {**spec, "configPatches": patches}} if patches else manifest


def _patch(patch: dict[str, Any]) -> dict[str, Any]:
    change = patch.get("patch")
    made = MESSAGES.get(ApplyTo(patch.get("applyTo", ApplyTo.INVALID)))
    if not change or made is None or not change.get("value"):
        return patch
    return {**patch, "patch": {**change, "value": _shown(change["value"], made.DESCRIPTOR)}}


def _shown(value: Any, descriptor: Any) -> Any:  # noqa: ANN401 - JSON, and protobuf ships no type for the other
    """Return JSON of a message of a type, or of several; ``None`` is a type that is not known, or none of a message."""
    if isinstance(value, list):
        return [_shown(each, descriptor) for each in value]
    if not isinstance(value, dict):
        return value
    if isinstance(type_url := value.get("@type"), str):
        descriptor = message_descriptor(type_url)
    if descriptor is None:
        return {name: _shown(each, None) for name, each in value.items()}
    if descriptor.full_name in _TYPED_STRUCTS:
        held = message_descriptor(str(value.get("type_url") or value.get("typeUrl")))
        return {name: _shown(each, held) for name, each in value.items()}
    return {name: _member(name, each, descriptor) for name, each in value.items()}


def _member(name: str, value: Any, descriptor: Any) -> Any:  # noqa: ANN401 - as above
    field = descriptor.fields_by_name.get(name) or descriptor.fields_by_camelcase_name.get(name)
    if field is None:
        return value if name == "@type" else _shown(value, None)
    if is_sensitive(field):
        return _hidden(value)
    of = field.message_type
    if of is not None and of.GetOptions().map_entry and isinstance(value, dict):
        held = of.fields_by_name["value"].message_type
        return {key: _shown(each, held) for key, each in value.items()}
    return _shown(value, of)


def _hidden(value: Any) -> Any:  # noqa: ANN401 - JSON
    """Return the same shape with every text hidden."""
    if isinstance(value, dict):
        return {name: _hidden(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_hidden(each) for each in value]
    return REDACTED
