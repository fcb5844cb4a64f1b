"""ServiceEntry: services that the platform's registry does not know."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, Field

from controlplane.apis.common import ApiModel, PortNumber, WorkloadLabelSelector, at_most_one, rule
from controlplane.apis.workload_entry import WorkloadEntry


class Location(StrEnum):
    """Whether the workloads are part of the mesh."""

    MESH_EXTERNAL = "MESH_EXTERNAL"
    MESH_INTERNAL = "MESH_INTERNAL"


class Resolution(StrEnum):
    """How the addresses are found; ``NONE`` goes to wherever the caller was going."""

    NONE = "NONE"
    STATIC = "STATIC"
    DNS = "DNS"
    DNS_ROUND_ROBIN = "DNS_ROUND_ROBIN"
    DYNAMIC_DNS = "DYNAMIC_DNS"


class ServicePort(ApiModel):
    """A port; ``target_port`` ``None`` means the same number, an empty ``protocol`` TCP."""

    number: PortNumber
    protocol: Annotated[str, Field(max_length=256)] = ""
    name: Annotated[str, Field(max_length=256)]
    target_port: PortNumber | None = None


def _not_any(value: str) -> str:
    if value == "*":
        message = "hostname cannot be wildcard"
        raise ValueError(message)
    return value


def _distinct_numbers(ports: tuple[ServicePort, ...]) -> tuple[ServicePort, ...]:
    if len({port.number for port in ports}) < len(ports):
        message = "port number cannot be duplicated"
        raise ValueError(message)
    return ports


class ServiceEntry(ApiModel):
    """``spec`` of a ServiceEntry; ``addresses`` are the virtual ones callers use, IP or CIDR."""

    hosts: Annotated[tuple[Annotated[str, AfterValidator(_not_any)], ...], Field(min_length=1, max_length=256)]
    addresses: Annotated[tuple[Annotated[str, Field(max_length=64)], ...], Field(max_length=256)] = ()
    ports: Annotated[tuple[ServicePort, ...], Field(max_length=256), AfterValidator(_distinct_numbers)] = ()
    location: Location = Location.MESH_EXTERNAL
    resolution: Resolution = Resolution.NONE
    endpoints: Annotated[tuple[WorkloadEntry, ...], Field(max_length=4096)] = ()
    workload_selector: WorkloadLabelSelector | None = None
    export_to: tuple[str, ...] = ()
    subject_alt_names: tuple[str, ...] = ()

    _one = at_most_one("workload_selector", "endpoints", reason="only one of WorkloadSelector or Endpoints can be set")
    _cidr = rule(
        lambda spec: (
            spec.resolution in {Resolution.NONE, Resolution.STATIC}
            or not any("/" in address for address in spec.addresses)
        ),
        "CIDR addresses are allowed only for NONE/STATIC resolution types",
    )
    _none = rule(
        lambda spec: spec.resolution is not Resolution.NONE or not spec.has("endpoints"),
        "NONE mode cannot set endpoints",
    )
    _round_robin = rule(
        lambda spec: spec.resolution is not Resolution.DNS_ROUND_ROBIN or len(spec.endpoints) <= 1,
        "DNS_ROUND_ROBIN mode cannot have multiple endpoints",
    )
