"""What injection has containers run is what the agent takes: each argument, in every mode."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from controlplane.agent.interception.command_line import parsed
from controlplane.agent.options import flags_of
from controlplane.injector.injected import injected
from controlplane.injector.settings import Settings
from controlplane.injector.values import Values

DEFAULT = Settings(namespace="shop")
VALUES: tuple[dict[str, Any], ...] = (
    {},
    {"logAsJson": True, "logging": {"level": "all:debug"}},
    {"nativeNftables": True},
    {"proxy_init": {"forceApplyIptables": True}},
    {"sts": {"servicePort": 15463}, "proxy": {"outlierLogPath": "/dev/stdout"}},
)
ANNOTATIONS: tuple[dict[str, str], ...] = (
    {},
    {"sidecar.istio.io/interceptionMode": "TPROXY", "sidecar.istio.io/agentLogLevel": "debug"},
    {"traffic.sidecar.istio.io/includeOutboundPorts": "80,443", "traffic.sidecar.istio.io/excludeOutboundPorts": "25"},
    {"istio.io/reroute-virtual-interfaces": "net1", "traffic.sidecar.istio.io/excludeInterfaces": "eth1"},
    {"traffic.sidecar.istio.io/includeOutboundIPRanges": "10.0.0.0/8", "status.sidecar.istio.io/port": "0"},
)


@pytest.mark.parametrize("values", VALUES, ids=json.dumps)
@pytest.mark.parametrize("annotations", ANNOTATIONS, ids=json.dumps)
def test_arguments_are_taken(values: dict[str, Any], annotations: dict[str, str]) -> None:
    settings = replace(DEFAULT, native=True, values=Values.parse(json.dumps({"global": values})))
    metadata = {"name": "web", "annotations": annotations}
    made = injected({"metadata": metadata, "spec": {"containers": [{"name": "web", "image": "web"}]}}, settings)
    containers = {each["name"]: each for each in made["spec"]["initContainers"]}
    command, *arguments = containers["istio-init"]["args"]
    environment = {each["name"]: each["value"] for each in containers["istio-init"].get("env", ())}
    assert command == "istio-iptables"
    assert parsed(arguments, environment).apply
    command, *arguments = containers["istio-proxy"]["args"]
    assert command == "proxy"
    assert flags_of(arguments).kind == "sidecar"
