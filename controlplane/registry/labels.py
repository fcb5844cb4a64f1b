"""Labels that Istio derives, and how localities are read from labels."""

from __future__ import annotations

from collections.abc import Mapping

from controlplane.model.objects import Labels
from controlplane.model.proxy import Locality

REGION = "topology.kubernetes.io/region"
ZONE = "topology.kubernetes.io/zone"
SUBZONE = "topology.istio.io/subzone"
CLUSTER = "topology.istio.io/cluster"
NETWORK = "topology.istio.io/network"
HOSTNAME = "kubernetes.io/hostname"
OLD_REGION = "failure-domain.beta.kubernetes.io/region"
OLD_ZONE = "failure-domain.beta.kubernetes.io/zone"
TLS_MODE = "security.istio.io/tlsMode"
_LOCALITY = ("topology.istio.io/locality", "istio-locality")


def labelled_locality(labels: Labels) -> Locality | None:
    """Return the locality that a pod's or entry's own label states, or ``None``."""
    for name in _LOCALITY:
        text = labels.get(name)
        if text:
            return Locality.parse(text if "/" in text else text.replace(".", "/"))
    return None


def node_locality(labels: Labels) -> Locality:
    """Return the locality of a Kubernetes node from its labels."""
    return Locality(
        labels.get(REGION) or labels.get(OLD_REGION, ""),
        labels.get(ZONE) or labels.get(OLD_ZONE, ""),
        labels.get(SUBZONE, ""),
    )


def augmented(labels: Labels, locality: Locality, cluster_id: str, network: str, node: str) -> dict[str, str]:
    """Return the labels with those of the topology added; a stated network label stays."""
    derived = {
        REGION: locality.region,
        ZONE: locality.zone,
        SUBZONE: locality.subzone,
        CLUSTER: cluster_id,
        HOSTNAME: node,
        NETWORK: labels.get(NETWORK) or network,
    }
    return {**labels, **{name: value for name, value in derived.items() if value}}


def selects(selector: Mapping[str, str], labels: Labels) -> bool:
    """Whether the labels hold every pair of the selector; an empty selector matches."""
    for name, value in selector.items():  # noqa: SIM110 - asked of every endpoint, and a generator costs more
        if labels.get(name) != value:
            return False
    return True
