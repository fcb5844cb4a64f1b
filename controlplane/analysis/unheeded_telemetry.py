"""What Telemetry objects state and nobody heeds: older objects that are used instead, providers that are of no use."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate
from typing import NamedTuple

from controlplane.analysis import codes
from controlplane.apis.mesh_providers import ExtensionProvider
from controlplane.apis.telemetry import ProviderRef, Telemetry
from controlplane.engine.recording import query
from controlplane.model.objects import Object, ObjectKey
from controlplane.registry.mesh import mesh_config
from controlplane.registry.policies import gateway_names, selector, targets
from controlplane.registry.providers import usable_provider
from controlplane.registry.store import View
from controlplane.registry.telemetry import telemetry_levels, telemetry_specs


class Unheeded(NamedTuple):
    """A field without effect: its path, why, and the object that is used instead, if it is one."""

    key: ObjectKey
    path: str
    reason: str
    winner: ObjectKey | None = None
    code: str = ""


@query
def unheeded_telemetry(view: View, key: ObjectKey) -> tuple[Unheeded, ...]:
    """Return what a Telemetry states without effect."""
    obj = view.get(key)
    if obj is None:
        return ()
    winner = _winner(view, obj)
    if winner is not None:
        reason = codes.SUPERSEDED.sentence.format(winner=winner)
        return (Unheeded(key, "spec", reason, winner, codes.SUPERSEDED.id),)
    return tuple(Unheeded(key, path, reason) for path, reason in _without_effect(view, obj))


def _winner(view: View, obj: Object) -> ObjectKey | None:
    """Return the older object that is for the whole namespace too."""
    if selector(obj) or targets(obj.spec):
        return None
    same = (key for key in telemetry_levels(view, obj.key.namespace).wide if key.namespace == obj.key.namespace)
    used = next(same, None)
    return used if used != obj.key else None


def _without_effect(view: View, obj: Object) -> Iterator[tuple[str, str]]:
    spec: Telemetry = obj.spec
    if targets(spec) and not any(gateway_names(obj)):
        path = "spec.targetRefs" if spec.target_refs else "spec.targetRef"
        yield path, "names no Gateway of the Gateway API in this namespace; no proxy is meant"
    for index, tracing in enumerate(spec.tracing):
        path = f"spec.tracing[{index}].providers"
        if len(tracing.providers) > 1:
            yield f"{path}[1]", "only the first provider is used"
        yield from _providers(view, path, tracing.providers[:1], "takes no spans", lambda each: each.is_tracer)
    for index, metrics in enumerate(spec.metrics):
        path = f"spec.metrics[{index}].providers"
        yield from _providers(
            view, path, metrics.providers, "takes no metrics", lambda each: each.prometheus is not None
        )
    yield from _logs(view, obj.key, spec)


def _logs(view: View, key: ObjectKey, spec: Telemetry) -> Iterator[tuple[str, str]]:
    """Yield what has no effect of entries for access logs: filters and switches need a provider to be about."""
    wide = telemetry_levels(view, key.namespace).wide
    before = telemetry_specs(view, (each for each in wide if each != key))
    inherited = bool(mesh_config(view).default_providers.access_logging) or any(
        entry.providers for each in before for entry in each.access_logging
    )
    known = list(accumulate((bool(entry.providers) for entry in spec.access_logging), initial=inherited, func=max))
    for index, entry in enumerate(spec.access_logging):
        path = f"spec.accessLogging[{index}]"
        yield from _providers(view, f"{path}.providers", entry.providers, "takes no access logs", _takes_logs)
        if entry.filter is not None and (entry.disabled or not entry.providers):
            what = "what is disabled has no entries" if entry.disabled else "a filter is for the providers of its entry"
            yield f"{path}.filter", f"{what}; it has no effect"
        if entry.disabled and not known[index + 1]:
            yield f"{path}.disabled", "there is no provider to disable; accessLogFile of the mesh stays in force"


def _takes_logs(provider: ExtensionProvider) -> bool:
    kinds = (provider.envoy_file_access_log, provider.envoy_http_als, provider.envoy_tcp_als, provider.envoy_otel_als)
    return any(kind is not None for kind in kinds)


def _providers(
    view: View,
    path: str,
    named: Iterable[ProviderRef],
    unfit: str,
    fits: Callable[[ExtensionProvider], bool],
) -> Iterator[tuple[str, str]]:
    for index, each in enumerate(named):
        stated = mesh_config(view).provider(each.name)
        if stated is None:
            reason = "the mesh configuration has no extension provider of this name"
        elif not fits(stated):
            reason = f"the extension provider {stated.name} {unfit}"
        elif usable_provider(view, each.name) is None:
            reason = f"the service of the extension provider {stated.name} is unknown, or in several namespaces"
        else:
            continue
        yield f"{path}[{index}].name", reason
