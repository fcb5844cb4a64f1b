"""PeerAuthentication: whether workloads take only mutual TLS."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, Field

from controlplane.apis.common import MAX_PORT, ApiModel, WorkloadSelector, rule


class MutualTLSMode(StrEnum):
    """``UNSET`` takes the wider policy's mode, and ``PERMISSIVE`` where there is none."""

    UNSET = "UNSET"
    DISABLE = "DISABLE"
    PERMISSIVE = "PERMISSIVE"
    STRICT = "STRICT"


class MutualTLS(ApiModel):
    """A mode."""

    mode: MutualTLSMode = MutualTLSMode.UNSET


def _port(number: int) -> int:
    if not 0 < number <= MAX_PORT:
        message = "port must be between 1-65535"
        raise ValueError(message)
    return number


class PeerAuthentication(ApiModel):
    """``spec`` of a PeerAuthentication; ``port_level_mtls`` is by the workload's port. No selector: the namespace."""

    selector: WorkloadSelector | None = None
    mtls: MutualTLS | None = None
    port_level_mtls: dict[Annotated[int, AfterValidator(_port)], MutualTLS] = Field(default_factory=dict)

    _ports_need_selector = rule(
        lambda spec: not spec.has("port_level_mtls") or bool(spec.selector and spec.selector.match_labels),
        "portLevelMtls requires selector",
    )


class StrictInstead(PeerAuthentication):
    """What stands for a PeerAuthentication that cannot be used: of its modes only ``STRICT`` counts.

    It makes nothing weaker: ``UNSET`` of a port leaves the port as it is without the policy. A selector without labels
    is for every workload of the namespace, also those that another policy selects.
    """
