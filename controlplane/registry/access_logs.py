"""Where the proxies of a mesh write their access logs, and in what form."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from controlplane.apis.mesh import AccessLogEncoding, MeshConfig
from controlplane.apis.mesh_providers import (
    EnvoyFileAccessLogProvider,
    EnvoyGrpcV3LogProvider,
    EnvoyOpenTelemetryLogProvider,
    ExtensionProvider,
)
from controlplane.apis.telemetry import Telemetry
from controlplane.documents.json_reader import json_value
from controlplane.model.side import Side
from controlplane.registry.mesh import mesh_config
from controlplane.registry.providers import usable_provider
from controlplane.registry.store import View
from controlplane.registry.telemetry import Chain, is_for, telemetry_specs

BUILT_IN = "envoy"
"""The provider that every mesh has."""
_STANDARD_OUTPUT = "/dev/stdout"


@dataclass(frozen=True, slots=True)
class FileLog:
    """Entries go into a file: as JSON where ``fields`` are set (empty: the default ones), else as text.

    ``text`` empty means the default text.
    """

    path: str
    text: str = ""
    fields: Mapping[str, Any] | None = None
    omit_empty: bool = False


@dataclass(frozen=True, slots=True)
class RequestLog:
    """Entries about requests go to Envoy's gRPC service. ``to.service`` is a host."""

    to: EnvoyGrpcV3LogProvider


@dataclass(frozen=True, slots=True)
class ConnectionLog:
    """Entries about connections go to Envoy's gRPC service. ``to.service`` is a host."""

    to: EnvoyGrpcV3LogProvider


@dataclass(frozen=True, slots=True)
class OpenTelemetryLog:
    """Entries go to an OpenTelemetry collector. ``to.service`` is a host."""

    to: EnvoyOpenTelemetryLogProvider


@dataclass(frozen=True, slots=True)
class BootstrapLog:
    """Entries go to the collector that the proxy's bootstrap names."""


LogSink = FileLog | RequestLog | ConnectionLog | OpenTelemetryLog | BootstrapLog
"""Where entries go."""


@dataclass(frozen=True, slots=True)
class AccessLog:
    """One access log. Where ``expression`` (CEL) is set, only what it is true of is written."""

    sink: LogSink
    expression: str = ""


@dataclass(frozen=True, slots=True)
class AccessLogs:
    """The access logs of one side of a proxy.

    ``of_listener`` says whether listeners log what none of their chains took.
    """

    logs: tuple[AccessLog, ...] = ()
    of_listener: bool = True


def access_logs(view: View, chain: Chain, side: Side) -> AccessLogs:
    """Return the access logs of the providers that are asked for, else those that the mesh states without a provider.

    The latter are kept where no provider is of use, so what disables nothing but them has no effect; where all the
    providers are disabled there are none. Reference: Telemetry.accessLogging, MeshConfig.defaultProviders,
    accessLogFile, enableEnvoyAccessLogService, disableEnvoyListenerLog.
    """
    mesh = mesh_config(view)
    asked = _asked(mesh, telemetry_specs(view, chain), side)
    found = {name: provider for name in asked if (provider := usable_provider(view, name)) is not None}
    of_use = [
        (asked[name], sink)
        for name, provider in sorted(found.items(), key=lambda each: each[1].name)
        if (sink := _sink(mesh, provider)) is not None
    ]
    logs = [AccessLog(sink, each.expression) for each, sink in of_use if not each.disabled]
    if not of_use:
        logs = [AccessLog(sink) for sink in _own_sinks(mesh)]
    return AccessLogs(tuple(logs), of_listener=not mesh.disable_envoy_listener_log)


class _Asked(NamedTuple):
    """What is asked of a provider."""

    expression: str = ""
    disabled: bool = False


def _asked(mesh: MeshConfig, specs: Iterable[Telemetry], side: Side) -> Mapping[str, _Asked]:
    """Return the providers that are asked for: those of the last object that names any for the side.

    An entry without providers is about those of the entry before it; the filter of a provider is that of the last entry
    that names it.
    """
    stated = [spec.access_logging for spec in specs if spec.access_logging]
    wanted = mesh.default_providers.access_logging
    if not stated:
        return dict.fromkeys(wanted, _Asked())
    filters: dict[str, _Asked] = {}
    for entries in stated:
        named: list[str] = []
        for entry in entries:
            if is_for(entry.match, side):
                expression = entry.filter.expression if entry.filter is not None else ""
                filters |= {provider.name: _Asked(expression) for provider in entry.providers}
                named += (provider.name for provider in entry.providers)
        wanted = tuple(named) or wanted
    found: dict[str, _Asked] = {}
    names = mesh.default_providers.access_logging
    for entry in (entry for entries in stated for entry in entries):
        names = tuple(provider.name for provider in entry.providers) or names
        if is_for(entry.match, side):
            found |= {
                name: _Asked(disabled=True) if entry.disabled else filters.get(name, _Asked())
                for name in names
                if name in wanted
            }
    return found


def _own_sinks(mesh: MeshConfig) -> Iterator[LogSink]:
    """Yield the logs that the mesh configuration states without a provider."""
    if mesh.access_log_file:
        yield _mesh_file(mesh, mesh.access_log_file)
    if mesh.enable_envoy_access_log_service:
        yield BootstrapLog()


def _mesh_file(mesh: MeshConfig, path: str) -> FileLog:
    if mesh.access_log_encoding is AccessLogEncoding.JSON:
        return FileLog(path, fields=_json_fields(mesh.access_log_format))
    return FileLog(path, mesh.access_log_format)


def _json_fields(text: str) -> dict[str, Any]:
    """Return the fields of a JSON entry as the mesh states them; none, the default, where that is no JSON object."""
    try:
        stated = json_value(text) if text else None
    except ValueError:
        stated = None
    return stated if isinstance(stated, dict) else {}


def _sink(mesh: MeshConfig, provider: ExtensionProvider) -> LogSink | None:
    """Return where a provider puts entries; ``None`` for one of another sort."""
    if provider.envoy_file_access_log is not None:
        return _provider_file(mesh, provider.name, provider.envoy_file_access_log)
    if provider.envoy_http_als is not None:
        return RequestLog(provider.envoy_http_als)
    if provider.envoy_tcp_als is not None:
        return ConnectionLog(provider.envoy_tcp_als)
    if provider.envoy_otel_als is not None:
        return OpenTelemetryLog(provider.envoy_otel_als)
    return None


def _provider_file(mesh: MeshConfig, name: str, provider: EnvoyFileAccessLogProvider) -> FileLog:
    """The built-in provider follows the mesh's format and encoding as long as it states none of its own."""
    stated = provider.log_format
    if name == BUILT_IN and stated is None and not provider.omit_empty_values:
        return _mesh_file(mesh, provider.path or _STANDARD_OUTPUT)
    if stated is not None and stated.labels is not None:
        return FileLog(provider.path or _STANDARD_OUTPUT, fields=stated.labels, omit_empty=provider.omit_empty_values)
    text = stated.text if stated is not None and stated.text else ""
    return FileLog(provider.path or _STANDARD_OUTPUT, text, omit_empty=provider.omit_empty_values)
