"""Reads Envoy's messages from the JSON that a person wrote, whatever extension it names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from importlib.util import find_spec
from pkgutil import iter_modules
from typing import Any, NamedTuple

from envoy.config.bootstrap.v3.bootstrap_pb2 import Bootstrap
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from envoy.config.listener.v3.listener_components_pb2 import Filter, FilterChain, ListenerFilter
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_components_pb2 import Route, VirtualHost
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import HttpFilter
from google.protobuf.json_format import ParseDict, ParseError
from google.protobuf.message import Message

from controlplane.apis.envoy_filter import ApplyTo
from controlplane.kept import kept

MESSAGES: Mapping[ApplyTo, type[Message]] = {
    ApplyTo.LISTENER: Listener,
    ApplyTo.FILTER_CHAIN: FilterChain,
    ApplyTo.NETWORK_FILTER: Filter,
    ApplyTo.LISTENER_FILTER: ListenerFilter,
    ApplyTo.HTTP_FILTER: HttpFilter,
    ApplyTo.ROUTE_CONFIGURATION: RouteConfiguration,
    ApplyTo.VIRTUAL_HOST: VirtualHost,
    ApplyTo.HTTP_ROUTE: Route,
    ApplyTo.CLUSTER: Cluster,
    ApplyTo.EXTENSION_CONFIG: TypedExtensionConfig,
    ApplyTo.BOOTSTRAP: Bootstrap,
}
"""What a patch's value is, for everything that a patch is applied to."""

_STRUCT = "type.googleapis.com/udpa.type.v1.TypedStruct"
_ISTIO_PROXY = ("istio.", "io.istio.", "stats.", "envoy.tcp.metadataexchange.")
_ENUMERATION = "Invalid enum value"  # protobuf's words
_LONGEST_NAME = 100
"""Characters of a field's name; a longer text is none, but what somebody has put in the wrong place."""
_MOST_LEVELS = 100  # protobuf's own limit of a message within a message


class Decoded(NamedTuple):
    """A message; ``unknown`` is why it could only be read without some fields, or empty."""

    message: Message
    unknown: str = ""


def decode(apply_to: ApplyTo, value: dict[str, Any]) -> Decoded:
    """Read a patch's value. ``apply_to`` is not ``INVALID``.

    Raises:
        ValueError: it is no such message, also not without the fields that are unknown; the message says where.
    """
    return message_of(MESSAGES[apply_to], value)


def message_of(made: type[Message], value: dict[str, Any]) -> Decoded:
    """Read a message of a type from JSON, whatever extensions it names.

    Raises:
        ValueError: it is no such message, also not without the fields that are unknown; the message says where.
    """
    for type_url in _type_urls(value):
        load_type(type_url)
    value = _with_structs(value)
    try:
        return Decoded(_parsed(made, value))
    except ParseError as strict:
        if _ENUMERATION in str(strict):  # which would be passed over like a field that is unknown
            raise ValueError(_reason(strict)) from strict
        try:
            read = _parsed(made, value, ignore_unknown_fields=True)
        except ParseError as error:
            raise ValueError(_reason(error)) from error
        return Decoded(read, _reason(strict))


def _parsed(made: type[Message], value: dict[str, Any], *, ignore_unknown_fields: bool = False) -> Message:
    """Read a message from JSON.

    Raises:
        ParseError: it is no such message; protobuf itself raises other errors too, for what it does not look out for.
    """
    try:
        return ParseDict(value, made(), ignore_unknown_fields=ignore_unknown_fields, max_recursion_depth=_MOST_LEVELS)
    except KeyError as error:
        raise ParseError(f"a packed message of a type of protobuf's own needs a field {error}") from error
    except AttributeError as error:
        raise ParseError("an @type is no text") from error
    except OverflowError as error:
        raise ParseError("an infinite number stands where none can be") from error


def of_istio_proxy(type_url: str) -> bool:
    """Whether a type is one of istio-proxy's own extensions, of which no message is known here."""
    return type_name(type_url).startswith(_ISTIO_PROXY)


def _with_structs(value: Any) -> Any:  # noqa: ANN401 - JSON
    """Return the JSON with messages of istio-proxy's own types as what stands for them: a ``TypedStruct``."""
    if isinstance(value, list):
        return [_with_structs(each) for each in value]
    if not isinstance(value, dict):
        return value
    type_url = value.get("@type")
    if isinstance(type_url, str) and of_istio_proxy(type_url):
        load_type(_STRUCT)
        held = {name: each for name, each in value.items() if name != "@type"}
        return {"@type": _STRUCT, "type_url": type_url, "value": held}
    return {name: _with_structs(each) for name, each in value.items()}


def type_name(type_url: str) -> str:
    """Return the full name of a message type from its URL."""
    return type_url.rpartition("/")[2]


def _reason(error: ParseError) -> str:
    """Return protobuf's reason in one line, without the type's list of fields and without values: one may be a key."""
    text = " ".join(str(error).split()).partition(" Available Fields")[0].rstrip(" .")
    before, named, rest = text.partition(' has no field named "')
    if named:
        name, _, where = rest.rpartition('" at "')
        length = len(name)
        return (
            text if length <= _LONGEST_NAME else f'{before} has no field with a name of {length} characters at "{where}'
        )
    said, which_is, rest = text.partition(" which is ")  # the value, and where it stands
    return f"{said}, at {rest.rpartition(' at ')[2]}" if which_is else text


def _type_urls(value: object) -> Iterator[str]:
    """Find each ``@type`` in JSON; also within what is no message, which costs nothing but a look."""
    waiting = [value]
    while waiting:
        match waiting.pop():
            case dict() as fields:
                if isinstance(type_url := fields.get("@type"), str):
                    yield type_url
                waiting += fields.values()
            case list() as items:
                waiting += items


@kept(1024)
def load_type(type_url: str) -> None:
    """Load the modules of a type's package, so that the type is known where there is such a one.

    In Envoy's API a package is a directory, of the same name.
    """
    package = type_name(type_url).rpartition(".")[0]
    if not package.startswith(("envoy.", "udpa.", "xds.")) or not package.isascii():
        return
    try:
        found = find_spec(package)
    except (ImportError, ValueError):
        return  # no such package: the type is unknown, which is found when the message is read
    for module in iter_modules(found.submodule_search_locations) if found is not None else ():
        if module.name.endswith("_pb2"):
            import_module(f"{package}.{module.name}")
