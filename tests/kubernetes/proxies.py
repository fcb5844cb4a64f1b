"""Envoys in real Pods, as sidecars without an application."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from controlplane.agent.bootstrap import XDS_CLUSTER, Bootstrap, TcpAddress, bootstrap, workload
from tests.cluster.images import ENVOY

PROXY_UID = 1337
SECURE_PORT = 15012
_ADDRESS = "192.0.2.1"  # stands for the Pod's own, which its start script knows
_TOKEN = "TOKEN"
_ROOTS = "/var/run/secrets/istio"
_START = f"""\
token=$(cat /var/run/secrets/tokens/istio-token)
sed -e "s/{_ADDRESS}/$POD_IP/g" -e "s/{_TOKEN}/$token/" /etc/bootstrap/envoy.json > /tmp/envoy.json
exec envoy --config-path /tmp/envoy.json
"""


def sidecar(namespace: str, name: str, control_plane: TcpAddress) -> str:
    """Return the manifest of a Pod and its bootstrap.

    The Envoy shows its service account's token for ``istio-ca``. The port says how it connects: to 15012 with TLS, and
    it trusts the root certificate of its namespace.
    """
    proxy = workload("sidecar", name, namespace, _ADDRESS, labels={"app": name})
    values = bootstrap(proxy, Bootstrap(control_plane, secrets=Path("/tmp/secrets.sock")))
    (service,) = values["dynamic_resources"]["ads_config"]["grpc_services"]
    if control_plane.port == SECURE_PORT:
        clusters = {cluster["name"]: cluster for cluster in values["static_resources"]["clusters"]}
        clusters[XDS_CLUSTER]["transport_socket"] = _tls(control_plane.host)
    service["initial_metadata"] = [{"key": "authorization", "value": f"Bearer {_TOKEN}"}]
    config_map = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": f"{name}-bootstrap", "namespace": namespace},
        "data": {"envoy.json": json.dumps(values)},
    }
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "List",
            "items": [config_map, _pod(namespace, name, _volumes(name, control_plane.port))],
        }
    )


def _tls(host: str) -> dict[str, Any]:
    """Return a transport socket that trusts the mesh's root to name the control plane."""
    name = {"san_type": "DNS", "matcher": {"exact": host}}
    trust = {"trusted_ca": {"filename": f"{_ROOTS}/root-cert.pem"}, "match_typed_subject_alt_names": [name]}
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
            "sni": host,
            "common_tls_context": {"alpn_protocols": ["h2"], "validation_context": trust},
        },
    }


def _volumes(name: str, port: int) -> dict[str, dict[str, Any]]:
    """Return the volume for each path."""
    token = {"serviceAccountToken": {"path": "istio-token", "audience": "istio-ca", "expirationSeconds": 43200}}
    volumes: dict[str, dict[str, Any]] = {
        "/etc/bootstrap": {"configMap": {"name": f"{name}-bootstrap"}},
        "/var/run/secrets/tokens": {"projected": {"sources": [token]}},
        "/tmp": {"emptyDir": {}},
    }
    if port == SECURE_PORT:
        volumes[_ROOTS] = {"configMap": {"name": "istio-ca-root-cert"}}
    return volumes


def _pod(namespace: str, name: str, volumes: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    names = {path: path.strip("/").replace("/", "-") for path in volumes}
    container = {
        "name": "istio-proxy",
        "image": ENVOY,
        "command": ["sh", "-ec", _START],
        "env": [{"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
        "readinessProbe": {"httpGet": {"path": "/healthz/ready", "port": 15021}, "periodSeconds": 1},
        "securityContext": {
            "runAsUser": PROXY_UID,
            "runAsGroup": PROXY_UID,
            "readOnlyRootFilesystem": True,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": names[path], "mountPath": path} for path in volumes],
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": {"app": name}},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "securityContext": {"fsGroup": PROXY_UID},
            "containers": [container],
            "volumes": [{"name": names[path], **volume} for path, volume in volumes.items()],
        },
    }
