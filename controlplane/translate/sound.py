"""What Envoy would refuse is left out where it is made: the smallest part of a message, and the rest is served.

Envoy refuses a whole listener, cluster or route configuration for one bad value, and one that starts anew then has
nothing of it. Each message is checked once, when it is built; those that differ in plain names alone, once for all of
them (``templates``). What is left out is noted with the query that built it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import re2
from google.protobuf import descriptor_pool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from controlplane.constraints.checker import Fault, Faults, faults
from controlplane.model.left_out import LeftOut
from controlplane.model.objects import ObjectKey
from controlplane.registry.mesh import MESH_KEY
from controlplane.registry.store import Fact, View

_ROUNDS = 8  # what is left out may bring to light what was hidden behind it
_MOST_REASONS = 3
_MOST_OBJECTS = 20


def _chain_name(chain: Any) -> str:  # noqa: ANN401 - a generated message
    match = chain.filter_chain_match
    named = chain.name or ", ".join(match.server_names)
    port = f"port {match.destination_port.value}" if match.HasField("destination_port") else ""
    return f"filter chain {named or port or 'without a name'}"


def _endpoint_name(endpoint: Any) -> str:  # noqa: ANN401 - a generated message
    address = endpoint.endpoint.address
    held = address.socket_address
    return f"endpoint {address.pipe.path or f'{held.address}:{held.port_value}'}"


_MANAGER = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_NAMES: Mapping[str, Callable[[Any], str]] = {
    "envoy.config.listener.v3.FilterChain": _chain_name,
    "envoy.config.accesslog.v3.AccessLog": lambda log: f"access log {log.name}",
    f"{_MANAGER}.Tracing": lambda tracing: f"tracing by {tracing.provider.name}",
    "envoy.config.endpoint.v3.LbEndpoint": _endpoint_name,
    "envoy.config.route.v3.VirtualHost": lambda host: f"virtual host {host.name}",
}
#: what is made of the mesh's providers, whichever object wants it
_OF_MESH = frozenset({"envoy.config.accesslog.v3.AccessLog", f"{_MANAGER}.Tracing"})
_PACKED = ".typed_config."
_IN_FILTER = r"(?:filter_chains\[\d+\]|default_filter_chain)\.filters\[\d+\]\.typed_config\."
#: the parts that the rest can do without, by type: where they are in the message, the smallest first
_PARTS: Mapping[str, Any] = {
    "envoy.config.listener.v3.Listener": re2.compile(
        rf"({_IN_FILTER}tracing)\b|({_IN_FILTER}access_log|filter_chains|access_log)\[(\d+)\]|(default_filter_chain)\b"
    ),
    "envoy.config.cluster.v3.Cluster": re2.compile(r"(load_assignment\.endpoints\[\d+\]\.lb_endpoints)\[(\d+)\]"),
    "envoy.config.endpoint.v3.ClusterLoadAssignment": re2.compile(r"(endpoints\[\d+\]\.lb_endpoints)\[(\d+)\]"),
}
_STEP = re2.compile(r"(\w+)(?:\[(\d+)\])?")


def is_sound(
    view: View, message: Message, element: str, objects: Callable[[Any], Iterable[ObjectKey]] | None = None
) -> bool:
    """Whether Envoy takes a message; parts that the rest can do without are taken out of it for that.

    All that is left out is noted, with what ``objects`` returns for a part (only asked then), or for the message.
    The message is changed in place.
    """
    found = faults(message)
    if not found:
        return True
    parts = _PARTS.get(message.DESCRIPTOR.full_name)

    def note(part: Any, name: str, reasons: Faults) -> None:  # noqa: ANN401 - a generated message
        made_from = tuple(sorted(objects(part))) if objects is not None else ()
        if part.DESCRIPTOR.full_name in _OF_MESH:
            made_from = (MESH_KEY,)
        view.note(LeftOut(name, _reason(reasons), made_from or _read_by(view)))

    for _ in range(_ROUNDS):
        broken = _broken(found, parts)
        if broken is None:
            note(message, element, found)
            return False
        for place in sorted(broken, reverse=True):
            part = _part(message, *place)
            note(part, f"{_NAMES[part.DESCRIPTOR.full_name](part)} of {element}", broken[place])
            _remove(message, *place)
        found = faults(message)
        if not found:
            return True
    note(message, element, found)
    return False


def _read_by(view: View) -> tuple[ObjectKey, ...]:
    """Return some of the objects that were read for what is built now."""
    found = sorted(
        fact.key
        for fact in view.facts()
        if isinstance(fact, Fact) and fact.about == "object" and isinstance(fact.key, ObjectKey)
    )
    return tuple(key for key in found if view.knows(key))[:_MOST_OBJECTS]


Place = tuple[str, int]
"""A field (a path) and the position in it, -1 for the field itself."""


def _broken(found: Faults, parts: Any) -> dict[Place, list[Fault]] | None:  # noqa: ANN401 - an re2 expression, or None
    """Return the parts that faults are in; ``None`` where one is in no part."""
    broken: dict[Place, list[Fault]] = {}
    for fault in found:
        within = parts.match(fault.path) if parts is not None else None
        if within is None:
            return None
        path, position = (*filter(None, within.groups()), "-1")[:2]
        place = (path, int(position))
        broken.setdefault(place, []).append(fault)
    return broken


def _unpacked(filter_: Any) -> Any:  # noqa: ANN401 - a generated message, here and below
    packed = filter_.typed_config
    descriptor: Any = descriptor_pool.Default().FindMessageTypeByName(packed.TypeName())
    return GetMessageClass(descriptor).FromString(packed.value)


def _part(message: Message, path: str, position: int) -> Any:  # noqa: ANN401
    owner, packed, within = path.partition(_PACKED)
    if packed:
        return _part(_unpacked(_held(message, owner)), within, position)
    held = _held(message, path)
    return held if position < 0 else held[position]


def _remove(message: Message, path: str, position: int) -> None:
    owner, packed, within = path.partition(_PACKED)
    if packed:
        filter_ = _held(message, owner)
        settings = _unpacked(filter_)
        _remove(settings, within, position)
        filter_.typed_config.value = settings.SerializeToString(deterministic=True)
    elif position < 0:
        message.ClearField(path)
    else:
        del _held(message, path)[position]


def _held(message: Message, path: str) -> Any:  # noqa: ANN401 - what a field holds
    held: Any = message
    for name, position in _STEP.findall(path):
        held = getattr(held, name)
        held = held[int(position)] if position else held
    return held


def _reason(found: Faults) -> str:
    texts = [f"{fault.path}: {fault.reason}" if fault.path else fault.reason for fault in found]
    more = f"; and {len(texts) - _MOST_REASONS} more" if len(texts) > _MOST_REASONS else ""
    return "; ".join(texts[:_MOST_REASONS]) + more
