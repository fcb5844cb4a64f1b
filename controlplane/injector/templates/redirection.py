"""The init container that leads a pod's traffic through its proxy, or checks that the CNI plugin did."""

from __future__ import annotations

from typing import Any

from controlplane.documents.json_reader import json_value
from controlplane.documents.limits import UnreadableError
from controlplane.injector.annotations import INTERCEPTION_MODE
from controlplane.injector.template_data import TemplateData
from controlplane.injector.templates import environment, parts

Json = dict[str, Any]

TRUE = "true"
_TRAFFIC = "traffic.sidecar.istio.io/"
_PROXY = "global.proxy."
_REROUTED = "istio.io/reroute-virtual-interfaces"
_NETWORKS = "k8s.v1.cni.cncf.io/networks"
_PLUGIN, _PLUGIN_NAMESPACE = "istio-cni", "default"


def interception_mode(data: TemplateData) -> str:
    """Return how inbound traffic is taken: ``REDIRECT``, ``TPROXY`` or ``NONE``."""
    return data.annotated(INTERCEPTION_MODE, data.proxy_config.interception_mode.value)


def is_cni(data: TemplateData) -> bool:
    """Whether a CNI plugin redirects traffic."""
    return data.values.flag("pilot.cni.enabled")


def excluded_inbound_ports(data: TemplateData) -> str:
    """Return the inbound ports that are left alone, with the agent's, which its probes use."""
    stated = data.annotated(f"{_TRAFFIC}excludeInboundPorts", data.values.get(f"{_PROXY}excludeInboundPorts"))
    port = parts.status_port(data)
    ports = [each for each in map(str.strip, stated.split(",")) if each]
    if port in ("", "0") or port in ports:
        return stated
    return f"{stated},{port}" if stated else port


def metadata(data: TemplateData) -> Json:
    """Return the annotations that a CNI plugin reads; none without one."""
    if not is_cni(data):
        return {}
    found = {INTERCEPTION_MODE: interception_mode(data)}
    for name, value, always in (
        ("includeOutboundIPRanges", "includeIPRanges", False),
        ("excludeOutboundIPRanges", "excludeIPRanges", False),
        ("includeInboundPorts", "includeInboundPorts", True),
        ("includeOutboundPorts", "includeOutboundPorts", False),
        ("excludeOutboundPorts", "excludeOutboundPorts", False),
    ):
        text = data.annotated(f"{_TRAFFIC}{name}", data.values.get(f"{_PROXY}{value}"))
        if text or always:
            found[f"{_TRAFFIC}{name}"] = text
    found[f"{_TRAFFIC}excludeInboundPorts"] = excluded_inbound_ports(data)
    for name in (f"{_TRAFFIC}kubevirtInterfaces", _REROUTED, f"{_TRAFFIC}excludeInterfaces"):
        if name in data.annotations:
            found[name] = data.annotations[name]
    if data.values.text("pilot.cni.provider") == "multus":
        found[_NETWORKS] = with_plugin(data.annotations.get(_NETWORKS, ""))
    return found


def with_plugin(networks: str) -> str:
    """Return a list of networks, in either form of multus, with the plugin at its end; one that has it stays."""
    if not networks:
        return f"{_PLUGIN_NAMESPACE}/{_PLUGIN}"
    if not networks.strip().startswith("["):
        listed = [each.strip() for each in networks.split(",")]
        present = f"{_PLUGIN_NAMESPACE}/{_PLUGIN}" in listed
        return networks if present else f"{networks}, {_PLUGIN_NAMESPACE}/{_PLUGIN}"
    try:
        value = json_value(networks)
    except UnreadableError:
        return networks
    if any(isinstance(each, dict) and each.get("name") == _PLUGIN for each in value):
        return networks
    end = networks.rindex("]")
    added = f'{{"name": "{_PLUGIN}", "namespace": "{_PLUGIN_NAMESPACE}"}}'
    return f"{networks[:end]}{', ' if value else ''}{added}{networks[end:]}"


def redirection(data: TemplateData) -> Json:
    """Return the init container."""
    profile = data.values.map("global.proxy.seccompProfile")
    variables = environment.metadata_variables(data)
    return {
        "name": "istio-validation" if is_cni(data) else "istio-init",
        **parts.image_fields(data, "global.proxy_init.image"),
        "args": _arguments(data),
        **({"env": variables} if variables else {}),
        "resources": parts.resources(data),
        "securityContext": {
            "allowPrivilegeEscalation": data.values.flag("global.proxy.privileged"),
            "privileged": data.values.flag("global.proxy.privileged"),
            **(_checking(data) if is_cni(data) else _CHANGING),
            **({"seccompProfile": profile} if profile else {}),
        },
    }


_CHANGING: Json = {
    "capabilities": {"add": ["NET_ADMIN", "NET_RAW"], "drop": ["ALL"]},
    "readOnlyRootFilesystem": False,
    "runAsGroup": 0,
    "runAsUser": 0,
    "runAsNonRoot": False,
}
"""What changing the rules of a pod takes."""


def _checking(data: TemplateData) -> Json:
    return {
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
        "runAsGroup": data.group,
        "runAsUser": data.user,
        "runAsNonRoot": True,
    }


def _arguments(data: TemplateData) -> list[str]:
    mode = interception_mode(data)

    def traffic(name: str, value: str) -> str:
        return data.annotated(f"{_TRAFFIC}{name}", data.values.get(f"{_PROXY}{value}"))

    excluded = excluded_inbound_ports(data)
    found = ["istio-iptables", "-p", str(data.mesh.proxy_listen_port), "-z", str(data.mesh.proxy_inbound_listen_port)]
    found += ["-u", "1337" if mode == "TPROXY" else str(data.user), "-m", mode]
    found += ["-i", traffic("includeOutboundIPRanges", "includeIPRanges")]
    found += ["-x", traffic("excludeOutboundIPRanges", "excludeIPRanges")]
    found += ["-b", traffic("includeInboundPorts", "includeInboundPorts")]
    found += ["-d", f"15090,15021{f',{excluded}' if excluded else ''}"]
    for option, name in (("-q", "includeOutboundPorts"), ("-o", "excludeOutboundPorts")):
        text = traffic(name, name)
        if f"{_TRAFFIC}{name}" in data.annotations or text:
            found += [option, text]
    rerouted = data.annotations.get(_REROUTED, data.annotations.get(f"{_TRAFFIC}kubevirtInterfaces"))
    if rerouted is not None:
        found += ["-k", rerouted]
    if f"{_TRAFFIC}excludeInterfaces" in data.annotations:
        found += ["-c", data.annotations[f"{_TRAFFIC}excludeInterfaces"]]
    level = data.annotated("sidecar.istio.io/agentLogLevel", data.values.get("global.logging.level"))
    found.append(f"--log_output_level={level}")
    if data.values.flag("global.logAsJson"):
        found.append("--log_as_json")
    if is_cni(data):
        found += ["--run-validation", "--skip-rule-apply"]
    elif data.values.flag("global.proxy_init.forceApplyIptables"):
        found.append("--force-apply")
    if data.values.flag("global.nativeNftables"):
        found.append("--native-nftables")
    return found
