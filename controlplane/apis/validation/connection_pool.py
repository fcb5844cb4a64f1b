"""Rules of connection pools and outlier detection, which DestinationRule and Sidecar share."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from controlplane.apis.common import MAX_UINT32
from controlplane.apis.destination_rule import H2UpgradePolicy

if TYPE_CHECKING:
    from controlplane.apis.destination_rule import (
        ConnectionPoolSettings,
        OutlierDetection,
        TcpKeepalive,
        TCPSettings,
    )
    from controlplane.apis.validation.report import Report

_COUNTS = (
    "http1_max_pending_requests",
    "http2_max_requests",
    "max_requests_per_connection",
    "max_retries",
    "max_concurrent_streams",
)


def check_connection_pool(report: Report, path: str, pool: ConnectionPoolSettings) -> None:
    """Something is set, and nothing is negative or contradicts."""
    if pool.tcp is None and pool.http is None:
        report.error(path, "tcp or http is required")
    if pool.tcp is not None:
        _check_tcp(report, f"{path}.tcp", pool.tcp)
    http = pool.http
    if http is not None:
        for name in _COUNTS:
            if getattr(http, name) < 0:
                report.error(f"{path}.http.{type(http).model_fields[name].alias}", "must not be negative")
        if http.h2_upgrade_policy is H2UpgradePolicy.UPGRADE and http.use_client_protocol:
            report.error(f"{path}.http", "h2UpgradePolicy UPGRADE contradicts useClientProtocol")
        alive = http.http2_keep_alive
        if alive is not None and (alive.interval is None or alive.timeout is None):
            report.error(f"{path}.http.http2KeepAlive", "interval and timeout are required")


def _check_tcp(report: Report, path: str, tcp: TCPSettings) -> None:
    if tcp.max_connections < 0:
        report.error(f"{path}.maxConnections", "must not be negative")
    if tcp.tcp_keepalive is not None:
        check_keepalive(report, f"{path}.tcpKeepalive", tcp.tcp_keepalive)


def check_keepalive(report: Report, path: str, keepalive: TcpKeepalive) -> None:
    """Seconds that fit into 32 bits."""
    for name in ("time", "interval"):
        length = getattr(keepalive, name)
        if length is not None and length > timedelta(seconds=MAX_UINT32):
            report.error(f"{path}.{name}", f"must be at most {MAX_UINT32} seconds")


def check_outlier_detection(report: Report, path: str, outlier: OutlierDetection) -> None:
    """Percentages, and counters that go together."""
    for name, value in (
        ("maxEjectionPercent", outlier.max_ejection_percent),
        ("minHealthPercent", outlier.min_health_percent),
    ):
        if not 0 <= value <= 100:  # noqa: PLR2004 - percent
            report.error(f"{path}.{name}", f"{value} must be in the range 0-100")
    if outlier.consecutive_errors:
        report.warn(f"{path}.consecutiveErrors", "is deprecated, use consecutive5xxErrors or consecutiveGatewayErrors")
    if outlier.consecutive_local_origin_failures and not outlier.split_external_local_origin_errors:
        report.error(f"{path}.consecutiveLocalOriginFailures", "needs splitExternalLocalOriginErrors")
