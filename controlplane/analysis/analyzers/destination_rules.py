"""DestinationRules: hosts and subsets that select nothing, certificates that are not verified."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from controlplane.analysis import codes, raw
from controlplane.analysis.hosts import Destination, Destinations
from controlplane.analysis.resources import Labelled, Message, Resource, Resources, has_labels, message
from controlplane.model import kinds

_UNVERIFIED = ("SIMPLE", "MUTUAL")
_TOPOLOGY = ("topology.kubernetes.io/region", "topology.kubernetes.io/zone", "topology.istio.io/subzone")
_HOSTNAME = "kubernetes.io/hostname"


def ca_certificates(resources: Resources) -> Iterator[Message]:
    """Find TLS to servers whose certificates nobody verifies."""
    for rule in resources.of(kinds.DESTINATION_RULE):
        told = {"rule": rule.full_name, "namespace": rule.namespace, "host": raw.text(rule.spec, "host")}
        policy = raw.mapping(rule.spec, "trafficPolicy")
        if mode := _unverified(rule, raw.mapping(policy, "tls")):
            yield message(codes.NOT_VERIFIED, rule, "spec.trafficPolicy.tls", mode=mode, **told)
        for at, each in raw.mappings(policy, "portLevelSettings"):
            if mode := _unverified(rule, raw.mapping(each, "tls")):
                path = f"spec.trafficPolicy.portLevelSettings[{at}].tls"
                port = raw.number(each, "port", "number")
                yield message(codes.NOT_VERIFIED_AT_PORT, rule, path, mode=mode, port=port, **told)


def _unverified(rule: Resource, tls: Mapping[str, Any]) -> str:
    """Return the mode of TLS without verification, empty for any other; a secret that proxies fetch may verify."""
    mode = raw.text(tls, "mode")
    fetched = raw.text(tls, "credentialName") and rule.spec.get("workloadSelector") is not None
    return mode if mode in _UNVERIFIED and not raw.text(tls, "caCertificates") and not fetched else ""


def subsets(resources: Resources) -> Iterator[Message]:
    """Find hosts that no service has, and subsets that no pod is in."""
    destinations = Destinations(resources)
    workloads: Labelled[None] | None = None
    for rule in resources.of(kinds.DESTINATION_RULE):
        host = raw.text(rule.spec, "host")
        found = destinations.find(host, rule.namespace, raw.texts(rule.spec, "exportTo"))
        if found is None:
            yield message(codes.UNKNOWN_RULE_HOST, rule, "spec.host", host=host)
            continue
        for at, subset in raw.mappings(rule.spec, "subsets"):
            if workloads is None:
                workloads = Labelled((labels, None) for labels in _workloads(resources))
            labels = raw.string_map(subset, "labels")
            wanted = {**found.selector, **labels}
            if not workloads.selected(wanted) and not _has_endpoint(found, labels):
                name = raw.text(subset, "name")
                yield message(codes.SUBSET_WITHOUT_PODS, rule, f"spec.subsets[{at}].labels", subset=name)


def _workloads(resources: Resources) -> Iterator[dict[str, str]]:
    """Yield the labels of pods, with those of the places where they run, and of WorkloadEntries."""
    for pod in resources.of(kinds.POD):
        labels = dict(pod.labels)
        node = resources.find(kinds.NODE, "", name) if (name := raw.text(pod.spec, "nodeName")) else None
        if node is not None:
            labels |= {label: value for label in _TOPOLOGY if (value := node.labels.get(label))}
            labels[_HOSTNAME] = node.name
        yield labels
    for entry in resources.of(kinds.WORKLOAD_ENTRY):
        yield {**entry.labels, **raw.string_map(entry.spec, "labels")}


def _has_endpoint(found: Destination, labels: Mapping[str, str]) -> bool:
    """Whether a ServiceEntry states an endpoint with these labels."""
    stated = raw.mappings(found.resource.spec, "endpoints")
    return any(has_labels(raw.string_map(each, "labels"), labels) for _, each in stated)
