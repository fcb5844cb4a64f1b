"""Manifests as people write them, completed by what a cluster would add: pods, their addresses, EndpointSlices.

A Deployment becomes one ready pod from its template, a Service without ``clusterIP`` gets an address, and a Service
with a selector and no EndpointSlice gets one of the pods that it selects. What is written is never changed. Addresses
are of the range for benchmarks (RFC 2544), given in the order of the names, so that equal manifests give equal ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address
from typing import Any

from controlplane.model import kinds
from controlplane.model.kubernetes import KubeService, Pod
from controlplane.model.objects import ChangeSet, Object, ObjectKey, Rejected
from controlplane.model.parse import Parsed
from controlplane.registry.labels import TLS_MODE, selects
from controlplane.watchers.kinds import Unused, parse

_POD_RANGE = IPv4Address("198.18.0.0")
_SERVICE_RANGE = IPv4Address("198.19.0.0")
WORKLOADS = frozenset({"Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job"})
"""The kinds that stand for a pod."""
_DISABLED = frozenset({"false", "disabled"})
_MOST = 65_000

Raw = Mapping[str, Any]
_Named = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Manifest:
    """One object as it was read, and where (``file:line``)."""

    value: Any
    source: str


@dataclass(slots=True)
class Manifests:
    """Objects as the control plane takes them, refused ones with every reason, and what nothing here reads."""

    objects: list[Object] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    assumed: int = 0
    addresses: dict[_Named, str] = field(default_factory=dict)
    """The addresses that were given, by kind, namespace and name."""
    assumed_pods: dict[ObjectKey, str] = field(default_factory=dict)
    """The workloads that pods stand for (``Deployment shop/web``), by the pods' keys."""

    @classmethod
    def of(cls, manifests: Iterable[Manifest], before: Manifests | None = None) -> Manifests:
        """Read manifests and complete them; of two with one name the first counts.

        What ``before`` has an address for keeps it, so that what is new moves nobody.
        """
        held, found = list(manifests), cls()
        taken: dict[ObjectKey, str] = {}
        workloads: dict[ObjectKey, Manifest] = {}
        for each in held:
            result = parse(each.value, each.source)
            key = result.object.key if isinstance(result, Parsed) else result.key
            if isinstance(result, Rejected):
                found.rejected.append(result)
            elif isinstance(result, Unused) and not _is_workload(each.value):
                continue
            elif key in taken:
                reason = f"metadata.name: already defined in {taken[key]}, which is used"
                found.rejected.append(Rejected(key, (reason,), each.source))
            else:
                taken[key] = each.source
                if isinstance(result, Parsed):
                    found.objects.append(result.object)
                else:
                    workloads[key] = each
        for key, instead in {each.key: each.stand_in for each in reversed(found.rejected)}.items():
            if instead is not None and key not in taken:
                found.objects.append(instead)
        found._complete(list(workloads.values()), before.addresses if before is not None else {})
        return found

    def change_set(self) -> ChangeSet:
        """Return all objects as one change."""
        return ChangeSet(tuple(self.objects), (), tuple(self.rejected))

    def _complete(self, workloads: list[Manifest], known: Mapping[_Named, str]) -> None:
        injected = {obj.meta.name: _injects(obj.meta.labels) for obj in self.objects if obj.kind.name == "Namespace"}
        every = {("Pod", _namespace(each.value), each.value["metadata"]["name"]): each for each in workloads}
        addresses = _addresses(every, _POD_RANGE, known)
        for key, address in addresses.items():
            self._add(_pod(every[key].value, address, injected), every[key].source)
            pod = ObjectKey(kinds.POD, key[1], f"{key[2]}-0")
            self.assumed_pods[pod] = f"{every[key].value['kind']} {key[1]}/{key[2]}"
        self.addresses |= addresses
        self._address_services(known)
        self._fill_services()

    def _add(self, raw: Raw, source: str) -> None:
        result = parse(raw, source)
        if isinstance(result, Parsed):
            self.objects.append(result.object)
            self.assumed += 1
        elif isinstance(result, Rejected):
            self.rejected.append(result)

    def _address_services(self, known: Mapping[_Named, str]) -> None:
        """Give each Service that wants an address and states none one."""
        wanting = [
            ("Service", obj.meta.namespace, obj.meta.name)
            for obj in self.objects
            if isinstance(obj.spec, KubeService) and not obj.spec.cluster_ips and obj.spec.type != "ExternalName"
        ]
        addresses = _addresses(wanting, _SERVICE_RANGE, known)
        self.addresses |= addresses
        self.objects = [_addressed(obj, addresses) for obj in self.objects]

    def _fill_services(self) -> None:
        """Give each Service with a selector and without EndpointSlices one of the pods that it selects."""
        filled = {(obj.meta.namespace, obj.spec.service) for obj in self.objects if obj.kind.name == "EndpointSlice"}
        pods: dict[str, list[Object]] = {}
        for obj in self.objects:
            if isinstance(obj.spec, Pod) and obj.spec.ips:
                pods.setdefault(obj.meta.namespace, []).append(obj)
        for obj in tuple(self.objects):
            spec = obj.spec
            if not isinstance(spec, KubeService) or not spec.selector:
                continue
            if (obj.meta.namespace, obj.meta.name) in filled:
                continue
            chosen = [pod for pod in pods.get(obj.meta.namespace, ()) if selects(spec.selector, pod.meta.labels)]
            if chosen:
                self._add(_slice(obj, chosen), obj.meta.source)


