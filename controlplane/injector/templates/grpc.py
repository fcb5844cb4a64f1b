"""The templates for applications that speak xDS themselves, through gRPC, without an Envoy."""

from __future__ import annotations

from typing import Any

from controlplane.injector.template_data import TemplateData
from controlplane.injector.templates import environment, parts, volumes

Json = dict[str, Any]

_REWRITE = {"sidecar.istio.io/rewriteAppHTTPProbers": "false"}
_WAIT = ["pilot-agent", "wait", "--url=http://localhost:15020/healthz/ready"]
_BOOTSTRAP_PLACE = "/var/lib/grpc/data"
_BOOTSTRAP_VOLUME = "grpc-io-proxyless-bootstrap"
_BOOTSTRAP = """set -e
cat > {place}/bootstrap.json <<EOF
{{
  "xds_servers": [
    {{
      "server_uri": "dns:///istiod.${{ISTIO_NAMESPACE}}.svc:15010",
      "channel_creds": [{{"type": "insecure"}}],
      "server_features": ["xds_v3"]
    }}
  ],
  "node": {{
    "id": "sidecar~${{INSTANCE_IP}}~${{POD_NAME}}.${{POD_NAMESPACE}}~cluster.local",
    "metadata": {{"GENERATOR": "grpc"}}
  }}
}}
EOF
"""


def grpc_agent(data: TemplateData) -> Json:
    """Return an agent without Envoy: it gives applications their bootstrap and certificates."""
    proxy = {
        "name": "istio-proxy",
        **parts.image_fields(data, "global.proxy.image"),
        "ports": [{"containerPort": 15020, "protocol": "TCP", "name": "mesh-metrics"}],
        "args": parts.arguments(data, "sidecar"),
        "lifecycle": {"postStart": {"exec": {"command": _WAIT}}},
        "env": _environment(data),
        **({} if parts.status_port(data) == "0" else _asked(data)),
    }
    applications = [
        {
            "name": name,
            "env": [
                environment.variable("GRPC_XDS_EXPERIMENTAL_SECURITY_SUPPORT", "true"),
                environment.variable("GRPC_XDS_BOOTSTRAP", "/etc/istio/proxy/grpc-bootstrap.json"),
            ],
            "volumeMounts": [
                volumes.mount("istio-data", "/var/lib/istio/data"),
                volumes.mount("istio-xds", "/etc/istio/proxy"),
                volumes.mount("workload-certs", "/var/run/secrets/workload-spiffe-credentials"),
            ],
        }
        for name in data.applications()
    ]
    return {
        "metadata": {
            "labels": parts.canonical_labels(data, shortened=False),
            "annotations": parts.revision_annotation(data) | parts.default_container(data) | _REWRITE,
        },
        "spec": {"containers": [proxy, *applications], "volumes": _volumes(data), **parts.pull_secrets(data)},
    }


def _asked(data: TemplateData) -> Json:
    """Return what an agent has that is asked whether it is ready."""
    mount = volumes.mount
    mounts = [
        mount("workload-socket", "/var/run/secrets/workload-spiffe-uds"),
        mount("workload-certs", "/var/run/secrets/workload-spiffe-credentials"),
    ]
    if volumes.is_from_control_plane(data):
        mounts.append(mount("istiod-ca-cert", "/var/run/secrets/istio"))
    mounts += [
        mount("istio-data", "/var/lib/istio/data"),
        mount("istio-xds", "/etc/istio/proxy"),
        mount("istio-token", "/var/run/secrets/tokens"),
    ]
    if volumes.is_mounting_certificates(data):
        mounts.append(mount("istio-certs", "/etc/certs/", read_only=True))
    mounts.append(mount("istio-podinfo", "/etc/istio/pod"))
    return {
        "readinessProbe": parts.readiness(data, port=15020, annotated=True),
        "resources": parts.resources(data),
        "volumeMounts": mounts,
    }


def _environment(data: TemplateData) -> list[Json]:
    variable = environment.variable
    return [
        variable("ISTIO_META_GENERATOR", "grpc"),
        variable("OUTPUT_CERTS", "/var/lib/istio/data"),
        *environment.identity_variables(data),
        *environment.config_variables(data),
        environment.application_variable(data),
        *environment.compliance_variables(data),
        *environment.place_variables(data),
        *environment.workload_variables(data, environment.workload_name(data)),
        *environment.mesh_variables(data),
        *environment.metadata_variables(data),
        variable("ISTIO_META_DNS_CAPTURE", "false"),
        variable("DISABLE_ENVOY", "true"),
    ]


def _volumes(data: TemplateData) -> list[Json]:
    volume = volumes.volume
    found = [
        volume("workload-socket"),
        volume("workload-certs"),
        volume("istio-xds", volumes.MEMORY),
        volume("istio-data", volumes.EMPTY),
        volumes.pod_info(),
        volumes.token(data),
    ]
    if volumes.is_from_control_plane(data):
        found.append(volumes.roots(data))
    return [*found, volumes.certificates(data)] if volumes.is_mounting_certificates(data) else found


def grpc_simple(data: TemplateData) -> Json:
    """Return a bootstrap for applications, written once; they speak to the control plane in plain text."""
    initial = {
        "name": "grpc-bootstrap-init",
        "image": "busybox:1.28",
        "volumeMounts": [volumes.mount(_BOOTSTRAP_VOLUME, f"{_BOOTSTRAP_PLACE}/")],
        "env": [
            environment.field_variable("INSTANCE_IP", "status.podIP"),
            environment.field_variable("POD_NAME", "metadata.name"),
            environment.field_variable("POD_NAMESPACE", "metadata.namespace"),
            environment.variable("ISTIO_NAMESPACE", data.values.text("global.istioNamespace")),
        ],
        "command": ["sh", "-c", _BOOTSTRAP.format(place=_BOOTSTRAP_PLACE)],
    }
    applications = [
        {
            "name": name,
            "env": [
                environment.variable("GRPC_XDS_BOOTSTRAP", f"{_BOOTSTRAP_PLACE}/bootstrap.json"),
                environment.variable("GRPC_GO_LOG_VERBOSITY_LEVEL", "99"),
                environment.variable("GRPC_GO_LOG_SEVERITY_LEVEL", "info"),
            ],
            "volumeMounts": [volumes.mount(_BOOTSTRAP_VOLUME, f"{_BOOTSTRAP_PLACE}/")],
        }
        for name in data.applications()
    ]
    return {
        "metadata": {"annotations": dict(_REWRITE)},
        "spec": {
            "initContainers": [initial],
            "containers": applications,
            "volumes": [volumes.volume(_BOOTSTRAP_VOLUME, volumes.EMPTY)],
        },
    }
