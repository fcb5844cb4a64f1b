"""MeshNetworks: who is in which network, and its gateways. Source: ConfigMap ``istio``, key ``meshNetworks``."""

from __future__ import annotations

import ipaddress
from typing import Annotated

from pydantic import AfterValidator, Field

from controlplane.apis.common import ApiModel, PortNumber, at_most_one
from controlplane.apis.validation.primitives import is_fqdn
from controlplane.documents.words import is_ip


def _range(text: str) -> str:
    if "/" not in text:
        raise ValueError("must be a range of addresses, such as 10.0.0.0/8")
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError as error:
        raise ValueError("must be a range of addresses, such as 10.0.0.0/8") from error
    return text


def _place(text: str) -> str:
    if not is_ip(text) and not is_fqdn(text):
        raise ValueError("must be an IP address or a host name")
    return text


def _host(text: str) -> str:
    if not is_fqdn(text):
        raise ValueError("must be a host name")
    return text


class NetworkEndpoints(ApiModel):
    """Endpoints of a network: those of a Kubernetes cluster by its id, or addresses in a CIDR."""

    from_cidr: Annotated[str, AfterValidator(_range)] | None = None
    from_registry: str | None = None

    _one = at_most_one("from_cidr", "from_registry")


class NetworkGateway(ApiModel):
    """A gateway into a network: an address, or a Kubernetes service by its host name; ``locality`` ``a/b/c``."""

    address: Annotated[str, AfterValidator(_place)] | None = None
    registry_service_name: Annotated[str, AfterValidator(_host)] | None = None
    port: PortNumber
    locality: str = ""

    _one = at_most_one("address", "registry_service_name")


class Network(ApiModel):
    """One network."""

    endpoints: tuple[NetworkEndpoints, ...] = ()
    gateways: tuple[NetworkGateway, ...] = ()


class MeshNetworks(ApiModel):
    """All networks by name."""

    networks: dict[str, Network] = Field(default_factory=dict)
