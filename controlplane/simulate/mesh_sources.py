"""Where elements come from, as a registry knows it: rules, services, pods, policies; and who lost to whom.

For the reads of one explanation; nothing is recorded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from controlplane.analysis import codes
from controlplane.analysis.contested_hosts import contested_hosts
from controlplane.compiler.provenance import rule_of_route
from controlplane.model import kinds
from controlplane.model.objects import Labels, Object, ObjectKey
from controlplane.model.proxy import Proxy
from controlplane.model.service import Service
from controlplane.registry.destination_rules import stated_rule
from controlplane.registry.labels import selects
from controlplane.registry.peer_authentication import stands
from controlplane.registry.policies import WorkloadKey, attached
from controlplane.registry.services import best_namespace, services_of, visible_by_host
from controlplane.registry.store import Registry, View
from controlplane.registry.workloads import workload
from controlplane.simulate.call import Call, Place, Source, Step
from controlplane.simulate.sources import Sources, configured, services

_CLUSTER_PARTS = 4
_MOST_LEFT_OUT = 10


class MeshSources(Sources):
    """The sources of one proxy of a mesh."""

    def __init__(self, registry: Registry, proxy: Proxy) -> None:
        self._registry = registry
        self._proxy = proxy
        self._view = View(registry)

    def of_listener(self, listener: Any, call: Call) -> Source | None:  # noqa: ANN401 - Envoy's messages carry no types
        """Return the port of the Service that a listener is for, at a gateway the server of the Gateway."""
        if self._proxy.type == "router":
            return self._gateway(call.port)
        del listener
        service = self._service_named(call.host) or self._service_at(call.address)
        index = _port_index(service, call.port) if service is not None else None
        if service is None or index is None:
            return None
        return Source(service.key.object, f"spec.ports[{index}]")

    def of_virtual_host(self, host: Any, call: Call) -> Source | None:  # noqa: ANN401 - Envoy's messages carry no types
        """Return the service of a virtual host, else the VirtualService that names it."""
        del call
        name = host.name.rpartition(":")[0].strip("[]")
        service = self._service_named(name)
        if service is not None:
            return Source(service.key.object)
        found = next((key for route in host.routes if (key := configured(route)) is not None), None)
        if found is None:
            return None
        obj = self._view.get(found)
        hosts = [each.lower() for each in obj.spec.hosts] if obj is not None else []
        return Source(found, f"spec.hosts[{hosts.index(name)}]" if name in hosts else "")

    def of_route(self, route: Any, part: str = "") -> Source | None:  # noqa: ANN401 - Envoy's messages carry no types
        """Return the rule that made a route, and the match of it; with ``part`` a field that the rule states."""
        found = configured(route)
        if found is None:
            return None
        rule = rule_of_route(self._registry, found, route.SerializeToString(deterministic=True))
        if rule is None:
            return Source(found)
        if part:
            return self._stated(rule.key, rule.place, part)
        return Source(rule.key, rule.path + (f".match[{rule.match}]" if rule.match >= 0 else ""))

    def _stated(self, key: ObjectKey, index: int, part: str) -> Source | None:
        """Return the field of a rule, ``None`` where it does not state it: then it is a default."""
        obj = self._view.get(key)
        rule = obj.spec.http[index] if obj is not None and index < len(obj.spec.http) else None
        field = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in part.lstrip("."))
        value = getattr(rule, field, None)
        return Source(key, f"spec.http[{index}]{part}") if value not in {None, ()} else None

    def of_cluster(self, cluster: Any) -> Source | None:  # noqa: ANN401 - Envoy's messages carry no types
        """Return the DestinationRule that shaped a cluster, with the subset; else its service."""
        found = configured(cluster)
        if found is None:
            return self.of_service(cluster)
        parts = cluster.name.split("|")
        subset = parts[2] if len(parts) == _CLUSTER_PARTS else ""
        obj = self._view.get(found)
        names = [each.name for each in obj.spec.subsets] if obj is not None else []
        return Source(found, f"spec.subsets[{names.index(subset)}]" if subset in names else "")

    def of_service(self, cluster: Any) -> Source | None:  # noqa: ANN401 - Envoy's messages carry no types
        """Return the Service or ServiceEntry of a cluster."""
        for host, namespace in services(cluster):
            held = visible_by_host(self._view, self._proxy.namespace).by_host.get(host, ())
            for service in held:
                if service.namespace == namespace:
                    return Source(service.key.object)
        return None

    def of_tokens(self) -> Source | None:
        """Return the first RequestAuthentication of the proxy's workload."""
        labels = frozenset(workload(self._view, self._proxy).labels.items())
        found = attached(self._view, kinds.REQUEST_AUTHENTICATION, WorkloadKey(self._proxy.namespace, labels))
        return Source(found[0].key) if found else None

    def of_place(self, place: Place) -> Source | None:
        """Return the pod, WorkloadEntry or ServiceEntry with the address of an endpoint."""
        address = place.address.rpartition(":")[0].strip("[]")
        for index in ("pods_with", "workload_entries_with", "entries_with"):
            if keys := self._view.index(index, address):
                return Source(keys[0])
        return None

    def of_security(self, cluster: Any, place: Place) -> Source | None:  # noqa: ANN401 - see above
        """Return the DestinationRule that states TLS, else the PeerAuthentication of the server."""
        found = configured(cluster)
        rule = stated_rule(self._view, found) if found is not None else None
        if rule is not None and found is not None:
            parts = cluster.name.split("|")
            subset = rule.subset(parts[2]) if len(parts) == _CLUSTER_PARTS else None
            if subset is not None and subset.traffic_policy is not None and subset.traffic_policy.tls is not None:
                return Source(found, f"spec.subsets[{rule.subsets.index(subset)}].trafficPolicy.tls")
            if rule.traffic_policy is not None and rule.traffic_policy.tls is not None:
                return Source(found, "spec.trafficPolicy.tls")
        return self._peer_authentication(place)

    def _peer_authentication(self, place: Place) -> Source | None:
        """Return the PeerAuthentication of the workload of an endpoint, the narrowest that applies."""
        held = self.of_place(place)
        obj = self._view.get(held.key) if held is not None else None
        if obj is None or obj.kind != kinds.POD:
            return None
        key = WorkloadKey(obj.meta.namespace, frozenset(obj.meta.labels.items()))
        found = attached(self._view, kinds.PEER_AUTHENTICATION, key)
        stated = [each for each in found if each.spec.mtls is not None]
        if not stated:
            return None
        best = max(
            stated,
            key=lambda each: (each.meta.namespace == key.namespace, each.spec.selector is not None, stands(each)),
        )
        return Source(best.key, "spec.mtls")

    def lost(self, host: Any, call: Call) -> Sequence[Step]:  # noqa: ANN401 - Envoy's messages carry no types
        """Return VirtualServices that have the host of a virtual host in vain."""
        del call
        if self._proxy.type == "router":
            return ()
        name = host.name.rpartition(":")[0].strip("[]")
        code = codes.CONFLICTING_MESH_HOSTS.id
        return [
            Step(
                "lost",
                "has the same host",
                Source(each.key, f"spec.hosts[{each.position}]"),
                f"{each.winner} comes before it",
                "",
                code,
            )
            for each in contested_hosts(self._view, ())
            if each.host == name
        ]

    def left_out(self, cluster: Any) -> Sequence[Step]:  # noqa: ANN401 - Envoy's messages carry no types
        """Return the pods that a cluster's Service selects and that are no endpoints of it, each with the reason."""
        found: list[Step] = []
        for host, namespace in services(cluster):
            held = visible_by_host(self._view, self._proxy.namespace).by_host.get(host, ())
            service = next((each for each in held if each.namespace == namespace), None)
            if service is None or not service.selector:
                continue
            for obj in self._selected(service):
                if reason := self._reason(cluster, obj):
                    address = obj.spec.ips[0] if obj.spec.ips else "no address"
                    found.append(Step("pod", address, Source(obj.key), reason, "left out"))
        return found[:_MOST_LEFT_OUT]

    def _selected(self, service: Service) -> list[Object]:
        pods = (self._view.get(key) for key in self._view.index("pods_in", service.namespace))
        return [obj for obj in pods if obj is not None and selects(service.selector or {}, obj.meta.labels)]

    def _reason(self, cluster: Any, pod: Object) -> str:  # noqa: ANN401 - Envoy's messages carry no types
        """Return why a pod of a service is no endpoint of a cluster; empty where that is not known, or it is one."""
        wanted = self._subset_labels(cluster)
        if wanted and not selects(wanted, pod.meta.labels):
            own = ", ".join(f"{name}={pod.meta.labels.get(name, '')}" for name in sorted(wanted))
            return f"its labels are {own}"
        if pod.spec.terminating:
            return "ends"
        return "" if pod.spec.ready else "not ready"

    def _subset_labels(self, cluster: Any) -> Labels:  # noqa: ANN401 - Envoy's messages carry no types
        parts = cluster.name.split("|")
        found = configured(cluster)
        rule = stated_rule(self._view, found) if found is not None else None
        subset = rule.subset(parts[2]) if rule is not None and len(parts) == _CLUSTER_PARTS else None
        return dict(subset.labels or {}) if subset is not None else {}

    def _service_named(self, host: str) -> Service | None:
        namespace, domain = self._proxy.namespace, self._registry.domain
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
        index = visible_by_host(self._view, namespace).by_host
        for candidate in (name, f"{name}.{namespace}.svc.{domain}", f"{name}.svc.{domain}", f"{name}.{domain}"):
            if held := best_namespace(index.get(candidate.lower(), ()), namespace):
                return held[0]
        return None

    def _service_at(self, address: str) -> Service | None:
        for kind in (kinds.SERVICE, kinds.SERVICE_ENTRY):
            for key in self._registry.keys(kind):
                for service in services_of(self._view, key):
                    if address in service.addresses:
                        return service
        return None

    def _gateway(self, port: int) -> Source | None:
        """Return the first Gateway of this proxy with a server at a port."""
        labels = workload(self._view, self._proxy).labels
        for key in self._registry.keys(kinds.GATEWAY):
            obj = self._view.get(key)
            if obj is None or not selects(obj.spec.selector, labels):
                continue
            for index, server in enumerate(obj.spec.servers):
                if server.port is not None and server.port.number == port:
                    return Source(key, f"spec.servers[{index}]")
        return None


def _port_index(service: Service, number: int) -> int | None:
    return next((index for index, port in enumerate(service.ports) if port.number == number), None)
