"""The kinds of Istio's API: group, versions, and the model of each, imported on first use."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from controlplane.apis.common import ApiModel

NETWORKING = "networking.istio.io"
SECURITY = "security.istio.io"
TELEMETRY = "telemetry.istio.io"
EXTENSIONS = "extensions.istio.io"


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind. ``versions`` are the API versions that are read, all with the same fields.

    ``module`` holds the class of its ``spec``, ``model`` the class's name where it is not the kind's. ``rules`` is the
    module of ``validation`` where it is not called like ``module``; empty where there are none.
    """

    name: str
    group: str
    versions: tuple[str, ...]
    plural: str
    module: str
    rules: str | None = None
    model: str | None = None

    def load(self) -> type[ApiModel]:
        """The model of the kind's ``spec``."""
        return _model(self.module, self.model or self.name)

    @property
    def rules_module(self) -> str:
        """The module of ``validation`` with the kind's further rules, empty where there are none."""
        return self.module if self.rules is None else self.rules


@cache
def _model(module: str, name: str) -> type[ApiModel]:
    model: type[ApiModel] = getattr(import_module(f"controlplane.apis.{module}"), name)
    return model


_ALL = ("v1", "v1beta1", "v1alpha3")
_SECURITY = ("v1", "v1beta1")
_FILTERS = ("v1alpha1",)

KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("VirtualService", NETWORKING, _ALL, "virtualservices", "virtual_service"),
        Kind("DestinationRule", NETWORKING, _ALL, "destinationrules", "destination_rule"),
        Kind("Gateway", NETWORKING, _ALL, "gateways", "gateway"),
        Kind("ServiceEntry", NETWORKING, _ALL, "serviceentries", "service_entry"),
        Kind("Sidecar", NETWORKING, _ALL, "sidecars", "sidecar"),
        Kind("WorkloadEntry", NETWORKING, _ALL, "workloadentries", "workload_entry"),
        Kind("WorkloadGroup", NETWORKING, _ALL, "workloadgroups", "workload_entry", "workload_group"),
        Kind("ProxyConfig", NETWORKING, ("v1beta1",), "proxyconfigs", "proxy_config", model="ProxyConfigResource"),
        Kind("EnvoyFilter", NETWORKING, ("v1alpha3",), "envoyfilters", "envoy_filter"),
        Kind("PeerAuthentication", SECURITY, _SECURITY, "peerauthentications", "peer_authentication"),
        Kind("RequestAuthentication", SECURITY, _SECURITY, "requestauthentications", "request_authentication"),
        Kind("AuthorizationPolicy", SECURITY, _SECURITY, "authorizationpolicies", "authorization_policy"),
        Kind("Telemetry", TELEMETRY, ("v1", "v1alpha1"), "telemetries", "telemetry"),
        Kind("WasmPlugin", EXTENSIONS, _FILTERS, "wasmplugins", "extensions", "wasm_plugin"),
        Kind("TrafficExtension", EXTENSIONS, _FILTERS, "trafficextensions", "extensions", "traffic_extension"),
    )
}
"""Every kind by its name. The Gateway of the Kubernetes Gateway API has the same name in another group."""
