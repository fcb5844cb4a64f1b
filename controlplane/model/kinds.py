"""Kinds of objects by API group: Istio's ``Gateway`` and the Gateway API's are two kinds."""

from __future__ import annotations

from typing import NamedTuple

from controlplane.apis.kinds import EXTENSIONS, KINDS, NETWORKING, SECURITY, TELEMETRY

GATEWAY_API = "gateway.networking.k8s.io"


class GroupKind(NamedTuple):
    """A kind (``VirtualService``) and its API group, empty for Kubernetes' core; all versions are one kind.

    Source: ``kind`` and the part of ``apiVersion`` before the slash.
    """

    name: str
    group: str = ""

    def __str__(self) -> str:
        return self.qualified if self in _NAMESAKES else self.name

    @property
    def qualified(self) -> str:
        """The kind with its group, as kubectl writes it: ``Deployment.apps``, ``Pod``."""
        return f"{self.name}.{self.group}" if self.group else self.name


NO_KIND = GroupKind("")
"""The kind of an object that does not say what it is."""

SERVICE = GroupKind("Service")
POD = GroupKind("Pod")
NODE = GroupKind("Node")
NAMESPACE = GroupKind("Namespace")
CONFIG_MAP = GroupKind("ConfigMap")
SECRET = GroupKind("Secret")
SERVICE_ACCOUNT = GroupKind("ServiceAccount")
ENDPOINT_SLICE = GroupKind("EndpointSlice", "discovery.k8s.io")
INGRESS = GroupKind("Ingress", "networking.k8s.io")
INGRESS_CLASS = GroupKind("IngressClass", "networking.k8s.io")
DEPLOYMENT = GroupKind("Deployment", "apps")
MUTATING_WEBHOOKS = GroupKind("MutatingWebhookConfiguration", "admissionregistration.k8s.io")
VALIDATING_WEBHOOKS = GroupKind("ValidatingWebhookConfiguration", "admissionregistration.k8s.io")
CUSTOM_RESOURCE_DEFINITION = GroupKind("CustomResourceDefinition", "apiextensions.k8s.io")

VIRTUAL_SERVICE = GroupKind("VirtualService", NETWORKING)
DESTINATION_RULE = GroupKind("DestinationRule", NETWORKING)
GATEWAY = GroupKind("Gateway", NETWORKING)
SERVICE_ENTRY = GroupKind("ServiceEntry", NETWORKING)
SIDECAR = GroupKind("Sidecar", NETWORKING)
WORKLOAD_ENTRY = GroupKind("WorkloadEntry", NETWORKING)
WORKLOAD_GROUP = GroupKind("WorkloadGroup", NETWORKING)
PROXY_CONFIG = GroupKind("ProxyConfig", NETWORKING)
ENVOY_FILTER = GroupKind("EnvoyFilter", NETWORKING)
PEER_AUTHENTICATION = GroupKind("PeerAuthentication", SECURITY)
REQUEST_AUTHENTICATION = GroupKind("RequestAuthentication", SECURITY)
AUTHORIZATION_POLICY = GroupKind("AuthorizationPolicy", SECURITY)
TELEMETRIES = GroupKind("Telemetry", TELEMETRY)
WASM_PLUGIN = GroupKind("WasmPlugin", EXTENSIONS)
TRAFFIC_EXTENSION = GroupKind("TrafficExtension", EXTENSIONS)

_NAMESAKES = frozenset({GroupKind("Gateway", GATEWAY_API)})


def istio_kind(name: str) -> GroupKind:
    """Return Istio's kind of this name; ``KeyError`` where there is none."""
    return GroupKind(name, KINDS[name].group)
