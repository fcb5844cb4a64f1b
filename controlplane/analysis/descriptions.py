"""What the objects of a mesh mean for one pod or one service, in istioctl's words and order.

Only objects are read, not what a proxy has: ``controlplane status`` and ``proxy-config`` tell whether it has it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from controlplane.analysis import raw
from controlplane.analysis.hosts import EVERYWHERE, MESH, full_host, gateway_name, overlap, routes, scopes, serves
from controlplane.analysis.mesh_members import PROXY, REVISION, is_ambient_pod, proxy_image
from controlplane.analysis.resources import Resource, Resources, has_labels
from controlplane.analysis.route_words import rule_words
from controlplane.model import kinds

SEPARATOR = "-" * 20
_PROXY_UID = 1337
_POLICIES = {
    "loadBalancer": "load balancer",
    "connectionPool": "connection pool",
    "outlierDetection": "outlier detection",
}


class Describer:
    """Describes pods and services; ``namespace`` is the one that names need not say."""

    def __init__(self, resources: Resources, namespace: str) -> None:
        """Look at these objects."""
        self._resources = resources
        self._namespace = namespace

    def pod(self, pod: Resource) -> Iterator[str]:
        """Yield the lines about a pod and each Service that selects it."""
        yield from self._head(pod)
        services = list(self._services(pod))
        if not services:
            yield "WARNING: no Service selects this pod"
        for service in services:
            yield SEPARATOR
            yield from self._service(service, [pod])
        yield SEPARATOR
        yield from self._policies(pod)

    def service(self, service: Resource, *, ignore_unmeshed: bool) -> Iterator[str]:
        """Yield the lines about a Service, and for each of its pods what it means there."""
        selector = raw.string_map(service.spec, "selector")
        pods = self._resources.selected_pods(selector, service.namespace) if selector else []
        if ignore_unmeshed:
            pods = [pod for pod in pods if proxy_image(pod.spec) or is_ambient_pod(pod)]
        yield from self._service(service, pods)
        if not pods:
            yield "WARNING: the Service selects no pod"
        for pod in pods:
            yield SEPARATOR
            yield from self._head(pod)
            yield from self._policies(pod)

    def _name(self, each: Resource) -> str:
        return each.name if each.namespace == self._namespace else f"{each.name}.{each.namespace}"

    def _head(self, pod: Resource) -> Iterator[str]:
        yield f"Pod: {self._name(pod)}"
        yield f"   Pod Revision: {pod.labels.get(REVISION) or pod.annotations.get(REVISION) or 'default'}"
        ports = ", ".join(
            f"{raw.number(port, 'containerPort')} ({raw.text(container, 'name')})"
            for container in _containers(pod)
            for _, port in raw.mappings(container, "ports")
        )
        yield f"   Pod Ports: {ports}" if ports else "   Pod does not expose ports"
        for label in ("app", "version"):
            if label not in pod.labels and f"app.kubernetes.io/{'name' if label == 'app' else label}" not in pod.labels:
                yield f"Suggestion: label the pod with '{label}', by which telemetry tells workloads apart"
        yield from _warnings(pod)

    def _services(self, pod: Resource) -> Iterator[Resource]:
        for service in self._resources.within(kinds.SERVICE, pod.namespace):
            selector = raw.string_map(service.spec, "selector")
            if selector and has_labels(pod.labels, selector):
                yield service

    def _service(self, service: Resource, pods: Sequence[Resource]) -> Iterator[str]:
        yield f"Service: {self._name(service)}"
        for _, port in raw.mappings(service.spec, "ports"):
            name, number = raw.text(port, "name"), raw.number(port, "port")
            protocol = (raw.text(port, "appProtocol") or name.partition("-")[0] or "auto-detect").upper()
            target = raw.at(port, "targetPort") or number
            where = f"pod port {_target(target, pods)}"
            yield f"   Port: {f'{name} ' if name else ''}{number}/{protocol} targets {where}"
        host = full_host(service.name, service.namespace, self._resources.domain)
        yield from self._rules(host, service, pods)
        yield from self._routes(host)

    def _rules(self, host: str, service: Resource, pods: Sequence[Resource]) -> Iterator[str]:
        """Tell of the DestinationRules that clients in the service's namespace may use."""
        for rule in self._resources.of(kinds.DESTINATION_RULE):
            stated = raw.text(rule.spec, "host")
            full = full_host(stated, rule.namespace, self._resources.domain)
            seen_by = scopes(raw.texts(rule.spec, "exportTo"), rule.namespace)
            if not overlap(full, host) or seen_by.isdisjoint({EVERYWHERE, service.namespace}):
                continue
            yield f'DestinationRule: {self._name(rule)} for "{stated}"'
            yield from _subsets(rule, pods)
            yield from _traffic_policy(raw.mapping(rule.spec, "trafficPolicy"))

    def _routes(self, host: str) -> Iterator[str]:
        """Tell of the VirtualServices that lead to a host, and of the gateways through which it is reached."""
        domain = self._resources.domain
        subsets = {
            raw.text(subset, "name")
            for rule in self._resources.of(kinds.DESTINATION_RULE)
            if overlap(full_host(raw.text(rule.spec, "host"), rule.namespace, domain), host)
            for _, subset in raw.mappings(rule.spec, "subsets")
        }
        for virtual in self._resources.of(kinds.VIRTUAL_SERVICE):
            here = [each for each in routes(virtual) if full_host(each.host, virtual.namespace, domain) == host]
            own = [full_host(each, virtual.namespace, domain) for each in raw.texts(virtual.spec, "hosts")]
            if not here and host not in own:
                continue
            yield f"VirtualService: {self._name(virtual)}"
            for words in rule_words(virtual):
                yield f"   {words}"
            for missing in sorted({each.subset for each in here} - subsets - {""}):
                yield f"   WARNING: no DestinationRule has the subset {missing}"
            yield from self._exposed(virtual)

    def _exposed(self, virtual: Resource) -> Iterator[str]:
        for named in raw.texts(virtual.spec, "gateways"):
            if named == MESH:
                continue
            gateway = self._resources.find(kinds.GATEWAY, *gateway_name(named, virtual.namespace))
            if gateway is None:
                yield f"   WARNING: there is no Gateway {named}"
            else:
                ports = sorted(
                    {raw.number(server, "port", "number") for _, server in raw.mappings(gateway.spec, "servers")}
                )
                stated = raw.texts(virtual.spec, "hosts")
                hosts = ", ".join(host for host in stated if serves(gateway, [host], virtual.namespace))
                port = ", ".join(map(str, ports))
                yield f"   Exposed on Gateway {self._name(gateway)}, port {port}: {hosts or 'none of its hosts'}"

    def _policies(self, pod: Resource) -> Iterator[str]:
        policies = self._selecting(kinds.AUTHORIZATION_POLICY, pod)
        if policies:
            told = (f"{self._name(each)} ({raw.text(each.spec, 'action') or 'ALLOW'})" for each in policies)
            yield f"RBAC policies: {', '.join(told)}"
        applied = self._selecting(kinds.PEER_AUTHENTICATION, pod)
        yield "Effective PeerAuthentication:"
        yield f"   Workload mTLS mode: {_mode(applied)}"
        narrowest = applied[-1] if applied else None
        for port, stated in raw.mapping(narrowest.spec if narrowest else {}, "portLevelMtls").items():
            yield f"   Port {port} mTLS mode: {raw.text(stated, 'mode') or 'UNSET'}"
        if applied:
            yield "Applied PeerAuthentication:"
            yield f"   {', '.join(f'{each.name}.{each.namespace}' for each in applied)}"

    def _selecting(self, kind: kinds.GroupKind, pod: Resource) -> list[Resource]:
        """Return the policies for a pod: of the whole mesh, of its namespace, then its own; the oldest last."""
        root = self._resources.mesh.config.root_namespace
        found = []
        for each in self._resources.of(kind):
            selector = raw.string_map(each.spec, "selector", "matchLabels")
            if each.namespace not in {root, pod.namespace} or not has_labels(pod.labels, selector):
                continue
            if raw.at(each.spec, "targetRef") is None and not raw.at(each.spec, "targetRefs"):
                found.append((bool(selector), each.namespace != root, each))
        found.sort(key=lambda entry: (raw.text(entry[2].written, "metadata", "creationTimestamp"), entry[2].name))
        found.reverse()
        found.sort(key=lambda entry: entry[:2])
        return [entry[2] for entry in found]


