"""The conditions of a route: one ``HTTPMatchRequest`` as an Envoy ``RouteMatch``."""

from __future__ import annotations

from envoy.config.route.v3.route_components_pb2 import HeaderMatcher, QueryParameterMatcher, RouteMatch
from envoy.type.matcher.v3.metadata_pb2 import MetadataMatcher
from envoy.type.matcher.v3.regex_pb2 import RegexMatcher
from envoy.type.matcher.v3.string_pb2 import StringMatcher
from envoy.type.matcher.v3.value_pb2 import ListMatcher, OrMatcher, ValueMatcher

from controlplane.apis.claims import claim_path
from controlplane.apis.virtual_service import HTTPMatchRequest, StringMatch

_JWT_FILTER = "envoy.filters.http.jwt_authn"
_PSEUDO_HEADERS = ("method", "authority", "scheme")


def route_match(match: HTTPMatchRequest | None, *, derived: bool = False) -> RouteMatch:
    """Translate the conditions of one match; none at all is every path.

    ``derived`` is true for routes made from the Gateway API or an Ingress, whose prefixes mean whole path segments.
    Header matchers are sorted by name, with method, authority and scheme last.
    """
    if match is None:
        return RouteMatch(prefix="/")
    out = RouteMatch()
    _set_path(out, match.uri, derived=derived)
    out.case_sensitive.value = not match.ignore_uri_case
    stated = [(name, value, False) for name, value in match.headers.items()]
    stated += [(name, value, True) for name, value in match.without_headers.items()]
    for name, value, inverted in sorted(stated, key=lambda entry: (entry[0], entry[2])):
        if claim_path(name):
            out.dynamic_metadata.append(claim_matcher(name, value, inverted=inverted))
        else:
            out.headers.append(header_matcher(name, value, inverted=inverted))
    for field in _PSEUDO_HEADERS:
        value = getattr(match, field)
        if value is not None:
            out.headers.append(header_matcher(f":{field}", value))
    for name in sorted(match.query_params):
        out.query_parameters.append(query_parameter_matcher(name, match.query_params[name]))
    return out


def is_catch_all(match: RouteMatch) -> bool:
    """Whether every request meets the conditions, so that no later route can be reached."""
    path = match.WhichOneof("path_specifier")
    every = (
        (path == "prefix" and match.prefix == "/")
        or (path == "path_separated_prefix" and match.path_separated_prefix == "/")
        or (path == "safe_regex" and match.safe_regex.regex == ".*")
    )
    return every and not (match.headers or match.query_parameters or match.dynamic_metadata)


def _set_path(out: RouteMatch, uri: StringMatch | None, *, derived: bool) -> None:
    if uri is None or uri.is_presence:
        out.prefix = "/"
    elif uri.exact is not None:
        out.path = uri.exact
    elif uri.regex is not None:
        out.safe_regex.regex = uri.regex
    elif derived and uri.prefix not in (None, "/"):
        out.path_separated_prefix = str(uri.prefix).removesuffix("/")
    else:
        out.prefix = uri.prefix or ""


def header_matcher(name: str, value: StringMatch, *, inverted: bool = False) -> HeaderMatcher:
    """Translate the condition on one header; inverted, a missing header counts as an empty one."""
    out = HeaderMatcher(name=name, invert_match=inverted)
    if _asks_presence(value):
        out.present_match = True
        return out
    out.string_match.CopyFrom(string_matcher(value))
    out.treat_missing_header_as_empty = inverted
    return out


def query_parameter_matcher(name: str, value: StringMatch) -> QueryParameterMatcher:
    """Translate the condition on one query parameter."""
    if _asks_presence(value):
        return QueryParameterMatcher(name=name, present_match=True)
    return QueryParameterMatcher(name=name, string_match=string_matcher(value))


def claim_matcher(name: str, value: StringMatch, *, inverted: bool) -> MetadataMatcher:
    """Translate the condition on a claim of the validated token: the claim itself, or any item of a list claim.

    ``name`` stands for the claim as ``claim_path`` has it.
    """
    if _asks_presence(value):
        found = ValueMatcher(present_match=True)
    else:
        text = ValueMatcher(string_match=string_matcher(value))
        items = ValueMatcher(list_match=ListMatcher(one_of=text))
        found = ValueMatcher(or_match=OrMatcher(value_matchers=[items, text]))
    path = [MetadataMatcher.PathSegment(key=key) for key in ("payload", *claim_path(name))]
    return MetadataMatcher(filter=_JWT_FILTER, path=path, value=found, invert=inverted)


def string_matcher(value: StringMatch) -> StringMatcher:
    """Translate a comparison that is not a mere question of presence."""
    if value.regex is not None:
        return StringMatcher(safe_regex=RegexMatcher(regex=value.regex))
    if value.prefix is not None:
        return StringMatcher(prefix=value.prefix)
    return StringMatcher(exact=value.exact or "")


def _asks_presence(value: StringMatch) -> bool:
    return value.is_presence or value.regex == "*"
