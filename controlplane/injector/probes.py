"""Probes of the application, asked through the agent: the kubelet has no certificate of the mesh.

Each probe or hook over HTTP, TCP or gRPC becomes a GET of the agent, which is told the original in a variable.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from controlplane.documents.json_reader import json_value
from controlplane.documents.limits import UnreadableError
from controlplane.injector.containers import CONTAINERS, INIT_CONTAINERS, PROXY, Container, containers, every_container

ENVIRONMENT = "ISTIO_KUBE_APP_PROBERS"
REWRITE = "sidecar.istio.io/rewriteAppHTTPProbers"
_PATHS = {
    ("readinessProbe",): "/app-health/{}/readyz",
    ("livenessProbe",): "/app-health/{}/livez",
    ("startupProbe",): "/app-health/{}/startupz",
    ("lifecycle", "preStop"): "/app-lifecycle/{}/prestopz",
    ("lifecycle", "postStart"): "/app-lifecycle/{}/poststartz",
}
_SORTS = ("httpGet", "tcpSocket", "grpc")
"""How to ask, the first that is given counts; hooks know no gRPC."""

Pod = dict[str, Any]


def probers(pod: Pod, agent_ports: Collection[int]) -> dict[str, Any]:
    """Return what the agent asks for each path; nothing for what already asks the agent, or names no known port.

    ``agent_ports`` are the agent's, by the mesh and by the pod.
    """
    found = {}
    for container in every_container(pod):
        for fields, path, handler in _handlers(container):
            prober = _prober(handler, container, agent_ports, is_probe=len(fields) == 1)
            if prober is not None:
                found[path] = prober
    return found


def probers_text(new: Mapping[str, Any], old: str) -> str:
    """Return the variable of the agent, empty for nothing; what an earlier injection stated goes before."""
    try:
        value = json_value(old) if old else {}
    except UnreadableError:
        value = {}
    every = {**new, **(value if isinstance(value, dict) else {})}
    return json.dumps(every, separators=(",", ":"), sort_keys=True, ensure_ascii=False) if every else ""


def rewritten(pod: Pod, status_port: int, asked_port: int) -> Pod:
    """Return the pod with its probes led to the agent at ``asked_port``; those at ``status_port`` are left alone."""
    spec = dict(pod.get("spec") or {})
    for field in (CONTAINERS, INIT_CONTAINERS):
        if spec.get(field):
            spec[field] = [_rewritten(each, status_port, asked_port) for each in containers(pod, field)]
    return {**pod, "spec": spec}


def _rewritten(container: Container, status_port: int, asked_port: int) -> Container:
    changed = dict(container)
    for fields, path, handler in _handlers(container):
        if _port(handler) == status_port:
            continue
        asked = _asked(handler, path, asked_port)
        if len(fields) == 1:
            changed[fields[0]] = asked
        else:
            changed[fields[0]] = {**changed[fields[0]], fields[1]: asked}
    return changed


def _asked(handler: Mapping[str, Any], path: str, port: int) -> dict[str, Any]:
    get = dict(handler.get("httpGet") or {})
    get |= {"path": path, "port": port}
    if get.get("scheme") == "HTTPS":
        get["scheme"] = "HTTP"
    return {**{name: value for name, value in handler.items() if name not in _SORTS}, "httpGet": get}


def _handlers(container: Container) -> Iterator[tuple[tuple[str, ...], str, dict[str, Any]]]:
    if container.get("name") == PROXY:
        return
    for fields, path in _PATHS.items():
        handler: Any = container
        for field in fields:
            handler = (handler or {}).get(field)
        if handler and (sort := _sort(handler)) and not (sort == "grpc" and len(fields) > 1):
            yield fields, path.format(container.get("name", "")), handler


def _sort(handler: Mapping[str, Any]) -> str:
    return next((sort for sort in _SORTS if handler.get(sort) is not None), "")


def _port(handler: Mapping[str, Any]) -> Any:  # noqa: ANN401 - a number or a name
    return (handler.get(_sort(handler)) or {}).get("port")


def _prober(
    handler: Mapping[str, Any], container: Container, agent_ports: Collection[int], *, is_probe: bool
) -> dict[str, Any] | None:
    sort = _sort(handler)
    asked = {key: value for key, value in handler[sort].items() if value not in (None, "") or key == "service"}
    port = asked.get("port")
    if sort == "grpc":
        asked.setdefault("service", None)
    elif isinstance(port, str):
        ports = {each["name"]: each.get("containerPort") for each in container.get("ports") or () if each.get("name")}
        if port not in ports:
            return None
        asked["port"] = ports[port]
    if port in agent_ports:
        return None
    prober: dict[str, Any] = {sort: asked}
    if is_probe and handler.get("timeoutSeconds"):
        prober["timeoutSeconds"] = handler["timeoutSeconds"]
    return prober
