"""Whether an RBAC filter lets a call pass, and by which rule.

Reference: envoy.config.rbac.v3.RBAC, envoy.extensions.filters.http.rbac.v3 and .network.rbac.v3.
"""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Any, NamedTuple

from envoy.config.rbac.v3.rbac_pb2 import RBAC
from envoy.extensions.path.match.uri_template.v3.uri_template_match_pb2 import UriTemplateMatchConfig

from controlplane.simulate.call import Call, UnsupportedError
from controlplane.simulate.request import Request
from controlplane.simulate.text_matching import full_match, header_matches, metadata_matches, text_matches

_SPECIAL = frozenset("\\.+*?()|[]{}^$")


class Judgement(NamedTuple):
    """Whether a filter lets a call pass; ``policy`` is the rule that decided it, empty where none matched."""

    allowed: bool
    policy: str = ""


def judged(rules: Any, call: Call, request: Request | None) -> Judgement:  # noqa: ANN401 - Envoy's messages carry no types
    """Judge a call by the rules of one filter; ``request`` is ``None`` in a chain that carries bytes.

    Raises:
        UnsupportedError: a rule asks for something that is not known here.
    """
    judge = _Judge(call, request)
    matched = next((name for name in sorted(rules.policies) if judge.policy(rules.policies[name])), "")
    if rules.action == RBAC.ALLOW:
        return Judgement(bool(matched), matched)
    return Judgement(rules.action != RBAC.DENY or not matched, matched)


class _Judge:
    """Holds one call against permissions and principals."""

    def __init__(self, call: Call, request: Request | None) -> None:
        self._call = call
        self._request = request

    def policy(self, policy: Any) -> bool:  # noqa: ANN401 - Envoy's messages carry no types
        """Whether a policy matches."""
        return any(self._permission(each) for each in policy.permissions) and any(
            self._principal(each) for each in policy.principals
        )

    def _permission(self, held: Any) -> bool:  # noqa: ANN401 - one case a kind of permission
        kind = held.WhichOneof("rule")
        match kind:
            case "and_rules":
                return all(self._permission(each) for each in held.and_rules.rules)
            case "or_rules":
                return any(self._permission(each) for each in held.or_rules.rules)
            case "not_rule":
                return not self._permission(held.not_rule)
            case "any":
                return bool(held.any)
            case "header":
                return self._header(held.header)
            case "url_path":
                return self._request is not None and text_matches(held.url_path.path, self._request.path)
            case "uri_template":
                return self._request is not None and self._template(held.uri_template)
            case "destination_ip":
                return _within(held.destination_ip, self._call.address)
            case "destination_port":
                return bool(held.destination_port == self._call.port)
            case "requested_server_name":
                return text_matches(held.requested_server_name, self._call.server_name if self._call.tls else "")
            case "metadata":
                return self._metadata(held.metadata)
        raise UnsupportedError(f"a permission by {kind}")

    def _principal(self, held: Any) -> bool:  # noqa: ANN401 - one case a kind of principal
        kind = held.WhichOneof("identifier")
        match kind:
            case "and_ids":
                return all(self._principal(each) for each in held.and_ids.ids)
            case "or_ids":
                return any(self._principal(each) for each in held.or_ids.ids)
            case "not_id":
                return not self._principal(held.not_id)
            case "any":
                return bool(held.any)
            case "authenticated":
                return self._authenticated(held.authenticated)
            case "header":
                return self._header(held.header)
            case "url_path":
                return self._request is not None and text_matches(held.url_path.path, self._request.path)
            case "direct_remote_ip" | "source_ip":
                return _within(getattr(held, kind), self._call.peer or self._call.source)
            case "remote_ip":
                return _within(held.remote_ip, self._client())
            case "metadata":
                return self._metadata(held.metadata)
        raise UnsupportedError(f"a principal by {kind}")

    def _authenticated(self, held: Any) -> bool:  # noqa: ANN401 - Envoy's messages carry no types
        if not self._call.identity:
            return False
        return not held.HasField("principal_name") or text_matches(held.principal_name, self._call.identity)

    def _header(self, matcher: Any) -> bool:  # noqa: ANN401 - Envoy's messages carry no types
        return header_matches(matcher, self._request.headers if self._request is not None else {})

    def _metadata(self, matcher: Any) -> bool:  # noqa: ANN401 - Envoy's messages carry no types
        return metadata_matches(matcher, self._request.metadata if self._request is not None else {})

    def _client(self) -> str:
        return self._request.client if self._request is not None else self._call.source

    def _template(self, extension: Any) -> bool:  # noqa: ANN401 - Envoy's messages carry no types
        if self._request is None or not extension.typed_config.Is(UriTemplateMatchConfig.DESCRIPTOR):
            raise UnsupportedError(f"a permission by {extension.name}")
        template = UriTemplateMatchConfig.FromString(extension.typed_config.value).path_template
        return full_match(_template_expression(template), self._request.path)


def _template_expression(template: str) -> str:
    """Return the regular expression of a template: ``*`` is a segment, ``**`` any number of letters."""
    out, at = "", 0
    while at < len(template):
        if template.startswith("**", at):
            out, at = out + ".*", at + 2
        elif template[at] == "*":
            out, at = out + "[^/]+", at + 1
        else:
            out, at = out + (f"\\{template[at]}" if template[at] in _SPECIAL else template[at]), at + 1
    return out


def _within(span: Any, address: str) -> bool:  # noqa: ANN401 - Envoy's messages carry no types
    network = ip_network((span.address_prefix, span.prefix_len.value), strict=False)
    return ip_address(address) in network
