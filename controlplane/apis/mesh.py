"""MeshConfig: settings of the whole mesh. Source: ConfigMap ``istio``, key ``mesh``."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum
from typing import Any, Self

from pydantic import Field, ValidationError

from controlplane.apis.common import ApiModel, Bool, Duration, Int32, StringMap, TLSProtocol, json_name
from controlplane.apis.destination_rule import (
    ClientTLSSettings,
    LocalityLoadBalancerSetting,
    TcpKeepalive,
    TrafficPolicy,
    ZoneAwareLoadBalancerSetting,
)
from controlplane.apis.mesh_providers import ExtensionProvider
from controlplane.apis.mesh_proxy import ProxyConfig
from controlplane.apis.problems import problems_of
from controlplane.apis.validation.mesh import problems
from controlplane.apis.virtual_service import Destination, HTTPRetry
from controlplane.documents.limits import UnreadableError
from controlplane.documents.yaml_reader import yaml_value

__all__ = ["ExtensionProvider", "InvalidMeshConfigError", "MeshConfig", "ProxyConfig"]


class InvalidMeshConfigError(ValueError):
    """The mesh configuration cannot be used; ``problems`` names every reason as ``path: reason``."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class IngressControllerMode(StrEnum):
    """Which Ingress objects are served: none, those without a class too, or only those of our class."""

    UNSPECIFIED = "UNSPECIFIED"
    OFF = "OFF"
    DEFAULT = "DEFAULT"
    STRICT = "STRICT"


class AccessLogEncoding(StrEnum):
    """Form of access log entries."""

    TEXT = "TEXT"
    JSON = "JSON"


class MeshOutboundTrafficPolicyMode(StrEnum):
    """What becomes of traffic to unknown destinations."""

    REGISTRY_ONLY = "REGISTRY_ONLY"
    ALLOW_ANY = "ALLOW_ANY"
    ALLOW_ANY_DYNAMIC_DNS = "ALLOW_ANY_DYNAMIC_DNS"


class MeshOutboundTrafficPolicy(ApiModel):
    """What becomes of traffic to unknown destinations where no Sidecar says it."""

    mode: MeshOutboundTrafficPolicyMode = MeshOutboundTrafficPolicyMode.REGISTRY_ONLY
    egress_proxy: Destination | None = None


class InboundTrafficPolicyMode(StrEnum):
    """Where inbound traffic goes: to the address it was sent to, or to localhost."""

    PASSTHROUGH = "PASSTHROUGH"
    LOCALHOST = "LOCALHOST"


class InboundTrafficPolicy(ApiModel):
    """Where inbound traffic goes."""

    mode: InboundTrafficPolicyMode = InboundTrafficPolicyMode.PASSTHROUGH


class MeshH2UpgradePolicy(StrEnum):
    """Whether HTTP/1.1 is carried over HTTP/2 where no DestinationRule says it."""

    DO_NOT_UPGRADE = "DO_NOT_UPGRADE"
    UPGRADE = "UPGRADE"


class NormalizationType(StrEnum):
    """How request paths are made canonical; ``DEFAULT`` is ``BASE``."""

    DEFAULT = "DEFAULT"
    NONE = "NONE"
    BASE = "BASE"
    MERGE_SLASHES = "MERGE_SLASHES"
    DECODE_AND_MERGE_SLASHES = "DECODE_AND_MERGE_SLASHES"


class ProxyPathNormalization(ApiModel):
    """How request paths are made canonical before they are matched."""

    normalization: NormalizationType = NormalizationType.DEFAULT


class TLSConfig(ApiModel):
    """Bounds of TLS; empty lists and ``TLS_AUTO`` leave the defaults."""

    min_protocol_version: TLSProtocol = TLSProtocol.TLS_AUTO
    ecdh_curves: tuple[str, ...] = ()
    cipher_suites: tuple[str, ...] = ()


class DefaultProviders(ApiModel):
    """Providers used where no Telemetry names one."""

    tracing: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    access_logging: tuple[str, ...] = ()


class ServiceSettings(ApiModel):
    """Settings (``clusterLocal``) of the services that ``hosts`` match."""

    settings: dict[str, Bool] = Field(default_factory=dict)
    hosts: tuple[str, ...] = ()

    @property
    def cluster_local(self) -> bool:
        """Whether endpoints of other clusters are left out."""
        return self.settings.get("clusterLocal", self.settings.get("cluster_local", False))


class LabelSelectorRequirement(ApiModel):
    """One condition on a label: ``In``, ``NotIn``, ``Exists`` or ``DoesNotExist``."""

    key: str
    operator: str
    values: tuple[str, ...] = ()


