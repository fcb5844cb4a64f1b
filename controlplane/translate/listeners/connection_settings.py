"""Limits of the connections that clients make to a proxy. Source: ProxyConfig ``connectionSettings``."""

from __future__ import annotations

from datetime import timedelta

from envoy.config.core.v3.protocol_pb2 import HttpProtocolOptions
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)

from controlplane.apis.mesh_proxy import (
    ConnectionSettings,
    HeadersWithUnderscoresAction,
    PathWithEscapedSlashesAction,
)

EDGE = ConnectionSettings(
    listener_per_connection_buffer_limit_bytes=32 * 1024,
    http_idle_timeout=timedelta(hours=1),
    http_stream_idle_timeout=timedelta(minutes=5),
    http_request_timeout=timedelta(minutes=5),
    http_request_headers_timeout=timedelta(minutes=1),
    http_max_concurrent_streams=100,
    http2_initial_stream_window_size=64 * 1024,
    http2_initial_connection_window_size=1024 * 1024,
    http_headers_with_underscores_action=HeadersWithUnderscoresAction.REJECT_REQUEST,
    http_merge_slashes=True,
    http_path_with_escaped_slashes_action=PathWithEscapedSlashesAction.UNESCAPE_AND_REDIRECT,
)
"""What the profile ``EDGE`` gives a gateway that states nothing else."""

_UNDERSCORES = {
    HeadersWithUnderscoresAction.ALLOW: HttpProtocolOptions.ALLOW,
    HeadersWithUnderscoresAction.REJECT_REQUEST: HttpProtocolOptions.REJECT_REQUEST,
    HeadersWithUnderscoresAction.DROP_HEADER: HttpProtocolOptions.DROP_HEADER,
}
_SLASHES = {
    PathWithEscapedSlashesAction.KEEP_UNCHANGED: HttpConnectionManager.KEEP_UNCHANGED,
    PathWithEscapedSlashesAction.REJECT_REQUEST: HttpConnectionManager.REJECT_REQUEST,
    PathWithEscapedSlashesAction.UNESCAPE_AND_REDIRECT: HttpConnectionManager.UNESCAPE_AND_REDIRECT,
    PathWithEscapedSlashesAction.UNESCAPE_AND_FORWARD: HttpConnectionManager.UNESCAPE_AND_FORWARD,
}


def limit_buffers(listener: Listener, stated: ConnectionSettings | None) -> None:
    """Set how much of one connection a gateway's listener holds in memory, in bytes; sidecars have no such limit."""
    limit = _effective(stated, gateway=True).listener_per_connection_buffer_limit_bytes if stated is not None else None
    if limit is not None and limit >= 0:
        listener.per_connection_buffer_limit_bytes.value = limit


def limit_connections(hcm: HttpConnectionManager, stated: ConnectionSettings | None, *, gateway: bool) -> None:
    """Apply what is stated over what the connection manager has; a gateway's profile fills in the rest."""
    if stated is None:
        return
    held = _effective(stated, gateway=gateway)
    _timeouts(hcm, held)
    _http2(hcm, held)
    underscores, slashes = held.http_headers_with_underscores_action, held.http_path_with_escaped_slashes_action
    if underscores in _UNDERSCORES:
        hcm.common_http_protocol_options.headers_with_underscores_action = _UNDERSCORES[underscores]
    if held.http_merge_slashes is not None:
        hcm.merge_slashes = held.http_merge_slashes
    if slashes in _SLASHES:
        hcm.path_with_escaped_slashes_action = _SLASHES[slashes]


def _effective(stated: ConnectionSettings, *, gateway: bool) -> ConnectionSettings:
    if not gateway or stated.profile != "EDGE":
        return stated
    return EDGE.model_copy(update={name: getattr(stated, name) for name in _given(stated)})


def _given(stated: ConnectionSettings) -> set[str]:
    """Return the fields that say something; ``None`` and the unspecified actions do not."""
    return {
        name
        for name in type(stated).model_fields
        if (value := getattr(stated, name)) is not None and "UNSPECIFIED" not in str(value)
    }


def _timeouts(hcm: HttpConnectionManager, held: ConnectionSettings) -> None:
    """Set how long a connection and a request may take, and may be silent. Zero means no limit."""
    common = "common_http_protocol_options"
    for options, field, value in (
        (common, "idle_timeout", held.http_idle_timeout),
        (common, "max_connection_duration", held.http_max_connection_duration),
        (common, "max_stream_duration", held.http_max_stream_duration),
        ("", "stream_idle_timeout", held.http_stream_idle_timeout),
        ("", "request_timeout", held.http_request_timeout),
        ("", "request_headers_timeout", held.http_request_headers_timeout),
        ("", "drain_timeout", held.http_drain_timeout),
    ):
        if value is not None:
            target = getattr(hcm, options) if options else hcm
            getattr(target, field).FromTimedelta(value)


def _http2(hcm: HttpConnectionManager, held: ConnectionSettings) -> None:
    """Set how many requests share a connection of HTTP/2, and what may be under way on it, in bytes."""
    for field, value in (
        ("max_concurrent_streams", held.http_max_concurrent_streams),
        ("initial_stream_window_size", held.http2_initial_stream_window_size),
        ("initial_connection_window_size", held.http2_initial_connection_window_size),
    ):
        if value is not None:
            getattr(hcm.http2_protocol_options, field).value = value