def _containers(pod: Resource) -> Iterator[Mapping[str, Any]]:
    for field in ("containers", "initContainers"):
        for _, container in raw.mappings(pod.spec, field):
            if field == "containers" or raw.text(container, "name") == PROXY:
                yield container


def _warnings(pod: Resource) -> Iterator[str]:
    if not proxy_image(pod.spec) and not is_ambient_pod(pod):
        yield "WARNING: the pod has no proxy and is not in the mesh"
    for _, condition in raw.mappings(pod.written, "status", "conditions"):
        if raw.text(condition, "type") == "Ready" and raw.text(condition, "status") != "True":
            yield f"WARNING: the pod is not ready{_because(raw.text(condition, 'message'))}"
    for container in _containers(pod):
        runs_as = raw.number(container, "securityContext", "runAsUser")
        if raw.text(container, "name") != PROXY and runs_as == _PROXY_UID:
            yield f"WARNING: the container {raw.text(container, 'name')} runs as user 1337, which is that of the proxy"


def _because(text: str) -> str:
    return f": {text}" if text else ""


def _target(target: object, pods: Sequence[Resource]) -> str:
    """Return the number of a target port, by its name in the pods where it is one; they may have several."""
    if not isinstance(target, str):
        return str(target)
    numbers = {
        raw.number(port, "containerPort")
        for pod in pods
        for container in _containers(pod)
        for _, port in raw.mappings(container, "ports")
        if raw.text(port, "name") == target
    }
    return ", ".join(map(str, sorted(numbers))) or target


