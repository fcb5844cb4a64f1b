"""The order of containers: who starts before whom."""

from __future__ import annotations

from controlplane.injector.containers import CORE_DUMP, INIT, PROXY, VALIDATION, Container


def ordered(containers: list[Container], *, proxy_first: bool) -> list[Container]:
    """Return containers with the proxy first where the application waits for it, else last (for ``kubectl exec``)."""
    return _moved(containers, PROXY, first=proxy_first)


def ordered_init(containers: list[Container], *, native: bool) -> list[Container]:
    """Return init containers in their order.

    With a native sidecar traffic is led through the proxy, and the proxy runs, before all others. Without one it can
    only begin when the others, which have no proxy yet, have ended; but a check of the redirection comes first.
    """
    if native:
        for name in (CORE_DUMP, PROXY, INIT, VALIDATION):
            containers = _moved(containers, name, first=True)
        return containers
    containers = _moved(containers, VALIDATION, first=True)
    for name in (INIT, CORE_DUMP):
        containers = _moved(containers, name, first=False)
    return containers


def _moved(containers: list[Container], name: str, *, first: bool) -> list[Container]:
    chosen = [each for each in containers if each.get("name") == name]
    others = [each for each in containers if each.get("name") != name]
    return chosen + others if first else others + chosen
