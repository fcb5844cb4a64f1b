"""Values of policies as Envoy's matchers: texts with a ``*`` at one end, headers, paths, addresses, ports, metadata."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence

from envoy.config.core.v3.address_pb2 import CidrRange
from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from envoy.config.route.v3.route_components_pb2 import HeaderMatcher
from envoy.extensions.path.match.uri_template.v3.uri_template_match_pb2 import UriTemplateMatchConfig
from envoy.type.matcher.v3.metadata_pb2 import MetadataMatcher
from envoy.type.matcher.v3.string_pb2 import StringMatcher
from envoy.type.matcher.v3.value_pb2 import ListMatcher, OrMatcher, ValueMatcher

from controlplane.translate.tls_context import typed

JWT_FILTER = "envoy.filters.http.jwt_authn"
PAYLOAD = "payload"
"""Where the JWT filter leaves the claims of a token, in its dynamic metadata."""
ANY_TEXT = ".+"
_SPECIAL = frozenset("\\.+*?()|[]{}^$")
_LARGEST_PORT = 65535


def quoted(text: str) -> str:
    """Return a regular expression that matches just this text."""
    return "".join(f"\\{char}" if char in _SPECIAL else char for char in text)


def regex(pattern: str) -> StringMatcher:
    """Match a whole text by a regular expression."""
    matcher = StringMatcher()
    matcher.safe_regex.regex = pattern
    return matcher


def text(value: str, *, ignore_case: bool = False) -> StringMatcher:
    """Match a text: ``*`` any but the empty one, ``*x`` its end, ``x*`` its beginning, anything else exactly."""
    if value == "*":
        return regex(ANY_TEXT)
    if value.startswith("*"):
        return StringMatcher(suffix=value[1:], ignore_case=ignore_case)
    if value.endswith("*"):
        return StringMatcher(prefix=value[:-1], ignore_case=ignore_case)
    return StringMatcher(exact=value, ignore_case=ignore_case)


def header(name: str, value: str, *, ignore_case: bool = False) -> HeaderMatcher:
    """Match a header; ``*`` asks only that it is there."""
    if value == "*":
        return HeaderMatcher(name=name, present_match=True)
    return HeaderMatcher(name=name, string_match=text(value, ignore_case=ignore_case))


def path_template(value: str) -> TypedExtensionConfig:
    """Match a path by segments: ``{*}`` is one of them, ``{**}`` any number."""
    template = value.replace("{**}", "**").replace("{*}", "*")
    return TypedExtensionConfig(name="uri-template", typed_config=typed(UriTemplateMatchConfig(path_template=template)))


def address(value: str) -> CidrRange:
    """Match an address or a range; host bits stay as they were written.

    Raises:
        ValueError: it is neither.
    """
    literal = value.partition("/")[0]
    bits = ipaddress.ip_network(value, strict=False).prefixlen
    matcher = CidrRange(address_prefix=literal)
    matcher.prefix_len.value = bits
    return matcher


def port(value: str) -> int:
    """Return a port number.

    Raises:
        ValueError: it is none.
    """
    number = int(value) if value.isascii() and value.isdigit() else -1
    if not 0 <= number <= _LARGEST_PORT:
        message = f"{value!r} is no port"
        raise ValueError(message)
    return number


def claim(path: Iterable[str], value: StringMatcher) -> MetadataMatcher:
    """Match one claim of a request's token against one text."""
    return _metadata(JWT_FILTER, (PAYLOAD, *path), ValueMatcher(string_match=value))


def claims(path: Iterable[str], values: Sequence[str]) -> MetadataMatcher:
    """Match one claim of a request's token, a text or a list of texts, against any of several texts."""
    held = one_of([ValueMatcher(string_match=text(value)) for value in values])
    either = OrMatcher(value_matchers=[ValueMatcher(list_match=ListMatcher(one_of=held)), held])
    return _metadata(JWT_FILTER, (PAYLOAD, *path), ValueMatcher(or_match=either))


def left_by_filter(name: str, key: str, values: Sequence[str]) -> MetadataMatcher:
    """Match what another filter left in the metadata; ``[x]`` asks for a list that holds ``x``."""
    matchers = []
    for value in values:
        if value.startswith("[") and value.endswith("]"):
            held = ValueMatcher(string_match=text(value[1:-1]))
            matchers.append(ValueMatcher(list_match=ListMatcher(one_of=held)))
        else:
            matchers.append(ValueMatcher(string_match=text(value)))
    return _metadata(name, (key,), one_of(matchers))


def one_of(matchers: Sequence[ValueMatcher]) -> ValueMatcher:
    """Return what any of these matches."""
    if len(matchers) == 1:
        return matchers[0]
    return ValueMatcher(or_match=OrMatcher(value_matchers=matchers))


def _metadata(name: str, path: Iterable[str], value: ValueMatcher) -> MetadataMatcher:
    steps = [MetadataMatcher.PathSegment(key=key) for key in path]
    return MetadataMatcher(filter=name, path=steps, value=value)
