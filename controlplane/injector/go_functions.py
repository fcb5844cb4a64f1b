"""The functions that Istio gives to templates of injection, beside sprig's."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from controlplane.apis.mesh import ProxyConfig
from controlplane.documents.json_reader import json_value
from controlplane.documents.limits import UnreadableError
from controlplane.documents.yaml_writer import yaml_text
from controlplane.gotemplate import sprig
from controlplane.gotemplate.arguments import bounded, integer, items, mapping, text
from controlplane.gotemplate.errors import FunctionError
from controlplane.gotemplate.values import Record, TextMap, field, is_true, plain, printed
from controlplane.injector.go_views import MessagePart
from controlplane.injector.proxy_config import stated
from controlplane.injector.proxy_config import text as proxy_config_text
from controlplane.injector.templates.redirection import with_plugin


def _annotation(metadata: Any, name: Any, otherwise: Any) -> str:  # noqa: ANN401 - any values
    found = field(metadata, "Annotations")
    return found[text(name)] if text(name) in found else printed(otherwise, nested=True)


def _isset(found: Any, name: Any) -> bool:  # noqa: ANN401 - any values
    return text(name) in mapping(found)


def _exclude_inbound_port(port: Any, excluded: Any) -> str:  # noqa: ANN401 - any values
    """Return a list of ports with another one at its end, unless it is there or 0."""
    number = printed(port).strip()
    stated_ports = text(excluded)
    ports = [each.strip() for each in stated_ports.split(",") if each.strip()]
    if number in ("", "0") or number in ports:
        return stated_ports
    return f"{stated_ports},{number}" if stated_ports else number


def _container_ports(containers: Any) -> str:  # noqa: ANN401 - any values
    """Return the TCP ports of containers, with commas between."""
    found = [
        port
        for container in items(containers)
        for port in field(container, "Ports")
        if field(port, "Protocol") in ("", "TCP")
    ]
    return ",".join(dict.fromkeys(printed(field(port, "ContainerPort")) for port in found))


def _to_json(value: Any) -> str:  # noqa: ANN401 - any values
    return str(sprig.FUNCTIONS["toJson"]({} if value is None else value))


def _struct_to_json(value: Any) -> str:  # noqa: ANN401 - any values
    return "{}" if value is None else json.dumps(plain(value), separators=(",", ":"), ensure_ascii=False)


def _message_to_json(value: Any) -> str:  # noqa: ANN401 - any values
    if isinstance(value, MessagePart) and isinstance(value.model, ProxyConfig):
        return proxy_config_text(value.model)
    return _struct_to_json(value)


def _from_json(value: Any) -> Any:  # noqa: ANN401 - any values
    try:
        return json_value(text(value))
    except UnreadableError:
        return ""


def _to_yaml(value: Any) -> str:  # noqa: ANN401 - any values
    if isinstance(value, MessagePart) and isinstance(value.model, ProxyConfig):
        value = stated(value.model)
    return bounded(yaml_text(plain(value)))


def _indented(spaces: Any, source: Any) -> str:  # noqa: ANN401 - any values
    """Indent all lines but the first."""
    count = integer(spaces)
    if not 0 <= count <= 1000:  # noqa: PLR2004 - no YAML is indented by more
        raise FunctionError("cannot indent by so much")
    return bounded(text(source).replace("\n", "\n" + " " * count))


def _without_nil(value: Any) -> Any:  # noqa: ANN401 - any values
    """Return a map without what is nothing, and without maps that hold nothing else."""
    if isinstance(value, Record):
        value = value.plain()
    if not isinstance(value, Mapping):
        return value
    kept = {key: _without_nil(each) for key, each in value.items() if each is not None}
    return {key: each for key, each in kept.items() if each != {}}


def _text_map(*pairs: Any) -> TextMap:  # noqa: ANN401 - any values
    if len(pairs) % 2:
        raise FunctionError("odd number of arguments")
    return TextMap({text(key): text(value) for key, value in zip(pairs[::2], pairs[1::2], strict=True)})


def _merged_maps(*maps: Any) -> TextMap:  # noqa: ANN401 - any values
    result = TextMap()
    for each in maps:
        if each is not None:
            result.update({key: text(value) for key, value in mapping(each).items()})
    return result


def _directory(path: Any) -> str:  # noqa: ANN401 - any value
    return text(path).rpartition("/")[0] + "/"


FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    **sprig.FUNCTIONS,
    "annotation": _annotation,
    "isset": _isset,
    "valueOrDefault": lambda value, otherwise: value if value not in (None, "") else otherwise,
    "excludeInboundPort": _exclude_inbound_port,
    "includeInboundPorts": _container_ports,
    "applicationPorts": _container_ports,
    "excludeInterfaces": lambda value: value,
    "kubevirtInterfaces": lambda value: value,
    "toJSON": _to_json,
    "fromJSON": _from_json,
    "structToJSON": _struct_to_json,
    "protoToJSON": _message_to_json,
    "toYaml": _to_yaml,
    "indent": _indented,
    "directory": _directory,
    "toLower": lambda value: text(value).lower(),
    "appendMultusNetwork": lambda networks, _plugin: with_plugin(text(networks)),
    "env": lambda _name, otherwise: otherwise,
    "omitNil": _without_nil,
    "strdict": _text_map,
    "mergeMaps": _merged_maps,
    "formatDuration": lambda value: text(value) if is_true(value) else "",
    "cleanLabel": lambda value: text(value)[:63].strip("-_."),
}
"""By name. ``env`` knows no variables: what a template says must not depend on where the control plane runs."""
