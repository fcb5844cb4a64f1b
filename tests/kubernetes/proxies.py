"""Envoys in real Pods, as sidecars without an application."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from controlplane.agent.bootstrap import Bootstrap, TcpAddress, bootstrap, workload
from tests.cluster.images import ENVOY

PROXY_UID = 1337
_ADDRESS = "192.0.2.1"  # stands for the Pod's own, which its start script knows
_TOKEN = "TOKEN"
_START = f"""\
token=$(cat /var/run/secrets/tokens/istio-token)
sed -e "s/{_ADDRESS}/$POD_IP/g" -e "s/{_TOKEN}/$token/" /etc/bootstrap/envoy.json > /tmp/envoy.json
exec envoy --config-path /tmp/envoy.json
"""


def sidecar(namespace: str, name: str, control_plane: TcpAddress) -> str:
    """Return the manifest of a Pod and its bootstrap: the Envoy shows its service account's token for ``istio-ca``."""
    proxy = workload("sidecar", name, namespace, _ADDRESS, labels={"app": name})
    values = bootstrap(proxy, Bootstrap(control_plane, secrets=Path("/tmp/secrets.sock")))
    (service,) = values["dynamic_resources"]["ads_config"]["grpc_services"]
    service["initial_metadata"] = [{"key": "authorization", "value": f"Bearer {_TOKEN}"}]
    config_map = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": f"{name}-bootstrap", "namespace": namespace},
        "data": {"envoy.json": json.dumps(values)},
    }
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": [config_map, _pod(namespace, name)]})


def _pod(namespace: str, name: str) -> dict[str, Any]:
    token = {"serviceAccountToken": {"path": "istio-token", "audience": "istio-ca", "expirationSeconds": 43200}}
    mounts = {"bootstrap": "/etc/bootstrap", "token": "/var/run/secrets/tokens", "tmp": "/tmp"}
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
        "volumeMounts": [{"name": volume, "mountPath": path} for volume, path in mounts.items()],
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": {"app": name}},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "securityContext": {"fsGroup": PROXY_UID},
            "containers": [container],
            "volumes": [
                {"name": "bootstrap", "configMap": {"name": f"{name}-bootstrap"}},
                {"name": "token", "projected": {"sources": [token]}},
                {"name": "tmp", "emptyDir": {}},
            ],
        },
    }
