"""The annotations that Istio knows, the kinds on which each means something, and which of them are deprecated.

Source: Istio's reference of resource annotations.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

ANY = "Any"


class Annotation(NamedTuple):
    """One annotation: the kinds that it is for (``Any``: all)."""

    kinds: tuple[str, ...]
    deprecated: bool = False


_POD = (
    "alpha.istio.io/identity",
    "ambient.istio.io/bypass-inbound-capture",
    "ambient.istio.io/dns-capture",
    "ambient.istio.io/redirection",
    "inject.istio.io/templates",
    "istio.io/reroute-virtual-interfaces",
    "istio.io/rev",
    "prometheus.istio.io/merge-metrics",
    "prometheus.istio.io/scrape-targets",
    "prometheus.istio.io/secure-port",
    "proxy.istio.io/config",
    "proxy.istio.io/overrides",
    "readiness.status.sidecar.istio.io/applicationPorts",
    "readiness.status.sidecar.istio.io/failureThreshold",
    "readiness.status.sidecar.istio.io/initialDelaySeconds",
    "readiness.status.sidecar.istio.io/periodSeconds",
    "sidecar.istio.io/agentLogLevel",
    "sidecar.istio.io/bootstrapOverride",
    "sidecar.istio.io/capNetBindService",
    "sidecar.istio.io/componentLogLevel",
    "sidecar.istio.io/enableCoreDump",
    "sidecar.istio.io/interceptionMode",
    "sidecar.istio.io/logLevel",
    "sidecar.istio.io/nativeSidecar",
    "sidecar.istio.io/proxyCPU",
    "sidecar.istio.io/proxyCPULimit",
    "sidecar.istio.io/proxyImage",
    "sidecar.istio.io/proxyImageType",
    "sidecar.istio.io/proxyMemory",
    "sidecar.istio.io/proxyMemoryLimit",
    "sidecar.istio.io/rewriteAppHTTPProbers",
    "sidecar.istio.io/statsEvictionInterval",
    "sidecar.istio.io/statsFlushInterval",
    "sidecar.istio.io/statsHistogramBuckets",
    "sidecar.istio.io/status",
    "sidecar.istio.io/userVolume",
    "sidecar.istio.io/userVolumeMount",
    "status.sidecar.istio.io/port",
    "traffic.sidecar.istio.io/excludeInboundPorts",
    "traffic.sidecar.istio.io/excludeInterfaces",
    "traffic.sidecar.istio.io/excludeOutboundIPRanges",
    "traffic.sidecar.istio.io/excludeOutboundPorts",
    "traffic.sidecar.istio.io/includeInboundPorts",
    "traffic.sidecar.istio.io/includeOutboundIPRanges",
    "traffic.sidecar.istio.io/includeOutboundPorts",
)
_DEPRECATED_ON_POD = (
    "sidecar.istio.io/discoveryAddress",
    "sidecar.istio.io/extraStatTags",
    "sidecar.istio.io/inject",
    "sidecar.istio.io/statsCompression",
    "sidecar.istio.io/statsInclusionPrefixes",
    "sidecar.istio.io/statsInclusionRegexps",
    "sidecar.istio.io/statsInclusionSuffixes",
    "traffic.sidecar.istio.io/kubevirtInterfaces",
)
_OTHERS = {
    "alpha.istio.io/canonical-serviceaccounts": Annotation(("Service",), deprecated=True),
    "alpha.istio.io/kubernetes-serviceaccounts": Annotation(("Service",), deprecated=True),
    "ambient.istio.io/waypoint-inbound-binding": Annotation(("GatewayClass",)),
    "galley.istio.io/analyze-suppress": Annotation((ANY,)),
    "gateway.istio.io/name-override": Annotation(("Gateway",)),
    "gateway.istio.io/service-account": Annotation(("Gateway",)),
    "install.operator.istio.io/chart-owner": Annotation((ANY,)),
    "install.operator.istio.io/owner-generation": Annotation((ANY,)),
    "install.operator.istio.io/version": Annotation((ANY,)),
    "istio.io/autoRegistrationGroup": Annotation(("WorkloadEntry",)),
    "istio.io/connectedAt": Annotation(("WorkloadEntry",)),
    "istio.io/disconnectedAt": Annotation(("WorkloadEntry",)),
    "istio.io/dry-run": Annotation(("AuthorizationPolicy",)),
    "istio.io/workloadController": Annotation(("WorkloadEntry",)),
    "kubernetes.io/ingress.class": Annotation(("Ingress",)),
    "networking.istio.io/address-type": Annotation(("Gateway",)),
    "networking.istio.io/exportTo": Annotation(("Service",)),
    "networking.istio.io/service-type": Annotation(("Gateway",)),
    "networking.istio.io/traffic-distribution": Annotation(("Service", "ServiceEntry", "Namespace")),
    "topology.istio.io/controlPlaneClusters": Annotation(("Namespace",)),
    "traffic.istio.io/nodeSelector": Annotation(("Service",)),
}
ANNOTATIONS: Mapping[str, Annotation] = MappingProxyType(
    dict.fromkeys(_POD, Annotation(("Pod",)))
    | dict.fromkeys(_DEPRECATED_ON_POD, Annotation(("Pod",), deprecated=True))
    | _OTHERS
)
"""Every known annotation by its name."""
