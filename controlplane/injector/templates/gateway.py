"""The template ``gateway``: a proxy that is the application, with ports and resources that the user states."""

from __future__ import annotations

from typing import Any

from controlplane.injector.template_data import TemplateData
from controlplane.injector.templates import environment, parts, volumes

Json = dict[str, Any]

_LOW_PORTS: Json = {"sysctls": [{"name": "net.ipv4.ip_unprivileged_port_start", "value": "0"}]}
"""Lets the proxy listen on ports below 1024 without being root."""


def gateway(data: TemplateData) -> Json:
    """Return what a gateway adds to a pod whose container ``istio-proxy`` has the image ``auto``."""
    lifecycle = data.values.map("global.proxy.lifecycle")
    proxy = {
        "name": "istio-proxy",
        **parts.image_fields(data, "global.proxy.image"),
        "ports": [{"containerPort": 15090, "protocol": "TCP", "name": "http-envoy-prom"}],
        "args": parts.arguments(data, "router"),
        **({"lifecycle": lifecycle} if lifecycle else {}),
        "securityContext": {"runAsUser": data.user, "runAsGroup": data.group},
        "env": _environment(data),
        "readinessProbe": parts.readiness(data, port=15021, annotated=False),
        "volumeMounts": _mounts(data),
    }
    return {
        "metadata": {
            "labels": parts.canonical_labels(data, shortened=False) | parts.tunnel_label(data),
            "annotations": parts.revision_annotation(data) | parts.default_container(data),
        },
        "spec": {
            "securityContext": data.values.map("gateways.securityContext") or _LOW_PORTS,
            "containers": [proxy],
            "volumes": _volumes(data),
            **parts.pull_secrets(data),
        },
    }


def _environment(data: TemplateData) -> list[Json]:
    return [
        *environment.identity_variables(data),
        environment.limit_variable("ISTIO_CPU_LIMIT", "limits.cpu"),
        *environment.config_variables(data),
        environment.limit_variable("GOMEMLIMIT", "limits.memory"),
        *environment.compliance_variables(data),
        environment.application_variable(data),
        *environment.place_variables(data),
        environment.variable("ISTIO_META_INTERCEPTION_MODE", data.proxy_config.interception_mode.value),
        *environment.workload_variables(data, data.owner.name),
        *environment.bootstrap_variables(data),
        *environment.mesh_variables(data),
        *environment.metadata_variables(data),
    ]


def _mounts(data: TemplateData) -> list[Json]:
    mount = volumes.mount
    found = [
        mount("workload-socket", "/var/run/secrets/workload-spiffe-uds"),
        mount("credential-socket", "/var/run/secrets/credential-uds"),
        mount("workload-certs", "/var/run/secrets/workload-spiffe-credentials"),
    ]
    if volumes.is_from_control_plane(data):
        found.append(mount("istiod-ca-cert", "/var/run/secrets/istio"))
    found.append(mount("istio-data", "/var/lib/istio/data"))
    if volumes.is_overriding_bootstrap(data):
        found.append(mount("custom-bootstrap-volume", "/etc/istio/custom-bootstrap"))
    found += [mount("istio-envoy", "/etc/istio/proxy"), mount("istio-token", "/var/run/secrets/tokens")]
    if volumes.is_mounting_certificates(data):
        found.append(mount("istio-certs", "/etc/certs/", read_only=True))
    return [*found, mount("istio-podinfo", "/etc/istio/pod")]


def _volumes(data: TemplateData) -> list[Json]:
    volume = volumes.volume
    found = [
        volume("workload-socket"),
        volume("credential-socket", volumes.EMPTY),
        volume("workload-certs", volumes.EMPTY),
    ]
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
    return [*found, volumes.certificates(data)] if volumes.is_mounting_certificates(data) else found
