"""The rules of the models in CEL, as the API server checks them.

A model states such a rule as a Python function or as ``rule(test, reason)``; here the same is said in CEL, found by the
function's name or by the reason. The reason is the message in both places.
"""

from __future__ import annotations

from typing import NamedTuple


class Rule(NamedTuple):
    """A CEL expression over ``self`` that must hold, and what is said where it does not."""

    expression: str
    message: str


_PORT = "port must be between 1-65535"
_SPEC_PORT = Rule("0 < self && self <= 65535", _PORT)
_NO_STAR = '!self.contains("*")'

PORT_NUMBER = _SPEC_PORT
"""What the models state as bounds 1 to 65535, and most schemas as a rule on an unsigned integer."""

VALUE_RULES: dict[str, tuple[Rule, ...]] = {
    "common.at_least_zero": (),
    "common.finite": (),
    "common.not_bool": (),
    "common.at_least_1ms": (Rule("duration(self) >= duration('1ms')", "must be a valid duration greater than 1ms"),),
    "common.no_star_in_value": (Rule(_NO_STAR, "wildcard not allowed in label value match"),),
    "common.no_star_in_label": (Rule(_NO_STAR, "wildcard is not supported in selector"),),
    "common.same_namespace": (Rule("self.size() == 0", "cross namespace referencing is not currently supported"),),
    "extensions.module_address": (
        Rule(
            'isURL(self) ? (url(self).getScheme() in ["", "http", "https", "file", "oci"]) : '
            '(isURL("http://" + self) && '
            'url("http://" + self).getScheme() in ["", "http", "https", "file", "oci"])',
            "url must have schema one of [http, https, file, oci]",
        ),
    ),
    "request_authentication.web_address": (
        Rule('url(self).getScheme() in ["http", "https"]', "url must have scheme http:// or https://"),
    ),
    "service_entry.not_any": (Rule('self != "*"', "hostname cannot be wildcard"),),
    "service_entry.distinct_numbers": (
        Rule("self.all(l1, self.exists_one(l2, l1.number == l2.number))", "port number cannot be duplicated"),
    ),
    "workload_entry.address": (
        Rule(
            'self.startsWith("unix://") ? (self.substring(7, 8) == "/" || self.substring(7, 8) == "@") : true',
            "UDS must be an absolute path or abstract socket",
        ),
        Rule('self.startsWith("unix://") ? !self.endsWith("/") : true', "UDS may not be a dir"),
    ),
    "workload_entry.scheme": (Rule('self in ["", "HTTP", "HTTPS"]', "scheme must be one of [HTTP, HTTPS]"),),
}
"""By the module and name of the function that checks a value, without its leading underscore."""

KEY_RULES: dict[str, tuple[Rule, ...]] = {
    "common.no_star_in_key": (
        Rule('self.all(key, !key.contains("*"))', "wildcard not allowed in label key match"),
        Rule("self.all(key, key.size() != 0)", "key must not be empty"),
    ),
    "peer_authentication.port": (Rule("self.all(key, 0 < int(key) && int(key) <= 65535)", _PORT),),
    "workload_entry.port_name": (
        Rule(
            'self.all(key, size(key) < 63 && key.matches("^[a-zA-Z0-9](?:[-a-zA-Z0-9]*[a-zA-Z0-9])?$"))',
            "port name must be valid",
        ),
    ),
}
"""By the function that checks a map's keys; the rules are on the map."""

MODEL_RULES: dict[str, str] = {
    "exactly one of wasm or lua must be set": "has(self.wasm) != has(self.lua)",
    "value may only be set when valueFrom is INLINE": (
        '(has(self.valueFrom) ? self.valueFrom : "") != "HOST" || !has(self.value)'
    ),
    "only support waypointMatch when context is WAYPOINT": (
        'has(self.context) ? ((self.context == "WAYPOINT") ? has(self.waypoint) : !has(self.waypoint)) '
        ": !has(self.waypoint)"
    ),
    "CIDR addresses are allowed only for NONE/STATIC resolution types": (
        '!((has(self.addresses) ? self.addresses : []).exists(k, k.contains("/")) && '
        '!((has(self.resolution) ? self.resolution : "NONE") in ["STATIC", "NONE"]))'
    ),
    "NONE mode cannot set endpoints": (
        '((has(self.resolution) ? self.resolution : "NONE") == "NONE") ? !has(self.endpoints) : true'
    ),
    "DNS_ROUND_ROBIN mode cannot have multiple endpoints": (
        '((has(self.resolution) ? self.resolution : "") == "DNS_ROUND_ROBIN") ? '
        "((has(self.endpoints) ? self.endpoints : []).size() <= 1) : true"
    ),
    "Address is required": "has(self.address) || has(self.network)",
    "UDS may not include ports": (
        '(has(self.address) ? self.address : "").startsWith("unix://") ? !has(self.ports) : true'
    ),
    "Cannot set serviceAccounts with namespaces or principals": (
        "(has(self.serviceAccounts) || has(self.notServiceAccounts)) ? (!has(self.principals) && "
        "!has(self.notPrincipals) && !has(self.namespaces) && !has(self.notNamespaces)) : true"
    ),
    "portLevelMtls requires selector": (
        "has(self.portLevelMtls) ? (((has(self.selector) && has(self.selector.matchLabels)) ? "
        "self.selector.matchLabels : {}).size() > 0) : true"
    ),
    "value must be set when operation is UPSERT": (
        '((has(self.operation) ? self.operation : "") == "UPSERT") ? (self.value != "") : true'
    ),
    "value must not be set when operation is REMOVE": (
        '((has(self.operation) ? self.operation : "") == "REMOVE") ? !has(self.value) : true'
    ),
}
"""By the reason of a model's ``rule``."""


def no_more_than_one(names: tuple[str, ...], reason: str) -> Rule:
    """Return the rule of ``at_most_one`` with a reason of its own; ``names`` are the fields' JSON names."""
    given = " + ".join(f"(has(self.{name}) ? 1 : 0)" for name in names)
    return Rule(f"{given} <= 1", reason)