def _is_workload(value: Any) -> bool:  # noqa: ANN401 - unread YAML
    if not isinstance(value, dict) or value.get("kind") not in WORKLOADS:
        return False
    template = (value.get("spec") or {}).get("template") if isinstance(value.get("spec"), dict) else None
    meta = value.get("metadata")
    return isinstance(template, dict) and isinstance(meta, dict) and isinstance(meta.get("name"), str)


def _namespace(raw: Raw) -> str:
    return str(raw["metadata"].get("namespace") or "default")


def _injects(labels: Mapping[str, str]) -> bool:
    return labels.get("istio-injection") == "enabled" or bool(labels.get("istio.io/rev"))


def _pod(workload: Raw, address: str, injected: Mapping[str, bool]) -> Raw:
    """Return one ready pod of a workload, as its controller and the sidecar injector would make it."""
    template = workload["spec"]["template"]
    meta, namespace = dict(template.get("metadata") or {}), _namespace(workload)
    labels = {str(name): str(value) for name, value in (meta.get("labels") or {}).items()}
    asked = labels.get("sidecar.istio.io/inject", (meta.get("annotations") or {}).get("sidecar.istio.io/inject", ""))
    proxied = asked == "true" or (injected.get(namespace, True) and asked not in _DISABLED)
    if proxied:
        labels.setdefault(TLS_MODE, "istio")
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {**meta, "name": f"{workload['metadata']['name']}-0", "namespace": namespace, "labels": labels},
        "spec": template.get("spec") or {},
        "status": {
            "phase": "Running",
            "podIP": address,
            "podIPs": [{"ip": address}],
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }


def _addresses(names: Iterable[_Named], base: IPv4Address, known: Mapping[_Named, str]) -> dict[_Named, str]:
    """Return an address of a range for each name, in their order; a known one is kept."""
    taken = set(known.values())
    free = (address for number in range(1, _MOST + 1) if (address := str(base + number)) not in taken)
    found: dict[_Named, str] = {}
    for name in sorted(names):
        if address := known.get(name) or next(free, ""):
            found[name] = address
    return found


def _addressed(obj: Object, addresses: Mapping[_Named, str]) -> Object:
    named = ("Service", obj.meta.namespace, obj.meta.name)
    address = addresses.get(named) if isinstance(obj.spec, KubeService) else None
    return replace(obj, spec=replace(obj.spec, cluster_ips=(address,))) if address else obj


def _slice(service: Object, pods: list[Object]) -> Raw:
    spec: KubeService = service.spec
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": f"{service.meta.name}-assumed",
            "namespace": service.meta.namespace,
            "labels": {"kubernetes.io/service-name": service.meta.name},
        },
        "addressType": "IPv6" if ":" in pods[0].spec.ips[0] else "IPv4",
        "ports": list(_ports(spec, pods[0].spec)),
        "endpoints": [
            {
                "addresses": [pod.spec.ips[0]],
                "conditions": {"ready": pod.spec.ready},
                "targetRef": {"kind": "Pod", "name": pod.meta.name, "namespace": pod.meta.namespace},
            }
            for pod in pods
        ],
    }


def _ports(service: KubeService, pod: Pod) -> Iterator[Raw]:
    """Yield the ports of a Service as its pods have them; one whose name no container has is left out."""
    for port in service.ports:
        number = port.target_port or port.number
        if isinstance(number, str):
            number = next((held.number for held in pod.ports if held.name == port.target_port), 0)
        if number:
            yield {"name": port.name, "port": number, "protocol": port.protocol}
