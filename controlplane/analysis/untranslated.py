"""Fields that are read and validated and that no translator uses yet, so that none is ignored in silence.

``NOT_TRANSLATED`` is the only statement of them. Whoever translates one of these fields takes its line out; a test
compares the tables with the models and with the code.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from types import MappingProxyType

import structlog

from controlplane.apis.common import ApiModel
from controlplane.apis.kinds import KINDS
from controlplane.apis.mesh import MeshConfig
from controlplane.apis.mesh_fields import stated_fields
from controlplane.apis.mesh_networks import MeshNetworks
from controlplane.apis.used_fields import used_fields
from controlplane.model.objects import ChangeSet, Object, ObjectKey
from controlplane.registry.mesh import MESH_KEY

log = structlog.get_logger(__name__)

NOT_TRANSLATED: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "DestinationRule": ("outlierDetection.consecutiveErrors",),
        "EnvoyFilter": (
            "match.listener.filterChain.transportSocket",
            "match.listener.portName",
            "match.waypoint",
            "patch.filterClass",
        ),
        "Gateway": ("servers[].defaultEndpoint", "tls.tlsCertificates[].caCertificates"),
        "RequestAuthentication": ("jwtRules[].presence",),
        "Sidecar": ("egress[].port.targetPort", "ingress[].tls"),
        "TrafficExtension": ("wasm.verificationKey",),
        "VirtualService": ("tcp[].match[].sourceSubnet",),
        "WasmPlugin": ("verificationKey",),
        "WorkloadGroup": ("template.address",),
    }
)
"""Ends of the paths, by kind, of what is not translated; where it is a message, all of its fields are meant.

Those of EnvoyFilter, WasmPlugin and TrafficExtension have no effect in Istio either.

``ingress[].tls`` of a Sidecar has effect only where the variable ENABLE_TLS_ON_SIDECAR_INGRESS is set, as in Istio.
"""


MESH_NOT_TRANSLATED = (
    "mesh.ca",
    "mesh.certificates",
    "mesh.configSources",
    "mesh.defaultConfig.binaryPath",
    "mesh.defaultConfig.caCertificatesPem",
    "mesh.defaultConfig.concurrency",
    "mesh.defaultConfig.configPath",
    "mesh.defaultConfig.connectionSettings.clusterPerConnectionBufferLimitBytes",
    "mesh.defaultConfig.controlPlaneAuthPolicy",
    "mesh.defaultConfig.customConfigFile",
    "mesh.defaultConfig.drainDuration",
    "mesh.defaultConfig.envoyAccessLogService",
    "mesh.defaultConfig.envoyMetricsService",
    "mesh.defaultConfig.extraStatTags",
    "mesh.defaultConfig.fileFlushInterval",
    "mesh.defaultConfig.fileFlushMinSizeKb",
    "mesh.defaultConfig.holdApplicationUntilProxyStarts",
    "mesh.defaultConfig.image",
    "mesh.defaultConfig.interceptionMode",
    "mesh.defaultConfig.meshId",
    "mesh.defaultConfig.parentShutdownDuration",
    "mesh.defaultConfig.privateKeyProvider",
    "mesh.defaultConfig.proxyAdminPort",
    "mesh.defaultConfig.proxyBootstrapTemplatePath",
    "mesh.defaultConfig.proxyStatsMatcher",
    "mesh.defaultConfig.readinessProbe",
    "mesh.defaultConfig.runtimeValues",
    "mesh.defaultConfig.sds",
    "mesh.defaultConfig.statNameLength",
    "mesh.defaultConfig.statsCompression",
    "mesh.defaultConfig.statsEvictionInterval",
    "mesh.defaultConfig.statsdUdpAddress",
    "mesh.defaultConfig.statusPort",
    "mesh.defaultConfig.terminationDrainDuration",
    "mesh.defaultConfig.tracing.datadog",
    "mesh.defaultConfig.tracing.lightstep",
    "mesh.defaultConfig.tracing.openCensusAgent",
    "mesh.defaultConfig.tracing.stackdriver",
    "mesh.defaultConfig.tracing.tlsSettings",
    "mesh.defaultConfig.tracing.zipkin",
    "mesh.defaultConfig.tracingServiceName",
    "mesh.defaultInboundHttpRetryPolicy.perTryTimeout",
    "mesh.defaultInboundHttpRetryPolicy.retryIgnorePreviousHosts",
    "mesh.defaultInboundHttpRetryPolicy.retryRemoteLocalities",
    "mesh.defaultTrafficPolicy.loadBalancer",
    "mesh.defaultTrafficPolicy.outlierDetection.consecutiveErrors",
    "mesh.defaultTrafficPolicy.portLevelSettings",
    "mesh.defaultTrafficPolicy.proxyProtocol",
    "mesh.defaultTrafficPolicy.retryBudget",
    "mesh.defaultTrafficPolicy.tls",
    "mesh.defaultTrafficPolicy.tunnel",
    "mesh.discoverySelectors",
    "mesh.enablePrometheusMerge",
    "mesh.extensionProviders[].datadog.context",
    "mesh.extensionProviders[].envoyExtAuthzGrpc.clearRouteCache",
    "mesh.extensionProviders[].envoyExtAuthzHttp.clearRouteCache",
    "mesh.extensionProviders[].lightstep",
    "mesh.extensionProviders[].opencensus",
    "mesh.extensionProviders[].skywalking.context",
    "mesh.extensionProviders[].stackdriver",
    "mesh.hboneIdleTimeout",
    "mesh.meshMTLS.ecdhCurves",
    "mesh.outboundTrafficPolicy.egressProxy",
    "mesh.serviceScopeConfigs",
    "mesh.verifyCertificateAtClient",
    "meshNetworks.networks{}.gateways[].locality",
)
"""Paths in the data of the mesh's ConfigMap: what is not translated, or is for an injector or agent."""


