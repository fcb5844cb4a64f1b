"""Persistent sessions: a cookie or a header that keeps a client at the endpoint that answered it first.

Source: the labels ``istio.io/persistent-session`` and ``istio.io/persistent-session-header`` of services.
"""

from __future__ import annotations

from collections.abc import Iterable

from envoy.extensions.filters.http.stateful_session.v3.stateful_session_pb2 import StatefulSessionPerRoute
from envoy.extensions.http.stateful_session.cookie.v3.cookie_pb2 import CookieBasedSessionState
from envoy.extensions.http.stateful_session.header.v3.header_pb2 import HeaderBasedSessionState
from google.protobuf.any_pb2 import Any

from controlplane.apis.virtual_service import Destination
from controlplane.model.service import Service
from controlplane.registry.endpoints import PERSISTENT_SESSION, PERSISTENT_SESSION_HEADER
from controlplane.registry.store import View
from controlplane.translate.sound import is_sound
from controlplane.translate.tls_context import typed

SESSION_FILTER = "envoy.filters.http.stateful_session"
Sessions = tuple[tuple[str, bytes], ...]
"""Hosts of destinations, as they are stated, each with the encoded settings of its service's sessions."""


def session(view: View, service: Service) -> bytes:
    """Return the encoded settings of a service's sessions for the filter, empty where it has none; a cookie goes first.

    The value of the cookie's label is its name, perhaps with the path behind a colon. What Envoy would refuse is none.
    """
    message = StatefulSessionPerRoute()
    state = message.stateful_session.session_state
    if stated := service.labels.get(PERSISTENT_SESSION):
        name, colon, path = stated.partition(":")
        cookie = CookieBasedSessionState()
        cookie.cookie.name, cookie.cookie.path = name, path if colon else "/"
        state.name = "envoy.http.stateful_session.cookie"
        state.typed_config.CopyFrom(typed(cookie))
    elif header := service.labels.get(PERSISTENT_SESSION_HEADER):
        state.name = "envoy.http.stateful_session.header"
        state.typed_config.CopyFrom(typed(HeaderBasedSessionState(name=header)))
    else:
        return b""
    if not is_sound(view, message, f"persistent session of {service.hostname}", lambda _: (service.key.object,)):
        return b""
    encoded: bytes = message.SerializeToString(deterministic=True)
    return encoded


def session_settings(encoded: bytes) -> Any:
    """Return the settings of sessions as the filter finds them at a route or a virtual host."""
    return typed(StatefulSessionPerRoute.FromString(encoded))


def first_session(sessions: Sessions, destinations: Iterable[Destination]) -> bytes:
    """Return the settings of the first destination that has sessions, empty where none has."""
    held = dict(sessions)
    return next((found for each in destinations if (found := held.get(each.host))), b"")
