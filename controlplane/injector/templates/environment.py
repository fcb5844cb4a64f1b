"""Variables of the proxy, in groups that several templates share; each group keeps its order."""

from __future__ import annotations

import json
from typing import Any

from controlplane.injector import proxy_config
from controlplane.injector.containers import INIT_CONTAINERS, PROXY, containers
from controlplane.injector.template_data import TemplateData
from controlplane.injector.templates.volumes import is_overriding_bootstrap

Json = dict[str, Any]

_PORT_FIELDS = ("name", "hostPort", "containerPort", "protocol", "hostIP")


def variable(name: str, value: str) -> Json:
    """Return one variable of the environment."""
    return {"name": name, "value": value}


def field_variable(name: str, path: str) -> Json:
    """Return a variable that has a field of the pod."""
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}


def limit_variable(name: str, resource: str) -> Json:
    """Return a variable that has a limit of the container."""
    return {"name": name, "valueFrom": {"resourceFieldRef": {"resource": resource, "divisor": "1"}}}


def identity_variables(data: TemplateData) -> list[Json]:
    """Return where certificates come from, and who the pod is."""
    values = data.values
    stated = values.text("revision")
    revision = f"-{stated}" if stated and stated != "default" else ""
    address = values.text("global.caAddress") or f"istiod{revision}.{values.text('global.istioNamespace')}.svc:15012"
    return [
        variable("PILOT_CERT_PROVIDER", values.text("global.pilotCertProvider")),
        variable("CA_ADDR", address),
        field_variable("POD_NAME", "metadata.name"),
        field_variable("POD_NAMESPACE", "metadata.namespace"),
        field_variable("INSTANCE_IP", "status.podIP"),
        field_variable("SERVICE_ACCOUNT", "spec.serviceAccountName"),
        field_variable("HOST_IP", "status.hostIP"),
    ]


def config_variables(data: TemplateData) -> list[Json]:
    """Return the proxy's configuration, and the ports of the pod."""
    ports = [
        json.dumps({name: port[name] for name in _PORT_FIELDS if port.get(name)}, separators=(",", ":"))
        for container in (*containers(data.pod), *_native_proxy(data))
        for port in container.get("ports") or ()
    ]
    text = "[\n" + "".join(f"    {',' if at else ''}{port}\n" for at, port in enumerate(ports)) + "]"
    return [
        variable("PROXY_CONFIG", proxy_config.text(data.proxy_config)),
        variable("ISTIO_META_POD_PORTS", text),
    ]


def _native_proxy(data: TemplateData) -> list[Json]:
    return [each for each in containers(data.pod, INIT_CONTAINERS) if each.get("name") == PROXY]


def application_variable(data: TemplateData) -> Json:
    """Return the names of the application's containers."""
    return variable("ISTIO_META_APP_CONTAINERS", ",".join(data.applications()))


def compliance_variables(data: TemplateData) -> list[Json]:
    """Return the policy for cryptography, where there is one."""
    policy = data.compliance_policy
    found = [variable("COMPLIANCE_POLICY", policy)] if policy else []
    return [*found, variable("GODEBUG", "fips140=only")] if policy == "fips-140-3" else found


def place_variables(data: TemplateData) -> list[Json]:
    """Return the cluster and node of the pod."""
    cluster = data.values.text("global.multiCluster.clusterName") or "Kubernetes"
    return [
        variable("ISTIO_META_CLUSTER_ID", cluster),
        field_variable("ISTIO_META_NODE_NAME", "spec.nodeName"),
    ]


def workload_variables(data: TemplateData, name: str) -> list[Json]:
    """Return the network and the workload; ``name`` is what the workload is called."""
    found = []
    if network := data.values.text("global.network"):
        found.append(variable("ISTIO_META_NETWORK", network))
    if name:
        found.append(variable("ISTIO_META_WORKLOAD_NAME", name))
    owner = data.owner
    if owner.name:
        place = f"namespaces/{owner.namespace or 'default'}/{owner.kind.lower()}s/{owner.name}"
        found.append(variable("ISTIO_META_OWNER", f"kubernetes://apis/{owner.api_version}/{place}"))
    return found


def workload_name(data: TemplateData) -> str:
    """Return what the pod says its workload is called, else the owner's name."""
    return data.labels.get("service.istio.io/workload-name") or data.owner.name


def bootstrap_variables(data: TemplateData) -> list[Json]:
    """Return the place of a bootstrap of the user's, where the pod names one."""
    if not is_overriding_bootstrap(data):
        return []
    return [variable("ISTIO_BOOTSTRAP_OVERRIDE", "/etc/istio/custom-bootstrap/custom_bootstrap.json")]


def mesh_variables(data: TemplateData) -> list[Json]:
    """Return the mesh and its trust domain."""
    trust_domain = data.mesh.trust_domain or data.values.text("global.trustDomain")
    pairs = {"ISTIO_META_MESH_ID": data.values.text("global.meshID") or trust_domain, "TRUST_DOMAIN": trust_domain}
    return [variable(name, value) for name, value in pairs.items() if value]


def metadata_variables(data: TemplateData) -> list[Json]:
    """Return the variables of the ProxyConfig, sorted."""
    return [variable(name, value) for name, value in sorted(data.proxy_config.proxy_metadata.items())]
