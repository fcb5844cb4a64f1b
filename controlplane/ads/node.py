"""Reads what a proxy says of itself: a ``Node`` message becomes a ``Proxy``, or the stream is refused with a reason."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from envoy.config.core.v3.base_pb2 import Node
from google.protobuf.struct_pb2 import Struct, Value

from controlplane.ads.refusal import Refusal, StreamRefused
from controlplane.model.proxy import Locality, Proxy

SERVED_TYPES = ("sidecar", "router")
_KNOWN_TYPES = frozenset({*SERVED_TYPES, "waypoint", "ztunnel", "agentgateway"})
_PARTS = 4
MAX_METADATA_BYTES = 512 * 1024
"""Encoded; a pod's labels, annotations and ProxyConfig are a few thousand, Kubernetes stores 256 KiB of annotations."""
MAX_METADATA_DEPTH = 24
"""Levels of mappings and lists; a ProxyConfig has six."""
_LONGEST_ADDRESS = 64  # characters; IPv6 with a zone

STRINGIFIED_BOOLEANS = frozenset(
    {
        "DISABLE_HBONE_SEND",
        "DNS_AUTO_ALLOCATE",
        "DNS_CAPTURE",
        "ENABLE_HBONE",
        "ENABLE_SELF_DISCOVERY",
        "ENVOY_SKIP_DEPRECATED_LOGS",
        "EXIT_ON_ZERO_ACTIVE_CONNECTIONS",
        "INBOUND_LISTENER_EXACT_BALANCE",
        "METADATA_DISCOVERY",
        "OUTBOUND_LISTENER_EXACT_BALANCE",
        "VIRTUAL_HOST_DISCOVERY",
    }
)
"""Metadata keys whose value is a boolean written as a string; in ``Proxy.metadata`` it is a boolean."""

_TRUE = frozenset({"1", "t", "T", "true", "TRUE", "True"})
_FALSE = frozenset({"", "0", "f", "F", "false", "FALSE", "False"})


def proxy_of(node: Node) -> Proxy:
    """Return the proxy that a node describes. Metadata keys that are not known are kept as they are.

    Raises:
        StreamRefused: the node is missing, malformed, or of a type that is not served; the text says which part.
    """
    if not node.id:
        raise StreamRefused(Refusal.INVALID, "missing node information")
    parts = node.id.split("~")
    if len(parts) != _PARTS:
        raise _invalid(f'node.id "{node.id}" must have four parts type~ip~name.namespace~domain')
    type_, ip, name, domain = parts
    if type_ not in SERVED_TYPES:
        what = "is not served here" if type_ in _KNOWN_TYPES else "is unknown"
        raise _invalid(f'node.id "{node.id}": type "{type_}" {what}; the types served are {", ".join(SERVED_TYPES)}')
    if not name:
        raise _invalid(f'node.id "{node.id}" has an empty third part; it must be name.namespace')
    metadata = _metadata(_metadata_fields(node.metadata))
    ips = _addresses(_text(metadata, "INSTANCE_IPS").split(",")) or _addresses([ip])
    if not ips:
        raise _invalid(
            f'node.id "{node.id}" has no valid IP address ("{ip}"), and metadata INSTANCE_IPS has none either'
        )
    return Proxy(
        type=type_,
        id=name,
        ips=ips,
        namespace=_text(metadata, "NAMESPACE") or _namespace(domain),
        domain=domain,
        labels=_labels(metadata, "LABELS"),
        static_labels=_labels(metadata, "STATIC_LABELS"),
        locality=Locality(node.locality.region, node.locality.zone, node.locality.sub_zone),
        cluster_id=_text(metadata, "CLUSTER_ID") or "Kubernetes",
        network=_text(metadata, "NETWORK"),
        istio_version=_text(metadata, "ISTIO_VERSION"),
        service_cluster=node.cluster,
        metadata=metadata,
        envoy_minor=_envoy_minor(node),
    )


def _envoy_minor(node: Node) -> int | None:
    built = node.user_agent_build_version
    return built.version.minor_number if built.HasField("version") and built.version.major_number == 1 else None


def _invalid(reason: str) -> StreamRefused:
    return StreamRefused(Refusal.INVALID, reason)


def _namespace(domain: str) -> str:
    """Return the first label of the DNS domain, if there are more than one."""
    first, _, rest = domain.partition(".")
    return first if rest else ""


def _addresses(texts: Iterable[str]) -> tuple[str, ...]:
    """Return those that are IP addresses, in their order, without repeats."""
    words = (text.strip() for text in texts)
    # That none of them is an address is the caller's to report.
    return tuple(dict.fromkeys(found for word in words if len(word) <= _LONGEST_ADDRESS and (found := _address(word))))


@lru_cache(maxsize=1 << 14)
def _address(text: str) -> str:
    """Return an IP address as it is usually written, nothing if it is none. Proxies come back with theirs."""
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return ""


def _text(metadata: Mapping[str, Any], key: str) -> str:
    value = metadata.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise _invalid(f"node.metadata.{key} must be a string, not {value!r}")
    return value


def _labels(metadata: Mapping[str, Any], key: str) -> Mapping[str, str]:
    value = metadata.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise _invalid(f"node.metadata.{key} must be a map of strings")
    return value


def _metadata_fields(struct: Struct) -> dict[str, Any]:
    size = struct.ByteSize()
    if size > MAX_METADATA_BYTES:
        raise _invalid(f"node.metadata has {size} bytes, more than {MAX_METADATA_BYTES}")
    return _struct(struct, 1)


def _struct(struct: Struct, depth: int) -> dict[str, Any]:
    if depth > MAX_METADATA_DEPTH:
        raise _invalid(f"node.metadata is nested deeper than {MAX_METADATA_DEPTH} levels")
    fields = struct.fields
    return {key: _value(fields[key], depth) for key in fields}  # its ``items`` is several times slower


def _value(value: Value, depth: int) -> Any:  # noqa: ANN401 - JSON
    """Return what a value holds, as JSON would: null is ``None``, a whole number an integer."""
    kind = value.WhichOneof("kind")
    if kind is None or kind == "null_value":
        return None
    held = getattr(value, kind)
    if kind == "struct_value":
        return _struct(held, depth + 1)
    if kind == "list_value":
        if depth > MAX_METADATA_DEPTH:
            raise _invalid(f"node.metadata is nested deeper than {MAX_METADATA_DEPTH} levels")
        return [_value(item, depth + 1) for item in held.values]
    return int(held) if kind == "number_value" and held.is_integer() else held


def _metadata(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the metadata with its stringified booleans as booleans."""
    read = dict(raw)
    for key in STRINGIFIED_BOOLEANS & raw.keys():
        value = raw[key]
        if value is None:
            del read[key]
        elif isinstance(value, str) and value in _TRUE | _FALSE:
            read[key] = value in _TRUE
        else:
            raise _invalid(f'node.metadata.{key} must be "true" or "false", as a string, not {value!r}')
    return read
