"""Networks whose endpoints come from clusters that nobody knows."""

from __future__ import annotations

from collections.abc import Iterator

from controlplane.analysis import codes, raw
from controlplane.analysis.resources import Message, Resources, message
from controlplane.model import kinds

_MULTICLUSTER = "istio/multiCluster"
_ALWAYS = frozenset({"Kubernetes", "External", "Mock"})


def registries(resources: Resources) -> Iterator[Message]:
    """Find clusters of the networks for which there is no secret."""
    about = resources.mesh.networks_written
    if about is None:
        return
    known = set(_ALWAYS)
    for secret in resources.of(kinds.SECRET):
        if secret.labels.get(_MULTICLUSTER) == "true":
            known |= {*raw.mapping(secret.written, "data"), *raw.mapping(secret.written, "stringData")}
    for network, stated in sorted(resources.mesh.networks.networks.items()):
        for endpoint in stated.endpoints:
            registry = endpoint.from_registry
            if registry is not None and registry not in known:
                yield message(codes.UNKNOWN_REGISTRY, about, "data.meshNetworks", registry=registry, network=network)
