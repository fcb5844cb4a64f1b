"""Merging of metrics: Prometheus asks the agent, and the agent asks the application where its annotations said."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from controlplane.injector.annotations import boolean
from controlplane.injector.errors import InjectionError

ENVIRONMENT = "ISTIO_PROMETHEUS_ANNOTATIONS"
MERGE = "prometheus.istio.io/merge-metrics"
TARGETS = "prometheus.istio.io/scrape-targets"
SECURE_PORT = "prometheus.istio.io/secure-port"
SECURE_PORT_ENVIRONMENT = "ENVOY_SECURE_MERGED_METRICS_PORT"
_PREFIX = "prometheus_io_"
_PATH = "/stats/prometheus"
_MAX_PORT = 65535
RESERVED = {
    15000: "the proxy's administration",
    15001: "outbound traffic",
    15004: "debugging",
    15006: "inbound traffic",
    15008: "tunnels of the mesh",
    15020: "the agent",
    15021: "health of the proxy",
    15053: "DNS",
    15090: "metrics of the proxy",
}
"""Ports of a pod that are not the application's, and whose they are."""


def moved_annotations(
    annotations: Mapping[str, str], *, by_default: bool, status_port: int
) -> tuple[dict[str, str], str] | None:
    """Return the annotations for a merge, and the variable for the agent (empty: nothing to tell).

    ``None`` where metrics are not merged: the pod says so, or the mesh (``by_default``), or it was done before.

    Raises:
        InjectionError: a port or a target cannot be scraped.
    """
    stated = {name: value for name, value in annotations.items() if _word(name)}
    words = {_word(name): value for name, value in stated.items()}
    wanted = boolean(annotations.get(MERGE, ""))
    if boolean(words.get("scrape", "")) is False or not (by_default if wanted is None else wanted):
        return None
    port = words.get("port", "")
    if port == str(status_port):
        return None
    told: dict[str, Any] = {name: words.get(name, "") for name in ("scrape", "path", "port")}
    if port:
        _check_port(next(name for name in stated if _word(name) == "port"), port, status_port)
    if TARGETS in annotations:
        targets = _targets(annotations[TARGETS], status_port)
        told = {"scrape": told["scrape"] or "true", "path": targets[0]["path"], "port": targets[0]["port"]}
        told["targets"] = targets
    kept = {name: value for name, value in annotations.items() if name not in stated and name != TARGETS}
    changed = {
        **kept,
        "prometheus.io/port": str(status_port),
        "prometheus.io/path": _PATH,
        "prometheus.io/scrape": "true",
    }
    if not any(told.values()):
        return changed, ""
    return changed, json.dumps(told, separators=(",", ":"), ensure_ascii=False)


def without_moved(annotations: Mapping[str, str], status_port: int) -> dict[str, str]:
    """Return the annotations of an injected pod without those of the merge."""
    words = {_word(name): value for name, value in annotations.items()}
    if words.get("port") != str(status_port):
        return dict(annotations)
    return {name: value for name, value in annotations.items() if not _word(name)}


def _word(name: str) -> str:
    """Return ``scrape``, ``port`` or ``path`` for an annotation that states it, however it is spelt; else nothing."""
    if not name.startswith("prometheus"):
        return ""
    plain = "".join(char if char.isascii() and char.isalnum() else "_" for char in name)
    word = plain.removeprefix(_PREFIX)
    return word if word != plain and word in ("scrape", "port", "path") else ""


def _check_port(name: str, text: str, status_port: int) -> None:
    try:
        _check_number(text, status_port)
    except InjectionError as error:
        reason = f"failed to process pod: invalid prometheus scrape configuration: {error} (annotation {name})"
        raise InjectionError(reason) from error


def _check_number(text: str, status_port: int) -> None:
    good = text.isascii() and text.isdigit() and len(text) <= len(str(_MAX_PORT)) and 1 <= int(text) <= _MAX_PORT
    if not good:
        raise InjectionError(f'invalid port "{text[:50]}"')
    port = int(text)
    if port == status_port:
        raise InjectionError(f"port {port} conflicts with agent port")
    if port in RESERVED:
        raise InjectionError(f"port {port} is reserved for {RESERVED[port]} and cannot be scraped")


def _targets(text: str, status_port: int) -> list[dict[str, str]]:
    try:
        return [_target(each.strip(), status_port) for each in text.split(",")]
    except InjectionError as error:
        reason = f"failed to process pod: invalid prometheus scrape targets: {error} (annotation {TARGETS})"
        raise InjectionError(reason) from error


def _target(text: str, status_port: int) -> dict[str, str]:
    port, _, path = text.partition(":")
    _check_number(port, status_port)
    if path and not path.startswith("/"):
        raise InjectionError(f'path "{path[:50]}" does not begin with a slash')
    return {"port": port, "path": path or "/metrics"}
