"""Where ``--live`` finds the Envoy of a proxy, and what that holds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from controlplane.cli.asking.where import Where
from controlplane.cli.fetch import ENVOY_ADMIN, Unanswered, fetch_json
from controlplane.cli.proxy_config.dump import Dump, NotADump

_ADMIN_PORT = 15000


def held_by(proxy: str, admin: str, where: Where) -> dict[str, Any]:
    """Return what the Envoy of a proxy (``NAME.NAMESPACE``) holds of what came over xDS, as lists of JSON.

    Without ``admin``, its admin port, it is found through the API server where a cluster is named, else on this
    machine.

    Raises:
        Unanswered: it cannot be reached, or is another's.
    """
    with admin_port(proxy, admin, where) as address:
        return _of(proxy, address)


@contextmanager
def admin_port(proxy: str, admin: str, where: Where) -> Iterator[str]:
    """Give the address of the admin port of a proxy's Envoy (``NAME.NAMESPACE``), until the end: see ``held_by``."""
    if admin or not proxy or not where.is_a_cluster:
        yield admin or ENVOY_ADMIN
        return
    from controlplane.cli.asking.pods import forwarded

    name, _, namespace = proxy.rpartition(".")
    if not name:
        raise Unanswered(f"{proxy!r} does not say whose Envoy is meant: name it as NAME.NAMESPACE")
    with forwarded(where.kubeconfig, where.context, namespace, _ADMIN_PORT, name) as ((_, address),):
        yield address


def _of(proxy: str, address: str) -> dict[str, Any]:
    try:
        dump = Dump.of(fetch_json(address, "/config_dump?include_eds", "Envoy"))
    except NotADump as error:
        raise Unanswered(f"Envoy at {address}: {error}") from error
    node = dump.node_id()
    if node and proxy not in node.split("~"):
        raise Unanswered(f"the Envoy at {address} calls itself {node}, not {proxy}; name that one's with --admin")
    return {
        "listeners": dump.listeners(dynamic=True),
        "routes": dump.routes(dynamic=True),
        "clusters": dump.clusters(dynamic=True),
        "endpoints": dump.load_assignments(dynamic=True),
    }