def _subsets(rule: Resource, pods: Sequence[Resource]) -> Iterator[str]:
    """Tell which subsets have one of the pods, and which have none."""
    stated = [
        (raw.text(subset, "name"), raw.string_map(subset, "labels")) for _, subset in raw.mappings(rule.spec, "subsets")
    ]
    if not stated or not pods:
        return
    matching = [name for name, labels in stated if any(has_labels(pod.labels, labels) for pod in pods)]
    others = [name for name, _ in stated if name not in matching]
    if matching:
        yield f"   Matching subsets: {','.join(matching)}"
        if others:
            yield f"      (Non-matching subsets {','.join(others)})"
    else:
        who = "the pod is" if len(pods) == 1 else f"none of the {len(pods)} pods is"
        yield f"   WARNING: {who} in {'none' if len(pods) == 1 else 'one'} of the subsets {','.join(others)}"


def _traffic_policy(policy: Mapping[str, Any]) -> Iterator[str]:
    if not policy:
        yield "   No Traffic Policy"
        return
    if mode := raw.text(policy, "tls", "mode"):
        yield f"   Traffic Policy TLS Mode: {mode}"
    if told := [words for field, words in _POLICIES.items() if policy.get(field) is not None]:
        yield f"   Policies: {'/'.join(told)}"
    for _, each in raw.mappings(policy, "portLevelSettings"):
        yield f"   {raw.number(each, 'port', 'number')} has its own Traffic Policy"


def _mode(applied: list[Resource]) -> str:
    """Return the mode of the narrowest policy that states one; of several alike the oldest counts."""
    for each in reversed(applied):
        mode = raw.text(each.spec, "mtls", "mode")
        if mode not in {"", "UNSET"}:
            return mode
    return "PERMISSIVE"
