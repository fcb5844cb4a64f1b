"""Names of fields: dumps have those of Envoy's protos, ``-o json`` and ``yaml`` those of protobuf's JSON, as istioctl.

No message is loaded for it, so it must be known where keys are no names of fields: in maps and in ``Struct`` values.
"""

from __future__ import annotations

import re  # noqa: TID251 - names of fields
from collections.abc import Mapping
from typing import Any

_UNDERSCORE = re.compile("_([a-z0-9])")

MAPS = frozenset(
    {
        "allowed_capabilities",
        "cluster_min_healthy_percentages",
        "context_extensions",
        "filter_state_objects",
        "key_values",
        "labels",
        "map",
        "mapped_request_attributes",
        "mapped_response_attributes",
        "per_filter_config",
        "policies",
        "providers",
        "requirement_map",
        "requires",
        "source_codes",
        "typed_extension_protocol_options",
        "typed_filter_metadata",
        "typed_per_filter_config",
    }
)
"""Fields whose keys are the user's, and whose values are messages; what is no JSON object there is another field."""

STRUCTS = frozenset(
    {
        "default_subset",
        "dynamic_metadata",
        "filter_context",
        "filter_metadata",
        "json_format",
        "transport_socket_match_criteria",
    }
)
"""Fields that hold values of the user's, down to the last."""

_STRUCT_MESSAGES = (".TypedStruct", "/google.protobuf.Struct")


def shown(resource: Mapping[str, Any]) -> Any:  # noqa: ANN401 - any JSON value
    """Return a resource of a dump as istioctl prints it: in protobuf's JSON names, without the type of the whole."""
    return _camel({name: value for name, value in resource.items() if name != "@type"})


def _camel(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    if isinstance(value, list):
        return [_camel(each) for each in value]
    if not isinstance(value, dict):
        return value
    structured = str(value.get("@type", "")).endswith(_STRUCT_MESSAGES)
    return {
        json_name(name): each if structured and name == "value" else _field(name, each) for name, each in value.items()
    }


def _field(name: str, value: Any) -> Any:  # noqa: ANN401 - any JSON value
    if name in STRUCTS:
        return value
    if name in MAPS and isinstance(value, dict):
        return {key: _camel(each) for key, each in value.items()}
    if name == "transport_socket_matches":  # their ``match`` is a Struct, that of a route is none
        return [{**_camel(each), **({"match": each["match"]} if "match" in each else {})} for each in value]
    return _camel(value)


def json_name(name: str) -> str:
    """Return the name of a field in JSON, ``@type`` as it is. Reference: protobuf, "ProtoJSON Format"."""
    return _UNDERSCORE.sub(lambda found: found[1].upper(), name)
