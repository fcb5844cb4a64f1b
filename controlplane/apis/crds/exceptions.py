"""Where the published schema is not what the model alone would give.

The models follow the API's meaning, the definitions its published schema, and in these places the two differ.
"""

from __future__ import annotations

from typing import Any

from controlplane.apis.crds.rules import VALUE_RULES, Rule, no_more_than_one

# The same rule as for a TrafficExtension, its schemes written in another order.
_WASM_PLUGIN_URL = [
    {"rule": rule.expression.replace('"file", "oci"', '"oci", "file"'), "message": rule.message}
    for rule in VALUE_RULES["extensions.module_address"]
]


def _map_by(key: str) -> dict[str, Any]:
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [key]}


FIELDS: dict[tuple[str, str], dict[str, Any]] = {
    # the model refuses an empty name, the published schema leaves that to the webhook
    ("Subset", "name"): {"minLength": None},
    # bounds in the schema itself, where all other ports have a rule
    ("TrafficPort", "number"): {"minimum": 1, "maximum": 65535, "x-kubernetes-validations": None},
    # alternatives of one protobuf message: absent or a value, never null
    ("MagLev", "table_size"): {"nullable": None},
    # an empty map would say what no map says
    ("PeerAuthentication", "port_level_mtls"): {"minProperties": 1},
    # entries that server-side apply merges by a field, and of which no two have the same
    ("ServiceEntry", "ports"): _map_by("name"),
    ("TrafficSelector", "ports"): _map_by("number"),
    ("VmConfig", "env"): _map_by("name"),
    ("WasmPlugin", "url"): {"x-kubernetes-validations": _WASM_PLUGIN_URL},
}
"""Keywords of a field's schema, by the names of the model and the field; ``None`` takes one away."""

ONE_OF: dict[str, tuple[str, ...]] = {
    "AuthorizationPolicy": ("provider",),
    "TrafficExtension": ("wasm", "lua"),
}
"""Models whose schema has a ``oneOf`` that no ``at_most_one`` of the model states."""

OLD_NAMES = {("HTTPRoute", "mirror_percent"), ("JWTRule", "jwks_uri")}
"""Fields that the schema has a second time under their protobuf name; the models take that name for every field."""

RULES: dict[str, tuple[Rule, ...]] = {
    # the published schema asks this twice, in other words the second time
    "ServerTLSSettings": (
        no_more_than_one(
            ("credentialNames", "tlsCertificates"), "only one of credentialName or tlsCertificates can be set"
        ),
    ),
}
"""Rules of a model's schema that the model itself need not state."""
