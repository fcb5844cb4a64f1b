"""Telemetries: providers that are not there, or are no more supported."""

from __future__ import annotations

from collections.abc import Iterator

from controlplane.analysis import codes, raw
from controlplane.analysis.resources import Message, Resources, message
from controlplane.model import kinds


def providers(resources: Resources) -> Iterator[Message]:
    """Find access logs without a provider where the mesh has no default one."""
    if resources.mesh.config.default_providers.access_logging:
        return
    for telemetry in resources.of(kinds.TELEMETRIES):
        for at, log in raw.mappings(telemetry.spec, "accessLogging"):
            if log.get("disabled") is not True and not log.get("providers"):
                yield message(
                    codes.NO_TELEMETRY_PROVIDER,
                    telemetry,
                    f"spec.accessLogging[{at}]",
                    name=telemetry.name,
                    namespace=telemetry.namespace,
                )


def lightstep(resources: Resources) -> Iterator[Message]:
    """Find spans that are sent to Lightstep, of which Envoy has no tracer any more."""
    gone = {each.name for each in resources.mesh.config.extension_providers if each.lightstep is not None}
    for telemetry in resources.of(kinds.TELEMETRIES):
        for at, tracing in raw.mappings(telemetry.spec, "tracing"):
            for position, provider in raw.mappings(tracing, "providers"):
                if (name := raw.text(provider, "name")) in gone:
                    detail = f'the provider "{name}" is of Lightstep, for which there is no tracer: use opentelemetry'
                    yield message(
                        codes.DEPRECATED, telemetry, f"spec.tracing[{at}].providers[{position}].name", detail=detail
                    )
