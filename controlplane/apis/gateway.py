"""Gateway: the ports and hosts that a proxy at the edge serves."""

from __future__ import annotations

from pydantic import Field

from controlplane.apis.common import ApiModel, Port, StringMap
from controlplane.apis.tls import ServerTLSMode, ServerTLSSettings, TLSCertificate

__all__ = ["Gateway", "Port", "Server", "ServerTLSMode", "ServerTLSSettings", "TLSCertificate"]


class Server(ApiModel):
    """One port with the hosts it serves, each ``host`` or ``namespace/host``; an empty ``bind`` means all addresses."""

    port: Port
    bind: str = ""
    hosts: tuple[str, ...]
    tls: ServerTLSSettings | None = None
    default_endpoint: str = ""
    name: str = ""


class Gateway(ApiModel):
    """``spec`` of a Gateway; an empty ``selector`` applies to every gateway proxy that may see it."""

    servers: tuple[Server, ...] = ()
    selector: StringMap = Field(default_factory=dict)
