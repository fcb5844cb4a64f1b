"""The template ``sidecar``: redirection of the pod's traffic, and the proxy beside the application."""

from __future__ import annotations

from typing import Any

from controlplane.documents.json_reader import json_value
from controlplane.documents.limits import UnreadableError
from controlplane.documents.words import is_label
from controlplane.injector.errors import InjectionError
from controlplane.injector.template_data import TemplateData
from controlplane.injector.templates import environment, parts, volumes
from controlplane.injector.templates.redirection import TRUE, interception_mode, metadata, redirection

Json = dict[str, Any]

_WAIT = ["pilot-agent", "wait"]
_BIND = "sidecar.istio.io/capNetBindService"
_NATIVE = "sidecar.istio.io/nativeSidecar"
_VOLUMES = "sidecar.istio.io/userVolume"
_MOUNTS = "sidecar.istio.io/userVolumeMount"
_DATADOG = "apm.datadoghq.com/env"
_TRACER = "global.proxy.tracer"
_OTEL = "resource.opentelemetry.io/service."
_CERTIFICATES_OF_GKE = "GkeWorkloadCertificate"


def is_native(data: TemplateData) -> bool:
    """Whether the proxy is a native sidecar: the pod says so, else the settings."""
    stated = data.annotations.get(_NATIVE)
    return stated != "false" if stated else data.native


def sidecar(data: TemplateData) -> Json:
    """Return what a sidecar adds to a pod."""
    native = is_native(data)
    mode = interception_mode(data)
    proxy = _proxy(data, native=native)
    init: list[Json] = [] if mode == "NONE" else [redirection(data)]
    spec: Json = {
        "initContainers": [*init, proxy] if native else init,
        "containers": [] if native else [proxy],
        "volumes": _volumes(data),
        **parts.pull_secrets(data),
    }
    labels = {"security.istio.io/tlsMode": data.labels.get("security.istio.io/tlsMode") or "istio"}
    annotations = {**parts.revision_annotation(data), **parts.default_container(data), **metadata(data)}
    labels |= parts.tunnel_label(data) | parts.canonical_labels(data, shortened=True)
    return {"metadata": {"labels": labels, "annotations": annotations}, "spec": spec}


def _proxy(data: TemplateData, *, native: bool) -> Json:
    values = data.values
    arguments = parts.arguments(data, "sidecar")
    if path := values.text("global.proxy.outlierLogPath"):
        arguments.append(f"--outlierLogPath={path}")
    return {
        "name": "istio-proxy",
        **parts.image_fields(data, "global.proxy.image"),
        "ports": [{"containerPort": 15090, "protocol": "TCP", "name": "http-envoy-prom"}],
        **({"restartPolicy": "Always"} if native else {}),
        "args": arguments,
        "env": _environment(data),
        **_lifecycle(data, native=native),
        **_probes(data),
        "securityContext": _security_context(data),
        "resources": parts.resources(data),
        "volumeMounts": _mounts(data),
    }


def holds_application(data: TemplateData) -> bool:
    """Whether the application waits until its proxy is ready; a native sidecar does that by itself."""
    return bool(
        data.proxy_config.hold_application_until_proxy_starts
        or data.values.flag("global.proxy.holdApplicationUntilProxyStarts")
    )


def _lifecycle(data: TemplateData, *, native: bool) -> Json:
    stated = data.values.map("global.proxy.lifecycle")
    if stated:
        return {"lifecycle": stated}
    if holds_application(data) and not native:
        return {"lifecycle": {"postStart": {"exec": {"command": _WAIT}}}}
    if native:
        command = ["pilot-agent", "request", f"--debug-port={parts.status_port(data)}", "POST", "drain"]
        return {"lifecycle": {"preStop": {"exec": {"command": command}}}}
    return {}


def _probes(data: TemplateData) -> Json:
    if parts.status_port(data) == "0":
        return {}
    probes: Json = {"readinessProbe": parts.readiness(data, port=15021, annotated=True)}
    if data.values.flag("global.proxy.startupProbe.enabled"):
        failures = data.values.get("global.proxy.startupProbe.failureThreshold")
        probes["startupProbe"] = {
            "httpGet": {"path": "/healthz/ready", "port": 15021},
            "periodSeconds": 1,
            "timeoutSeconds": 3,
            **({"failureThreshold": failures} if failures else {}),
        }
    return probes


