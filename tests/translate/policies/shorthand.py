"""Envoy's permissions and principals as short text, so that a test can state them on one line."""

from __future__ import annotations

from collections.abc import Iterable

from envoy.config.rbac.v3.rbac_pb2 import Permission, Policy, Principal
from envoy.config.route.v3.route_components_pb2 import HeaderMatcher
from envoy.extensions.path.match.uri_template.v3.uri_template_match_pb2 import UriTemplateMatchConfig
from envoy.type.matcher.v3.metadata_pb2 import MetadataMatcher
from envoy.type.matcher.v3.string_pb2 import StringMatcher
from envoy.type.matcher.v3.value_pb2 import ValueMatcher


def rule(policy: Policy) -> str:
    """``permissions / principals``, several of each with a bar between them."""
    left = " | ".join(permission(each) for each in policy.permissions)
    return f"{left} / {' | '.join(principal(each) for each in policy.principals)}"


def permission(each: Permission) -> str:
    match each.WhichOneof("rule"):
        case "and_rules":
            return f"and[{_list(permission(part) for part in each.and_rules.rules)}]"
        case "or_rules":
            return f"or[{_list(permission(part) for part in each.or_rules.rules)}]"
        case "not_rule":
            return f"not({permission(each.not_rule)})"
        case "any":
            return "any"
        case "header":
            return _header(each.header)
        case "url_path":
            return f"path({_text(each.url_path.path)})"
        case "uri_template":
            config = UriTemplateMatchConfig()
            assert each.uri_template.typed_config.Unpack(config)
            return f"template({config.path_template})"
        case "destination_port":
            return f"port({each.destination_port})"
        case "destination_ip":
            return f"to({each.destination_ip.address_prefix}/{each.destination_ip.prefix_len.value})"
        case "requested_server_name":
            return f"sni({_text(each.requested_server_name)})"
        case "metadata":
            return _metadata(each.metadata)
        case other:
            raise AssertionError(other)


def principal(each: Principal) -> str:
    match each.WhichOneof("identifier"):
        case "and_ids":
            return f"and[{_list(principal(part) for part in each.and_ids.ids)}]"
        case "or_ids":
            return f"or[{_list(principal(part) for part in each.or_ids.ids)}]"
        case "not_id":
            return f"not({principal(each.not_id)})"
        case "any":
            return "any"
        case "authenticated":
            return f"auth({_text(each.authenticated.principal_name)})"
        case "direct_remote_ip":
            return f"peer({each.direct_remote_ip.address_prefix}/{each.direct_remote_ip.prefix_len.value})"
        case "remote_ip":
            return f"client({each.remote_ip.address_prefix}/{each.remote_ip.prefix_len.value})"
        case "header":
            return _header(each.header)
        case "metadata":
            return _metadata(each.metadata)
        case other:
            raise AssertionError(other)


def _list(parts: Iterable[str]) -> str:
    return ", ".join(parts)


def _header(each: HeaderMatcher) -> str:
    return f"hdr({each.name} {'present' if each.present_match else _text(each.string_match)})"


def _text(each: StringMatcher) -> str:
    form = str(each.WhichOneof("match_pattern"))
    value = each.safe_regex.regex if form == "safe_regex" else getattr(each, form)
    return f"{form.removeprefix('safe_')} {value}{' ignore_case' if each.ignore_case else ''}"


def _metadata(each: MetadataMatcher) -> str:
    name = "" if each.filter == "envoy.filters.http.jwt_authn" else f"{each.filter} "
    return f"md({name}{'.'.join(step.key for step in each.path)} {_value(each.value)})"


def _value(each: ValueMatcher) -> str:
    match each.WhichOneof("match_pattern"):
        case "string_match":
            return _text(each.string_match)
        case "list_match":
            return f"list({_value(each.list_match.one_of)})"
        case "or_match":
            return f"or({_list(_value(part) for part in each.or_match.value_matchers)})"
        case other:
            raise AssertionError(other)
