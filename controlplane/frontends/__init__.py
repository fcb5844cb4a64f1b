"""Foreign kinds, read as Istio's: what the mesh makes of an Ingress is a Gateway and a VirtualService.

Each module gives queries of the registry that return such objects; ``FRONTENDS`` names them for the ``Registry``.
"""

from controlplane.frontends.ingress import INGRESS_ROUTES, ingress_gateways, ingress_route_keys, ingress_virtual_service
from controlplane.frontends.unserved_ingress import unserved_parts
from controlplane.registry.store import Frontends, RoutesFrontend

__all__ = ["FRONTENDS"]

FRONTENDS = Frontends(
    gateways=(ingress_gateways,),
    virtual_services={INGRESS_ROUTES: RoutesFrontend(ingress_route_keys, ingress_virtual_service)},
    unserved=(unserved_parts,),
)