def untranslated(obj: Object) -> tuple[str, ...]:
    """Return the paths of what the user gave in an object and nothing translates, sorted.

    A path is as ``used_fields`` gives it, after ``spec.``: ``spec.tcp[].match[].sourceSubnet``. A message that is
    not translated is named without its fields, a kind that is not as ``spec``. In the mesh configuration paths begin
    with ``data.mesh``, and a field that is not known at all is among them.
    """
    if obj.key == MESH_KEY:
        return tuple(sorted(f"data.{path}" for path in _mesh_fields(obj)))
    kind = obj.kind.name
    if kind in KINDS and KINDS[kind].group != obj.kind.group:
        return ()  # a namesake of another group
    ends = NOT_TRANSLATED.get(kind)
    if ends is None or not isinstance(obj.spec, ApiModel):
        return ()
    tails = tuple(f".{end}" for end in ends)
    return tuple(sorted(path for field in used_fields(obj.spec) if (path := f"spec.{field}").endswith(tails)))


def _mesh_fields(obj: Object) -> Iterator[str]:
    models: tuple[tuple[str, type[ApiModel]], ...] = (("mesh", MeshConfig), ("meshNetworks", MeshNetworks))
    for entry, model in models:
        known, unknown = stated_fields(model, obj.spec.data.get(entry, ""))
        yield from (f"{entry}.{path}" for path in unknown)
        yield from (path for field in known if (path := f"{entry}.{field}") in MESH_NOT_TRANSLATED)


class UntranslatedFields:
    """Counts the objects that use such fields; a field is named in the log the first time that an object has it."""

    def __init__(self) -> None:
        self._fields: dict[ObjectKey, tuple[str, ...]] = {}
        self._counts: Counter[tuple[str, str]] = Counter()
        self._named: set[tuple[str, str]] = set()

    @property
    def counts(self) -> Mapping[tuple[str, str], int]:
        """How many objects there are now with each (kind, path)."""
        return MappingProxyType(+self._counts)

    def note(self, changes: ChangeSet) -> Iterator[None]:
        """Take what a change set puts in force, a step for each object.

        In the end, log the fields not named before and how many objects have them.
        """
        for key in changes.deletes:
            self._counts.subtract((key.kind.name, path) for path in self._fields.pop(key, ()))
        for obj in changes.upserts:
            paths = untranslated(obj)
            before = self._fields.pop(obj.key, ())
            if paths:
                self._fields[obj.key] = paths
            self._counts.subtract((obj.kind.name, path) for path in before)
            self._counts.update((obj.kind.name, path) for path in paths)
            yield
        counted = {used: count for used, count in self._counts.items() if count > 0}
        for kind, path in sorted(counted.keys() - self._named):
            self._named.add((kind, path))
            log.warning("registry.field_not_translated", kind=kind, field=path, count=counted[kind, path])
