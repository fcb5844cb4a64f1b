"""The filters of WasmPlugins and TrafficExtensions, with the phases in which they stand.

A module's settings are fetched by themselves, so its filter holds their name alone; a script stands in the filter.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from envoy.config.core.v3.config_source_pb2 import ApiVersion
from envoy.config.listener.v3.listener_components_pb2 import Filter
from envoy.extensions.filters.http.lua.v3.lua_pb2 import Lua
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import HttpFilter

from controlplane.constraints.extensions import lua_problem
from controlplane.model.left_out import LeftOut
from controlplane.registry.store import View
from controlplane.registry.traffic_extensions import Extension, ExtensionKeys, Place, Traffic, ordered
from controlplane.translate.listeners.extensions import http_filter
from controlplane.translate.listeners.phases import Phase, Placed

_PHASES: Mapping[Place, Phase] = {
    Place.AUTHN: Phase.BEFORE_AUTHENTICATION,
    Place.AUTHZ: Phase.BEFORE_AUTHORIZATION,
    Place.STATS: Phase.AFTER_AUTHORIZATION,
    Place.UNSPECIFIED: Phase.AFTER_AUTHORIZATION,
}
_TYPES = "type.googleapis.com/envoy.extensions.filters"
HTTP_WASM, NETWORK_WASM = f"{_TYPES}.http.wasm.v3.Wasm", f"{_TYPES}.network.wasm.v3.Wasm"
_HTTP_TYPES = (HTTP_WASM, f"{_TYPES}.http.rbac.v3.RBAC")
_NETWORK_TYPES = (NETWORK_WASM, f"{_TYPES}.network.rbac.v3.RBAC")


@dataclass(frozen=True, slots=True)
class ExtensionFilters:
    """Extensions of one workload, and what they become on chains of HTTP and of bytes."""

    held: tuple[Extension, ...] = ()

    def http(self, traffic: Traffic) -> tuple[Placed[HttpFilter], ...]:
        """Return the HTTP filters for some traffic, in order."""
        return tuple((_PHASES[each.place], _http(each)) for each in self._for(traffic) if each.is_http)

    def network(self, traffic: Traffic) -> tuple[Placed[Filter], ...]:
        """Return the network filters for some traffic, in order."""
        return tuple((_PHASES[each.place], _network(each)) for each in self._for(traffic) if not each.is_http)

    @property
    def modules(self) -> frozenset[str]:
        """The names of what may be fetched by itself, whatever traffic it is for."""
        return frozenset(each.full_name for each in self.held if each.wasm is not None)

    def _for(self, traffic: Traffic) -> Iterable[Extension]:
        return (each for each in self.held if each.sees(traffic))


NO_EXTENSIONS = ExtensionFilters()


def extension_filters(view: View, keys: ExtensionKeys) -> ExtensionFilters:
    """Return the extensions of a workload; a script that is no Lua is left out, and noted."""
    if not keys:
        return NO_EXTENSIONS
    held = []
    for each in ordered(view, keys):
        if each.lua is not None and (problem := lua_problem(each.lua.inline_code)):
            view.note(LeftOut("spec.lua.inlineCode", problem, (each.key,)))
        else:
            held.append(each)
    return ExtensionFilters(tuple(held))


def _http(held: Extension) -> HttpFilter:
    if held.lua is not None:
        script = Lua()
        script.default_source_code.inline_string = held.lua.inline_code
        return http_filter(held.full_name, script)
    return _discovery(HttpFilter(name=held.full_name), _HTTP_TYPES)


def _network(held: Extension) -> Filter:
    return _discovery(Filter(name=held.full_name), _NETWORK_TYPES)


def _discovery(message: Any, types: Iterable[str]) -> Any:  # noqa: ANN401 - either kind of filter
    """Let a filter's settings be fetched; the second type is what stands in for a module that cannot be loaded."""
    discovery = message.config_discovery
    discovery.config_source.ads.SetInParent()
    discovery.config_source.initial_fetch_timeout.SetInParent()
    discovery.config_source.resource_api_version = ApiVersion.V3
    discovery.type_urls.extend(types)
    return message