def _security_context(data: TemplateData) -> Json:
    profile = data.values.map("global.proxy.seccompProfile")
    rest = {"seccompProfile": profile} if profile else {}
    if data.proxy_config.proxy_metadata.get("IPTABLES_TRACE_LOGGING") == TRUE:
        return {
            "allowPrivilegeEscalation": True,
            "capabilities": {"add": ["NET_ADMIN"], "drop": ["ALL"]},
            "privileged": True,
            "readOnlyRootFilesystem": True,
            **_ids(0, data.group),
            **rest,
        }
    privileged = data.values.flag("global.proxy.privileged")
    added = ["NET_ADMIN"] if interception_mode(data) == "TPROXY" else []
    if data.annotated(_BIND, data.values.get("global.proxy.capNetBindService")) == TRUE:
        added.append("NET_BIND_SERVICE")
    return {
        "allowPrivilegeEscalation": privileged,
        "capabilities": {**({"add": added} if added else {}), "drop": ["ALL"]},
        "privileged": privileged,
        "readOnlyRootFilesystem": True,
        **(_ids(0, 1337) if added else _ids(data.user, data.group)),
        **rest,
    }


def _ids(user: int, group: int) -> Json:
    return {"runAsUser": user, "runAsGroup": group, "runAsNonRoot": user != 0}


def _environment(data: TemplateData) -> list[Json]:
    variable = environment.variable
    found = []
    if data.mesh.inbound_traffic_policy.mode == "LOCALHOST":
        found.append(variable("REWRITE_PROBE_LEGACY_LOCALHOST_DESTINATION", TRUE))
    found += environment.identity_variables(data)
    found.append(environment.limit_variable("ISTIO_CPU_LIMIT", "limits.cpu"))
    found += environment.config_variables(data)
    found.append(environment.application_variable(data))
    found.append(environment.limit_variable("GOMEMLIMIT", "limits.memory"))
    found += environment.compliance_variables(data)
    found += environment.place_variables(data)
    found.append(variable("ISTIO_META_INTERCEPTION_MODE", interception_mode(data)))
    found += environment.workload_variables(data, environment.workload_name(data))
    found += environment.bootstrap_variables(data)
    found += environment.mesh_variables(data)
    if data.values.text(_TRACER) == "datadog":
        found += [variable(name, value) for name, value in _stated(data, _DATADOG).items()]
    found += _service_attributes(data)
    return [*found, *environment.metadata_variables(data)]


def _stated(data: TemplateData, annotation: str) -> Json:
    """Read an annotation that holds a JSON map; ``null`` and an empty list say nothing, as in Istio's template."""
    text = data.annotations.get(annotation)
    if not text:
        return {}
    try:
        value = json_value(text)
    except UnreadableError as error:
        raise InjectionError(f"invalid value '{text[:200]}' for annotation '{annotation}': {error}") from error
    if value is None or value == []:
        return {}
    if not isinstance(value, dict):
        raise InjectionError(f"invalid value '{text[:200]}' for annotation '{annotation}': it is no JSON object")
    return value


def _service_attributes(data: TemplateData) -> list[Json]:
    """Return what the application's telemetry calls its service, where a provider of the mesh follows conventions."""
    wanted = "OTEL_SEMANTIC_CONVENTIONS"
    providers = (each.opentelemetry for each in data.mesh.extension_providers)
    if not any(each is not None and each.service_attribute_enrichment == wanted for each in providers):
        return []
    namespace = data.annotations.get(f"{_OTEL}namespace") or data.namespace
    applications = data.applications()
    instance = data.annotations.get(f"{_OTEL}instance.id")
    if not instance and applications:
        instance = f"{data.namespace}.$(POD_NAME).{applications[0]}"
    attributes = {
        "service.namespace": namespace,
        "service.version": _service_version(data),
        "service.instance.id": instance,
    }
    text = ",".join(f"{name}={value}" for name, value in attributes.items() if value)
    return [environment.variable("OTEL_RESOURCE_ATTRIBUTES", text)] if text else []


