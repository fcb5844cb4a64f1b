"""WorkloadEntry and WorkloadGroup: workloads outside Kubernetes."""

from __future__ import annotations

from typing import Annotated

import re2
from pydantic import AfterValidator, Field

from controlplane.apis.common import (
    ApiModel,
    NonEmpty,
    NonNegativeInt32,
    PortNumber,
    StringMap,
    UInt32,
    at_most_one,
    rule,
)

UNIX = "unix://"
_PORT_NAME = re2.compile(r"[a-zA-Z0-9](?:[-a-zA-Z0-9]*[a-zA-Z0-9])?")
_MAX_PORT_NAME = 62


def _address(value: str) -> str:
    if value.startswith(UNIX):
        if value[len(UNIX) : len(UNIX) + 1] not in {"/", "@"}:
            message = "UDS must be an absolute path or abstract socket"
            raise ValueError(message)
        if value.endswith("/"):
            message = "UDS may not be a dir"
            raise ValueError(message)
    return value


def _port_name(value: str) -> str:
    if len(value) > _MAX_PORT_NAME or _PORT_NAME.fullmatch(value) is None:
        message = "port name must be valid"
        raise ValueError(message)
    return value


PortName = Annotated[str, AfterValidator(_port_name)]
_no_ports_on_unix = rule(
    lambda entry: not (entry.address.startswith(UNIX) and entry.has("ports")), "UDS may not include ports"
)


class WorkloadTemplate(ApiModel):
    """A workload whose address is not known yet (WorkloadGroup)."""

    address: Annotated[str, Field(max_length=256), AfterValidator(_address)] = ""
    ports: Annotated[dict[PortName, PortNumber], Field(max_length=128)] = Field(default_factory=dict)
    labels: Annotated[StringMap, Field(max_length=256)] = Field(default_factory=dict)
    network: Annotated[str, Field(max_length=2048)] = ""
    locality: Annotated[str, Field(max_length=2048)] = ""
    weight: UInt32 = 0
    service_account: Annotated[str, Field(max_length=253)] = ""

    _unix = _no_ports_on_unix


class WorkloadEntry(WorkloadTemplate):
    """One workload: an IP, a host name, or ``unix://`` with a path; ``weight`` 0 means 1.

    ``ports`` maps names of the service's ports to numbers of the workload. Without an address, ``network`` says where
    it can be reached through a gateway. Also an endpoint of a ServiceEntry.
    """

    _somewhere = rule(lambda entry: entry.has("address") or entry.has("network"), "Address is required")


class ObjectMeta(ApiModel):
    """Labels and annotations that the group's entries get."""

    labels: Annotated[StringMap, Field(max_length=256)] = Field(default_factory=dict)
    annotations: Annotated[StringMap, Field(max_length=256)] = Field(default_factory=dict)


class HTTPHeader(ApiModel):
    """A header of a probe's request."""

    name: Annotated[str, Field(pattern=r"^[-_A-Za-z0-9]+$")] = ""
    value: str = ""


def _scheme(value: str) -> str:
    if value not in {"", "HTTP", "HTTPS"}:
        message = "scheme must be one of [HTTP, HTTPS]"
        raise ValueError(message)
    return value


class HTTPHealthCheckConfig(ApiModel):
    """A probe by HTTP; empty strings mean path ``/``, scheme HTTP and the workload itself."""

    path: str = ""
    port: PortNumber
    host: str = ""
    scheme: Annotated[str, AfterValidator(_scheme)] = ""
    http_headers: tuple[HTTPHeader, ...] = ()


class TCPHealthCheckConfig(ApiModel):
    """A probe by connecting."""

    host: str = ""
    port: PortNumber


class ExecHealthCheckConfig(ApiModel):
    """A probe by running a command."""

    command: tuple[NonEmpty, ...]


class GrpcHealthCheckConfig(ApiModel):
    """A probe by gRPC's health service; ``port`` ``None`` when not given."""

    port: PortNumber | None = None
    service: str = ""


class ReadinessProbe(ApiModel):
    """When the workload is ready; 0 means the default (delay 0, timeout 1 s, period 10 s, thresholds 1 and 3)."""

    initial_delay_seconds: NonNegativeInt32 = 0
    timeout_seconds: NonNegativeInt32 = 0
    period_seconds: NonNegativeInt32 = 0
    success_threshold: NonNegativeInt32 = 0
    failure_threshold: NonNegativeInt32 = 0
    http_get: HTTPHealthCheckConfig | None = None
    tcp_socket: TCPHealthCheckConfig | None = None
    exec: ExecHealthCheckConfig | None = None
    grpc: GrpcHealthCheckConfig | None = None

    _one = at_most_one("http_get", "tcp_socket", "exec", "grpc")


class WorkloadGroup(ApiModel):
    """``spec`` of a WorkloadGroup: what the WorkloadEntries of like workloads have in common."""

    metadata: ObjectMeta | None = None
    template: WorkloadTemplate
    probe: ReadinessProbe | None = None
