"""Faults injected on purpose."""

from __future__ import annotations

from envoy.extensions.filters.http.fault.v3.fault_pb2 import FaultAbort, HTTPFault
from envoy.type.v3.percent_pb2 import FractionalPercent

from controlplane.apis.virtual_service import Abort, Delay, HTTPFaultInjection, Percent

FAULT_FILTER = "envoy.filters.http.fault"
_GRPC_STATUSES = (
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
)


def fault(stated: HTTPFaultInjection) -> HTTPFault:
    """Translate fault injection; exponential delays and HTTP/2 errors have no counterpart and are left out."""
    out = HTTPFault()
    if stated.delay is not None and stated.delay.fixed_delay is not None:
        out.delay.fixed_delay.FromTimedelta(stated.delay.fixed_delay)
        out.delay.percentage.CopyFrom(_delay_share(stated.delay))
    if stated.abort is not None:
        abort = _abort(stated.abort)
        if abort is not None:
            out.abort.CopyFrom(abort)
    return out


def millionths(percent: Percent) -> FractionalPercent:
    """Return a percentage in millionths, truncated."""
    return FractionalPercent(numerator=int(percent.value * 10_000), denominator=FractionalPercent.MILLION)


def _delay_share(delay: Delay) -> FractionalPercent:
    if delay.percentage is not None:
        return millionths(delay.percentage)
    return FractionalPercent(numerator=delay.percent, denominator=FractionalPercent.HUNDRED)


def _abort(abort: Abort) -> FaultAbort | None:
    out = FaultAbort()
    if abort.http_status is not None:
        out.http_status = abort.http_status
    elif abort.grpc_status in _GRPC_STATUSES:
        out.grpc_status = _GRPC_STATUSES.index(abort.grpc_status)
    else:
        return None
    if abort.percentage is not None:
        out.percentage.CopyFrom(millionths(abort.percentage))
    return out
