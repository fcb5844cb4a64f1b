"""Endpoints in other networks: a client reaches them through the gateways of their network.

A gateway takes the weight of what is behind it. It finds the service again by the server name of mutual TLS, so what
takes no mutual TLS is not reached. Weights of all endpoints are scaled, so that shares are whole numbers.
"""

from __future__ import annotations

import ipaddress
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from controlplane.model.proxy_class import ClientScope
from controlplane.model.service import Endpoint, Health
from controlplane.registry.labels import CLUSTER, NETWORK
from controlplane.registry.networks import NetworkGateway, NetworkGateways

MOST = 0xFFFFFFFF
"""The greatest weight. Reference: envoy.config.endpoint.v3.LbEndpoint.load_balancing_weight."""


class GatewayEndpoint(Endpoint):
    """A gateway of another network in the place of the endpoints behind it."""

    __slots__ = ()

    @property
    def cluster(self) -> str:
        """The Kubernetes cluster of the gateway, empty where it is not known."""
        return self.labels.get(CLUSTER, "")


@dataclass(frozen=True, slots=True)
class Crossing:
    """How a client reaches other networks. ``resolves``: it looks up host names itself."""

    gateways: NetworkGateways
    client: ClientScope
    cluster_id: str
    resolves: bool = False

    @property
    def matters(self) -> bool:
        """Whether networks make any difference to the client."""
        return bool(self.gateways or self.client.network_view)

    def admits(self, endpoint: Endpoint) -> bool:
        """Whether the client wants to know the endpoint, and there is a way to it.

        It always knows what is in no network. What has no address is only behind a gateway.
        """
        view = self.client.network_view
        seen = not view or not endpoint.network or endpoint.network in view
        return seen and (bool(endpoint.address) or not self.is_direct(endpoint))

    def is_direct(self, endpoint: Endpoint) -> bool:
        """Whether the client calls the endpoint at its own address; one that is in no network is outside of all."""
        if not endpoint.network or endpoint.network == self.client.network:
            return True
        return not self.gateways.leading_to(endpoint.network, self.cluster_id)

    def replaced(self, endpoints: Iterable[Endpoint], mutual: Callable[[Endpoint], bool]) -> list[Endpoint]:
        """Return the endpoints of one place with gateways, by address, for those of them in other networks."""
        if not self.gateways:
            return list(endpoints)
        found: list[Endpoint] = []
        weights: defaultdict[NetworkGateway, int] = defaultdict(int)
        for endpoint in endpoints:
            weight = min(endpoint.weight * self.gateways.scale, MOST)
            if self.is_direct(endpoint):
                found.append(endpoint._replace(weight=weight) if weight != endpoint.weight else endpoint)
                continue
            usable = [each for each in self._leading_to(endpoint) if self._fits(each)]
            if usable and mutual(endpoint):
                for gateway in usable:
                    weights[gateway] += weight // len(usable)
        return found + [_endpoint(gateway, weights[gateway]) for gateway in sorted(weights)]

    def _leading_to(self, endpoint: Endpoint) -> tuple[NetworkGateway, ...]:
        return self.gateways.leading_to(endpoint.network, self.cluster_id)

    def _fits(self, gateway: NetworkGateway) -> bool:
        """Whether the client can open a connection with mutual TLS to a gateway."""
        if not gateway.port:
            return False
        try:
            version = ipaddress.ip_address(gateway.address).version
        except ValueError:
            return self.resolves
        return self.client.ipv4 if version == 4 else self.client.ipv6  # noqa: PLR2004 - the version's name


def _endpoint(gateway: NetworkGateway, weight: int) -> GatewayEndpoint:
    stated = {CLUSTER: gateway.cluster, NETWORK: gateway.network}
    return GatewayEndpoint(
        address=gateway.address,
        port=gateway.port,
        port_name="",
        labels={name: value for name, value in stated.items() if value},
        health=Health.UNKNOWN,
        weight=min(max(weight, 1), MOST),
        tls_mode="istio",
        network=gateway.network,
    )