class LabelSelector(ApiModel):
    """Kubernetes' label selector; all conditions must hold."""

    match_labels: StringMap = Field(default_factory=dict)
    match_expressions: tuple[LabelSelectorRequirement, ...] = ()


class CertificateData(ApiModel):
    """A further root certificate, or where to fetch one; empty lists mean every signer and trust domain."""

    pem: str = ""
    spiffe_bundle_url: str = ""
    cert_signers: tuple[str, ...] = ()
    trust_domains: tuple[str, ...] = ()


class CertificateAuthority(ApiModel):
    """An external authority that requests are passed to; ``request_timeout`` ``None`` means 10 s."""

    address: str = ""
    tls_settings: ClientTLSSettings | None = None
    request_timeout: Duration | None = None
    istiod_side: Bool = True


class VisibilityRule(ApiModel):
    """What a ServiceEntry must be like: the labels of its namespace; without any condition nothing is like it."""

    namespace_selector: LabelSelector | None = None


class VisibilityPolicy(ApiModel):
    """Who may see those ServiceEntries that all rules fit; without rules these are all."""

    visibility: str = ""
    matching_rules: tuple[VisibilityRule, ...] = ()


class ServiceEntryVisibility(ApiModel):
    """A cap on who may see ServiceEntries: ``PUBLIC`` (or empty) is none, ``NAMESPACE`` their own, ``NONE`` nobody.

    The first of ``policies`` that fits decides, else ``default_visibility``.
    """

    apply_to_sidecars: Bool = False
    default_visibility: str = ""
    policies: tuple[VisibilityPolicy, ...] = ()


def _everyone() -> tuple[str, ...]:
    return ("*",)


class MeshConfig(ApiModel):
    """Settings of the whole mesh, defaults filled in. ``None`` means the setting is not used.

    Times are at least zero; ``proxy_listen_port`` 0 makes no sidecar listener, ``proxy_http_port`` 0 no HTTP proxy.
    """

    proxy_listen_port: Int32 = 15001
    proxy_inbound_listen_port: Int32 = 15006
    proxy_http_port: Int32 = 0
    connect_timeout: Duration = timedelta(seconds=10)
    protocol_detection_timeout: Duration = timedelta(0)
    hbone_idle_timeout: Duration | None = None
    tcp_keepalive: TcpKeepalive | None = None
    ingress_class: str = "istio"
    ingress_service: str = "istio-ingressgateway"
    ingress_controller_mode: IngressControllerMode = IngressControllerMode.STRICT
    ingress_selector: str = ""
    enable_tracing: Bool = True
    access_log_file: str = ""
    access_log_format: str = ""
    access_log_encoding: AccessLogEncoding = AccessLogEncoding.TEXT
    enable_envoy_access_log_service: Bool = False
    disable_envoy_listener_log: Bool = False
    default_config: ProxyConfig = Field(default_factory=ProxyConfig)
    outbound_traffic_policy: MeshOutboundTrafficPolicy = Field(
        default_factory=lambda: MeshOutboundTrafficPolicy(mode=MeshOutboundTrafficPolicyMode.ALLOW_ANY)
    )
    inbound_traffic_policy: InboundTrafficPolicy = Field(default_factory=InboundTrafficPolicy)
    config_sources: tuple[dict[str, Any], ...] = ()
    enable_auto_mtls: Bool = True
    trust_domain: str = "cluster.local"
    trust_domain_aliases: tuple[str, ...] = ()
    ca_certificates: tuple[CertificateData, ...] = ()
    default_service_export_to: tuple[str, ...] = Field(default_factory=_everyone)
    default_virtual_service_export_to: tuple[str, ...] = Field(default_factory=_everyone)
    default_destination_rule_export_to: tuple[str, ...] = Field(default_factory=_everyone)
    root_namespace: str = "istio-system"
    zone_aware_lb_setting: ZoneAwareLoadBalancerSetting | None = None
    locality_lb_setting: LocalityLoadBalancerSetting | None = Field(
        default_factory=lambda: LocalityLoadBalancerSetting(enabled=True)
    )
    dns_refresh_rate: Duration = timedelta(seconds=60)
    h2_upgrade_policy: MeshH2UpgradePolicy = MeshH2UpgradePolicy.DO_NOT_UPGRADE
    inbound_cluster_stat_name: str = ""
    outbound_cluster_stat_name: str = ""
    certificates: tuple[dict[str, Any], ...] = ()
    service_settings: tuple[ServiceSettings, ...] = ()
    enable_prometheus_merge: Bool = True
    verify_certificate_at_client: Bool | None = None
    ca: CertificateAuthority | None = None
    extension_providers: tuple[ExtensionProvider, ...] = Field(
        default_factory=lambda: tuple(ExtensionProvider.model_validate(each) for each in BUILT_IN_PROVIDERS)
    )
    default_providers: DefaultProviders = Field(default_factory=DefaultProviders)
    discovery_selectors: tuple[LabelSelector, ...] = ()
    path_normalization: ProxyPathNormalization = Field(default_factory=ProxyPathNormalization)
    default_http_retry_policy: HTTPRetry | None = None
    default_inbound_http_retry_policy: HTTPRetry | None = None
    default_traffic_policy: TrafficPolicy | None = None
    mesh_mtls: TLSConfig | None = Field(default=None, alias="meshMTLS")
    tls_defaults: TLSConfig | None = None
    service_entry_visibility: ServiceEntryVisibility | None = None
    service_scope_configs: tuple[dict[str, Any], ...] = ()

    @classmethod
    def parse(cls, *layers: str) -> Self:
        """Read YAML layers over the defaults, a later one over an earlier; no layer or empty text gives the defaults.

        A field replaces the earlier one as a whole, except: ``defaultConfig`` (by field, ``proxyMetadata`` by key),
        ``defaultProviders`` (by field), ``extensionProviders`` (by name) and ``trustDomainAliases`` (union).
        Unknown fields are tolerated. Raises ``InvalidMeshConfigError`` with every problem.
        """
        merged: dict[str, Any] = {"extensionProviders": list(BUILT_IN_PROVIDERS)}
        for text in layers:
            merged = _merged(merged, mapping(text))
        try:
            config = cls.model_validate(merged, extra="ignore")
        except ValidationError as error:
            raise InvalidMeshConfigError(tuple(str(each) for each in problems_of(error))) from error
        if broken := problems(config):
            raise InvalidMeshConfigError(tuple(str(each) for each in broken))
        return config

    def provider(self, name: str) -> ExtensionProvider | None:
        """Return the extension provider of this name, whatever the case of its letters."""
        wanted = name.casefold()
        return next((each for each in self.extension_providers if each.name.casefold() == wanted), None)

    @property
    def tracing_provider(self) -> ExtensionProvider | None:
        """The collector of spans: the first of ``defaultProviders.tracing``, ``None`` where that is not one."""
        named = self.provider(next(iter(self.default_providers.tracing), ""))
        return named if named is not None and named.is_tracer else None


