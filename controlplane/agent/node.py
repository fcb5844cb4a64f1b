"""The node: what the proxy says of itself to the control plane. Source: ``envoy.config.core.v3.Node``.

Metadata is put together from variables named ``ISTIO_META_`` and ``ISTIO_METAJSON_``, from ``proxyMetadata``, from the
pod's labels and annotations, and from what the agent knows; the last wins.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from controlplane.agent.environment import StartError
from controlplane.agent.options import Options
from controlplane.documents.json_reader import json_value
from controlplane.documents.limits import UnreadableError
from controlplane.model.proxy import Locality

Json = dict[str, Any]

META, META_JSON = "ISTIO_META_", "ISTIO_METAJSON_"
_LABELS = "LABELS"
MODULES = "ISTIO_AGENT_ENABLE_WASM_REMOTE_LOAD_CONVERSION"
"""The variable that says whether the agent fetches WebAssembly modules."""
_LOCALITY_LABELS = ("topology.istio.io/locality", "istio-locality")
STATUS_PORT, PROMETHEUS_PORT = 15021, 15090


def node(options: Options, *, external_secrets: bool = False, credentials: bool = False) -> Json:
    """Return the node as JSON.

    ``external_secrets`` says that somebody else serves the workload's secrets, ``credentials`` that somebody serves
    what ``credentialName: sds://NAME`` names.

    Raises:
        StartError: a variable holds no JSON, or no mapping.
    """
    workload = options.workload
    metadata = _metadata(options)
    if external_secrets:
        metadata["file-credential"] = "true"
    if credentials:
        metadata["credential"] = "true"
    labels = metadata.get(_LABELS, {})
    said: Json = {
        "id": f"{workload.kind}~{workload.ips[0]}~{workload.name}.{workload.namespace}~{workload.domain}",
        "cluster": service_cluster(options, metadata),
        "metadata": metadata,
    }
    locality, name = _locality(labels)
    if not name:
        locality = options.machine.locality
    if locality != Locality():
        said["locality"] = {"region": locality.region, "zone": locality.zone, "sub_zone": locality.subzone}
        if name:
            metadata[_LABELS] = {**labels, "istio-locality": str(locality)}
    return said


def raw_metadata(options: Options) -> dict[str, str]:
    """Return the metadata that is given as texts, by key; the process's variables win over ``proxyMetadata``."""
    given = {name.removeprefix(META): value for name, value in options.config.metadata.items() if name.startswith(META)}
    return given | dict(options.environment.starting(META))


def dns_is_captured(options: Options) -> bool:
    """Whether the agent answers questions for names. Raises ``StartError``."""
    raw = raw_metadata(options)
    capture = options.workload.kind == "sidecar" and _is_true(raw, "DNS_CAPTURE")
    return capture or _is_true(raw, "ENABLE_DNS_SERVER")


def _is_true(raw: Mapping[str, str], key: str) -> bool:
    return raw.get(key, "").lower() in {"1", "t", "true"}


def _metadata(options: Options) -> Json:
    environment, workload, config = options.environment, options.workload, options.config
    metadata: Json = {key: value for key, value in raw_metadata(options).items() if value}
    static_labels: Json = {}
    for name, text in environment.starting(META_JSON):
        values = _object(text, META_JSON + name)
        metadata |= values
        if name == _LABELS:
            static_labels = {key: str(value) for key, value in values.items()}
    labels = {key: value for key, value in (options.labels or {}).items() if key != "pod-template-hash"}
    if static_labels:
        metadata["STATIC_LABELS"] = static_labels
    metadata[_LABELS] = static_labels | labels
    if options.machine.metadata:
        metadata["PLATFORM_METADATA"] = dict(options.machine.metadata)
    if options.annotations:
        metadata["ANNOTATIONS"] = dict(options.annotations)
    discovery = environment.flag("PEER_METADATA_DISCOVERY", default=_is_true(metadata_texts(metadata), "ENABLE_HBONE"))
    metadata |= {
        "INSTANCE_IPS": ",".join(workload.ips),
        "NAMESPACE": workload.namespace,
        "NAME": workload.name,
        "SERVICE_ACCOUNT": workload.service_account,
        "PROXY_CONFIG": dict(config.values),
        "ENVOY_STATUS_PORT": environment.number("ENVOY_STATUS_PORT", STATUS_PORT),
        "ENVOY_PROMETHEUS_PORT": environment.number("ENVOY_PROMETHEUS_PORT", PROMETHEUS_PORT),
        "METADATA_DISCOVERY": "true" if discovery else "false",
        "WORKLOAD_IDENTITY_SOCKET_FILE": environment.text("WORKLOAD_IDENTITY_SOCKET_FILE", "socket"),
    }
    if environment.flag(MODULES, default=True):
        metadata["FETCHES_MODULES"] = "true"  # which Istio's agent does not say: its version does
    if not config.plaintext:
        host = config.discovery_address.host
        metadata["PILOT_SAN"] = ["istiod.istio-system.svc" if host == "localhost" else host]
    return metadata | _when_said(options)


def metadata_texts(metadata: Mapping[str, Any]) -> dict[str, str]:
    """Return those values that are texts."""
    return {key: value for key, value in metadata.items() if isinstance(value, str)}


def _when_said(options: Options) -> Json:
    """Return the keys that are there only where something was said."""
    environment, flags = options.environment, options.flags
    said: Json = {}
    for name in ("ENVOY_SECURE_METRICS_PORT", "ENVOY_SECURE_MERGED_METRICS_PORT"):
        if port := environment.number(name, 0):
            said[name] = port
    if environment.flag("EXIT_ON_ZERO_ACTIVE_CONNECTIONS"):
        said["EXIT_ON_ZERO_ACTIVE_CONNECTIONS"] = "true"
    if environment.flag("ENVOY_SKIP_DEPRECATED_LOGS", default=True):
        said["ENVOY_SKIP_DEPRECATED_LOGS"] = "true"
    if address := environment.text("DNS_PROXY_ADDR"):
        said["DNS_PROXY_ADDR"] = address
    if flags.outlier_log_path:
        said["OUTLIER_LOG_PATH"] = flags.outlier_log_path
    if flags.sts_port:
        said["STS_PORT"] = str(flags.sts_port)
    return said


def _object(text: str, name: str) -> Json:
    try:
        value = json_value(text)
    except UnreadableError as error:
        raise StartError(f"{name} is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise StartError(f"{name} must be a JSON object, not {text[:80]!r}")
    return value


def _locality(labels: Mapping[str, str]) -> tuple[Locality, str]:
    """Return the locality that a label states, and the label; a dot separates where there is no slash."""
    for name in _LOCALITY_LABELS:
        if text := labels.get(name, ""):
            return Locality.parse(text if "/" in text else text.replace(".", "/")), name
    return Locality(), ""


def service_cluster(options: Options, metadata: Mapping[str, Any]) -> str:
    """Return what the proxy calls its service, in traces for example."""
    config, namespace = options.config, options.workload.namespace
    said = config.text("serviceCluster")
    if said not in {"", "istio-proxy"}:
        return said
    labels = metadata.get(_LABELS, {})
    canonical = labels.get("service.istio.io/canonical-name") or labels.get("app") or "istio-proxy"
    naming = config.text("tracingServiceName")
    if naming == "CANONICAL_NAME_ONLY":
        return str(canonical)
    if naming == "CANONICAL_NAME_AND_NAMESPACE":
        return f"{canonical}.{namespace}" if namespace else str(canonical)
    name = labels.get("app") or metadata.get("WORKLOAD_NAME") or "istio-proxy"
    return f"{name}.{namespace}" if namespace else str(name)
