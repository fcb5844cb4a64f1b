"""Envoy's matchers of texts, headers, query parameters, addresses and metadata, for one request.

Reference: envoy.type.matcher.v3, envoy.config.route.v3.HeaderMatcher and QueryParameterMatcher.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from ipaddress import ip_address, ip_network
from typing import Any

import re2

from controlplane.simulate.call import UnsupportedError

Metadata = Mapping[str, Any]
"""What filters left, by filter."""


@lru_cache(maxsize=4096)
def compiled(pattern: str) -> Any:  # noqa: ANN401 - re2 carries no types
    """Return a regular expression in the dialect that Envoy has."""
    options = re2.Options()
    options.log_errors = False
    return re2.compile(pattern, options)


def full_match(pattern: str, text: str) -> bool:
    """Whether a regular expression matches a whole text."""
    return compiled(pattern).fullmatch(text) is not None


def text_matches(matcher: Any, value: str) -> bool:  # noqa: ANN401 - Envoy's messages carry no types
    """Whether a ``StringMatcher`` takes a text."""
    kind = matcher.WhichOneof("match_pattern")
    if kind == "safe_regex":
        return full_match(matcher.safe_regex.regex, value)
    wanted = str(getattr(matcher, kind)) if kind else ""
    if matcher.ignore_case:
        wanted, value = wanted.lower(), value.lower()
    match kind:
        case "exact" | None:
            return value == wanted
        case "prefix":
            return value.startswith(wanted)
        case "suffix":
            return value.endswith(wanted)
        case "contains":
            return wanted in value
    raise UnsupportedError(f"a text matcher by {kind}")


def text_shown(matcher: Any) -> str:  # noqa: ANN401 - Envoy's messages carry no types
    """Return a ``StringMatcher`` as a person writes it."""
    match matcher.WhichOneof("match_pattern"):
        case "safe_regex":
            return f"~ {matcher.safe_regex.regex}"
        case "prefix":
            return f"= {matcher.prefix}*"
        case "suffix":
            return f"= *{matcher.suffix}"
        case "contains":
            return f"= *{matcher.contains}*"
    return f"= {matcher.exact}"


def header_matches(matcher: Any, headers: Mapping[str, str]) -> bool:  # noqa: ANN401 - Envoy's messages carry no types
    """Whether the headers meet a ``HeaderMatcher``; without the header only a question of presence can be inverted."""
    value = headers.get(matcher.name.lower())
    kind = matcher.WhichOneof("header_match_specifier")
    if kind in {"present_match", None}:
        asked = matcher.present_match if kind else True
        present = value is not None or matcher.treat_missing_header_as_empty
        return bool((present == asked) != matcher.invert_match)
    if value is None:
        if not matcher.treat_missing_header_as_empty:
            return False
        value = ""
    if kind != "string_match":
        raise UnsupportedError(f"a matcher of the header {matcher.name} by {kind}")
    return text_matches(matcher.string_match, value) != bool(matcher.invert_match)


def header_shown(matcher: Any) -> str:  # noqa: ANN401 - Envoy's messages carry no types
    """Return a ``HeaderMatcher`` as a person writes it."""
    kind = matcher.WhichOneof("header_match_specifier")
    inverted = "not " if matcher.invert_match else ""
    if kind in {"present_match", None}:
        there = matcher.present_match if kind else True
        return f"{inverted}{matcher.name} {'is there' if there else 'is not there'}"
    return f"{inverted}{matcher.name} {text_shown(matcher.string_match)}"


def parameters(query: str) -> dict[str, str]:
    """Return the first value of each query parameter, as it is written: Envoy decodes none for a route's match."""
    found: dict[str, str] = {}
    for pair in query.split("&"):
        if pair:
            name, _, value = pair.partition("=")
            found.setdefault(name, value)
    return found


def parameter_matches(matcher: Any, held: Mapping[str, str]) -> bool:  # noqa: ANN401 - Envoy's messages carry no types
    """Whether the query meets a ``QueryParameterMatcher``."""
    value = held.get(matcher.name)
    kind = matcher.WhichOneof("query_parameter_match_specifier")
    if kind in {"present_match", None}:
        return (value is not None) == (matcher.present_match if kind else True)
    return value is not None and text_matches(matcher.string_match, value)


def parameter_shown(matcher: Any) -> str:  # noqa: ANN401 - Envoy's messages carry no types
    """Return a ``QueryParameterMatcher`` as a person writes it."""
    if matcher.WhichOneof("query_parameter_match_specifier") == "string_match":
        return f"{matcher.name} {text_shown(matcher.string_match)}"
    return f"{matcher.name} is there"


def in_ranges(ranges: Iterable[Any], address: str) -> int:
    """Return the length of the longest range around an address, plus one; -1 for none."""
    where = ip_address(address)
    networks = [ip_network((one.address_prefix, one.prefix_len.value), strict=False) for one in ranges]
    return max((network.prefixlen + 1 for network in networks if where in network), default=-1)


def metadata_matches(matcher: Any, metadata: Metadata) -> bool:  # noqa: ANN401 - Envoy's messages carry no types
    """Whether what a filter left meets a ``MetadataMatcher``."""
    value: Any = metadata.get(matcher.filter)
    for segment in matcher.path:
        value = value.get(segment.key) if isinstance(value, Mapping) else None
    return _value_matches(matcher.value, value) != bool(matcher.invert)


def metadata_shown(matcher: Any) -> str:  # noqa: ANN401 - Envoy's messages carry no types
    """Return a ``MetadataMatcher`` as a person writes it."""
    path = ".".join(segment.key for segment in matcher.path)
    return f"{'not ' if matcher.invert else ''}{path} {_value_shown(matcher.value)}"


def _value_matches(matcher: Any, value: Any) -> bool:  # noqa: ANN401 - a JSON value
    match matcher.WhichOneof("match_pattern"):
        case "string_match":
            return isinstance(value, str) and text_matches(matcher.string_match, value)
        case "present_match":
            return bool((value is not None) == matcher.present_match)
        case "list_match":
            items: Sequence[Any] = value if isinstance(value, list) else ()
            return any(_value_matches(matcher.list_match.one_of, item) for item in items)
        case "or_match":
            return any(_value_matches(each, value) for each in matcher.or_match.value_matchers)
        case "bool_match":
            return isinstance(value, bool) and value == matcher.bool_match
        case "null_match":
            return value is None
    raise UnsupportedError(f"a matcher of metadata by {matcher.WhichOneof('match_pattern')}")


def _value_shown(matcher: Any) -> str:  # noqa: ANN401 - Envoy's messages carry no types
    match matcher.WhichOneof("match_pattern"):
        case "string_match":
            return text_shown(matcher.string_match)
        case "list_match":
            return f"holds {_value_shown(matcher.list_match.one_of)}"
        case "or_match":
            return " or ".join(dict.fromkeys(_value_shown(each) for each in matcher.or_match.value_matchers))
        case "present_match":
            return "is there"
    return "matches"