BUILT_IN_PROVIDERS: tuple[dict[str, Any], ...] = (
    {"name": "prometheus", "prometheus": {}},
    {"name": "stackdriver", "stackdriver": {}},
    {"name": "envoy", "envoyFileAccessLog": {"path": "/dev/stdout"}},
)


def mapping(text: str) -> dict[str, Any]:
    """Read YAML as a mapping with field names in JSON form; empty text is an empty one.

    Raises ``InvalidMeshConfigError`` for anything else.
    """
    try:
        value = yaml_value(text)
    except UnreadableError as error:
        raise InvalidMeshConfigError((f"not YAML: {error}",)) from None
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidMeshConfigError(("the mesh configuration must be a mapping",))
    return _camel(value)


def _camel(value: Mapping[Any, Any]) -> dict[str, Any]:
    """Field names in protobuf's JSON form, so that layers meet; ``null`` fields are absent."""
    named = {"meshMTLS" if key == "mesh_mTLS" else json_name(str(key)): each for key, each in value.items()}
    return {key: each for key, each in named.items() if each is not None}


def _by_field(old: Any, new: Any) -> Any:  # noqa: ANN401 - unread YAML
    if not isinstance(old, dict) or not isinstance(new, dict):
        return new
    old, new = _camel(old), _camel(new)
    merged = old | new
    metadata = "proxyMetadata"
    if isinstance(old.get(metadata), dict) and isinstance(new.get(metadata), dict):
        merged[metadata] = old[metadata] | new[metadata]
    return merged


def _by_name(old: Any, new: Any) -> Any:  # noqa: ANN401 - unread YAML
    if not isinstance(new, list) or not all(isinstance(each, dict) for each in new):
        return new
    if not all(isinstance(each.get("name"), str) for each in new):
        return new  # the model says what is wrong with it
    return list(({each["name"]: each for each in old} | {each["name"]: each for each in new}).values())


def _union(old: Any, new: Any) -> Any:  # noqa: ANN401 - unread YAML
    if isinstance(old, list) and isinstance(new, list) and all(isinstance(each, str) for each in [*old, *new]):
        return list(dict.fromkeys([*old, *new]))
    return new  # the model says what is wrong with it


_MERGES = {
    "defaultConfig": _by_field,
    "defaultProviders": _by_field,
    "extensionProviders": _by_name,
    "trustDomainAliases": _union,
}


def _merged(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    return old | {
        key: _MERGES[key](old[key], value) if key in _MERGES and key in old else value for key, value in new.items()
    }
