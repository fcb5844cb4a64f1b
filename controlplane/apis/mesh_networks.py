"""MeshNetworks: who is in which network, and its gateways. Source: ConfigMap ``istio``, key ``meshNetworks``."""

from __future__ import annotations

from pydantic import Field

from controlplane.apis.common import ApiModel, UInt32, at_most_one


class NetworkEndpoints(ApiModel):
    """Endpoints of a network: those of a Kubernetes cluster by its id, or addresses in a CIDR."""

    from_cidr: str | None = None
    from_registry: str | None = None

    _one = at_most_one("from_cidr", "from_registry")


class NetworkGateway(ApiModel):
    """A gateway into a network: an address, or a Kubernetes service by its host name; ``locality`` ``a/b/c``."""

    address: str | None = None
    registry_service_name: str | None = None
    port: UInt32 = 0
    locality: str = ""

    _one = at_most_one("address", "registry_service_name")


class Network(ApiModel):
    """One network."""

    endpoints: tuple[NetworkEndpoints, ...] = ()
    gateways: tuple[NetworkGateway, ...] = ()


class MeshNetworks(ApiModel):
    """All networks by name."""

    networks: dict[str, Network] = Field(default_factory=dict)