def _service_version(data: TemplateData) -> str:
    stated = data.annotations.get(f"{_OTEL}version") or data.labels.get("app.kubernetes.io/version")
    if stated:
        return stated
    images = [str(each.get("image") or "") for each in (data.pod.get("spec") or {}).get("containers") or ()]
    if len(images) != 1:
        return ""
    name, _, digest = images[0].partition("@")
    tag = name.rpartition("/")[2].partition(":")[2]
    return digest or tag


def _mounts(data: TemplateData) -> list[Json]:
    mount = volumes.mount
    certificates = (
        mount("gke-workload-certificate", "/var/run/secrets/workload-spiffe-credentials", read_only=True)
        if data.values.text("global.caName") == _CERTIFICATES_OF_GKE
        else mount("workload-certs", "/var/run/secrets/workload-spiffe-credentials")
    )
    found = [
        mount("workload-socket", "/var/run/secrets/workload-spiffe-uds"),
        mount("credential-socket", "/var/run/secrets/credential-uds"),
        certificates,
    ]
    if volumes.is_from_control_plane(data):
        found.append(mount("istiod-ca-cert", "/var/run/secrets/istio"))
        found.append(mount("istio-ca-crl", "/var/run/secrets/istio/crl"))
    found.append(mount("istio-data", "/var/lib/istio/data"))
    if volumes.is_overriding_bootstrap(data):
        found.append(mount("custom-bootstrap-volume", "/etc/istio/custom-bootstrap"))
    found += [mount("istio-envoy", "/etc/istio/proxy"), mount("istio-token", "/var/run/secrets/tokens")]
    if volumes.is_mounting_certificates(data):
        found.append(mount("istio-certs", "/etc/certs/", read_only=True))
    found.append(mount("istio-podinfo", "/etc/istio/pod"))
    if path := _lightstep_roots(data):
        found.append(mount("lightstep-certs", path, read_only=True))
    return [*found, *_user_items(data, _MOUNTS)]


def _lightstep_roots(data: TemplateData) -> str:
    """Return the folder of the roots that a Lightstep tracer with TLS is trusted by; nothing without one."""
    tracing = data.proxy_config.tracing
    if data.values.text(_TRACER) != "lightstep" or tracing is None or tracing.tls_settings is None:
        return ""
    folder, slash, _ = tracing.tls_settings.ca_certificates.rpartition("/")
    return f"{folder}{slash}"


def _volumes(data: TemplateData) -> list[Json]:
    volume = volumes.volume
    if data.values.text("global.caName") == _CERTIFICATES_OF_GKE:
        found = [
            volume("gke-workload-certificate", {"csi": {"driver": "workloadcertificates.security.cloud.google.com"}})
        ]
    else:
        found = [volume("workload-certs")]
    found = [volume("workload-socket"), volume("credential-socket"), *found]
    if volumes.is_overriding_bootstrap(data):
        found.append(volumes.bootstrap_volume(data))
    found += [
        volume("istio-envoy", volumes.MEMORY),
        volume("istio-data", volumes.EMPTY),
        volumes.pod_info(),
        volumes.token(data),
    ]
    if volumes.is_from_control_plane(data):
        found.append(volumes.roots(data))
    found.append(volumes.revoked(data))
    if volumes.is_mounting_certificates(data):
        found.append(volumes.certificates(data))
    found += _user_items(data, _VOLUMES)
    if _lightstep_roots(data):
        found.append(volume("lightstep-certs", {"secret": {"optional": True, "secretName": "lightstep.cacert"}}))
    return found


def _user_items(data: TemplateData, annotation: str) -> list[Json]:
    """Return the volumes or mounts of an annotation, each with its name."""
    found = []
    for name, each in sorted(_stated(data, annotation).items()):
        if not isinstance(each, dict):
            raise InjectionError(f"invalid value for annotation '{annotation}': {name[:100]}: must be a map")
        if annotation == _VOLUMES and not is_label(name):
            raise InjectionError(f"invalid value for annotation '{annotation}': {name[:100]!r} is no name of a volume")
        if annotation == _MOUNTS and not each.get("mountPath"):
            raise InjectionError(f"invalid value for annotation '{annotation}': {name[:100]}: mountPath is required")
        found.append({"name": name, **each})
    return found
