"""What a machine that Kubernetes does not run needs to join a mesh: files for its agent. Pure functions.

Reference: ``istioctl x workload entry configure``, whose files these are.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from controlplane.documents.yaml_writer import yaml_text

Json = dict[str, Any]

MESH, ENVIRONMENT, ROOT, TOKEN, HOSTS = "mesh.yaml", "cluster.env", "root-cert.pem", "istio-token", "hosts"
_AUDIENCE_PORT = 15012
_STATUS_PORT = 15020
_OWN_PORTS = (22, 15090, 15021)
_SERVICE_LABELS = ("service.istio.io/canonical-name", "app.kubernetes.io/name", "app")
_REVISION_LABELS = ("service.istio.io/canonical-revision", "app.kubernetes.io/version", "version")


class MachineError(ValueError):
    """The files cannot be made; the text says what is missing or wrong."""


@dataclass(frozen=True, slots=True)
class Choices:
    """What somebody chose. ``ingress`` is the address under which the control plane is reached, empty for its name."""

    cluster_id: str = "Kubernetes"
    revision: str = ""
    ingress: str = ""
    auto_register: bool = False
    captures_dns: bool = True
    internal_ip: str = ""
    external_ip: str = ""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a cluster says: the mesh configuration, and the roots and a token for the group's service account."""

    mesh: Mapping[str, Any] = field(default_factory=dict)
    roots: str = ""
    token: str = ""


def workload_group(name: str, namespace: str, stated: Mapping[str, Any]) -> Json:
    """Return a WorkloadGroup. ``stated`` has ``labels``, ``annotations``, ``ports``, ``serviceAccount``."""
    metadata = {key: stated[key] for key in ("labels", "annotations") if stated.get(key)}
    template = {key: stated[key] for key in ("ports", "serviceAccount") if stated.get(key)}
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "WorkloadGroup",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {**({"metadata": metadata} if metadata else {}), "template": template},
    }


def files(group: Mapping[str, Any], choices: Choices, found: Surroundings) -> dict[str, str]:
    """Return the text of each file by its name.

    Raises:
        MachineError: the group names no service account, or has no name or namespace.
    """
    metadata = group.get("metadata") or {}
    spec = group.get("spec") or {}
    template = spec.get("template") or {}
    name, namespace = metadata.get("name"), metadata.get("namespace")
    if not name or not namespace:
        raise MachineError("the WorkloadGroup needs metadata.name and metadata.namespace")
    address = discovery_address(found.mesh, choices.revision)
    return {
        MESH: yaml_text({"defaultConfig": _config(group, choices, found.mesh, address)}),
        ENVIRONMENT: _environment(str(name), str(namespace), template, choices, address),
        ROOT: found.roots,
        TOKEN: found.token,
        HOSTS: f"{choices.ingress} {address.partition(':')[0]}\n" if choices.ingress else "",
    }


def discovery_address(mesh: Mapping[str, Any], revision: str) -> str:
    """Return where the control plane is asked: the mesh configuration says it, or the name of its Service."""
    said = (mesh.get("defaultConfig") or {}).get("discoveryAddress")
    if said:
        return str(said)
    return f"istiod{f'-{revision}' if revision not in {'', 'default'} else ''}.istio-system.svc:{_AUDIENCE_PORT}"


def _config(group: Mapping[str, Any], choices: Choices, mesh: Mapping[str, Any], address: str) -> Json:
    metadata, spec = group["metadata"], group.get("spec") or {}
    template = spec.get("template") or {}
    labels = {**(template.get("labels") or {}), **((spec.get("metadata") or {}).get("labels") or {})}
    defaults = {key: value for key, value in (mesh.get("defaultConfig") or {}).items() if key != "discoveryAddress"}
    said: Json = {
        "CANONICAL_SERVICE": next((labels[key] for key in _SERVICE_LABELS if labels.get(key)), metadata["name"]),
        "CANONICAL_REVISION": next((labels[key] for key in _REVISION_LABELS if labels.get(key)), "latest"),
        "POD_NAMESPACE": metadata["namespace"],
        "SERVICE_ACCOUNT": template.get("serviceAccount") or "default",
        "TRUST_DOMAIN": mesh.get("trustDomain") or "cluster.local",
        "ISTIO_META_CLUSTER_ID": choices.cluster_id,
        "ISTIO_META_MESH_ID": defaults.get("meshId") or mesh.get("trustDomain") or "",
        "ISTIO_META_NETWORK": template.get("network") or "",
        "ISTIO_META_WORKLOAD_NAME": metadata["name"],
        "ISTIO_METAJSON_LABELS": json.dumps(labels, sort_keys=True),
    }
    if ports := template.get("ports"):
        listed = [{"name": name, "containerPort": port} for name, port in sorted(ports.items())]
        said["ISTIO_META_POD_PORTS"] = json.dumps(listed)
    if choices.auto_register:
        said["ISTIO_META_AUTO_REGISTER_GROUP"] = metadata["name"]
    if choices.captures_dns:
        said["ISTIO_META_DNS_CAPTURE"] = "true"
    own = {**(defaults.get("proxyMetadata") or {}), **{key: value for key, value in said.items() if value}}
    config = {**defaults, "discoveryAddress": address, "proxyMetadata": own}
    if spec.get("probe"):
        config["readinessProbe"] = spec["probe"]
    return config


def _environment(name: str, namespace: str, template: Mapping[str, Any], choices: Choices, address: str) -> str:
    ports = template.get("ports") or {}
    said = {
        "CA_ADDR": address,
        "ISTIO_INBOUND_PORTS": ",".join(str(port) for port in ports.values()) or "*",
        "ISTIO_LOCAL_EXCLUDE_PORTS": ",".join(map(str, (*_OWN_PORTS, _STATUS_PORT))),
        "ISTIO_NAMESPACE": namespace,
        "ISTIO_SERVICE": f"{name}.{namespace}",
        "ISTIO_SERVICE_CIDR": "*",
        "SERVICE_ACCOUNT": template.get("serviceAccount") or "default",
    }
    if address_of := choices.internal_ip or choices.external_ip:
        said["ISTIO_SVC_IP"] = address_of
    if choices.external_ip:
        said["REWRITE_PROBE_LEGACY_LOCALHOST_DESTINATION"] = "true"
    return "".join(
        f"{key}={shlex.quote(value) if value != '*' else repr(value)}\n" for key, value in sorted(said.items())
    )
