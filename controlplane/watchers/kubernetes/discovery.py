"""Which API versions the server serves now, so that a kind joins when its definition is installed.

One request answers it for all groups (aggregated discovery, Kubernetes 1.27 and later), and with its ETag costs an
empty answer while nothing changes; nobody needs a permission for it. A watch of CustomResourceDefinitions would
report sooner, but transfers every schema in the cluster, and tells of a definition before it is served.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import structlog

from controlplane.backoff import Backoff
from controlplane.documents.json_reader import json_value
from controlplane.watchers.kubernetes.errors import NonsenseError, RefusedError, UnreachableError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from controlplane.watchers.kubernetes.api import Api
    from controlplane.watchers.kubernetes.reflector import Reflector
    from controlplane.watchers.kubernetes.resources import Resource
    from controlplane.watchers.kubernetes.timing import Timing

log = structlog.get_logger()

ACCEPT = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"

Served = dict[tuple[str, str], list[str]]
"""The API versions in which (group, plural) is served, in the server's order of preference."""


class Discovery:
    """Tells reflectors of resources that may come and go in which version they are served."""

    def __init__(self, api: Api, reflectors: Collection[Reflector], timing: Timing) -> None:
        self.problem = ""
        self._api = api
        self._reflectors = reflectors
        self._timing = timing
        self._backoff = Backoff(timing.first_pause, timing.longest_pause)

    async def run(self) -> None:
        """Ask until cancelled."""
        etag = ""
        now: Served = {}
        while True:
            try:
                body, new_etag = await self._api.probe("/apis", ACCEPT, etag)
                now = served(body) if body else now
                etag = new_etag
                self._tell(now)
                self.problem = ""
                self._backoff.reset()
                await asyncio.sleep(self._timing.discovery)
            except (RefusedError, NonsenseError) as error:
                if str(error) != self.problem:
                    log.warning("watchers.discovery_failed", reason=str(error))
                self.problem = str(error)
                await asyncio.sleep(self._backoff.pause(getattr(error, "retry_after_seconds", 0.0)))
            except UnreachableError as error:
                self.problem = str(error)  # not logged here: it is the same for everything
                await asyncio.sleep(self._backoff.pause())

    def _tell(self, now: Served) -> None:
        """Tell what is served, also when that is as before: a definition may have been replaced in between."""
        for reflector in self._reflectors:
            reflector.serve(preferred(reflector.resource, now))


def preferred(resource: Resource, now: Served) -> str | None:
    """Return the version to read: the server's first choice of those that are understood; ``None`` for none."""
    return next(
        (version for version in now.get((resource.group, resource.plural), ()) if version in resource.versions), None
    )


def served(body: bytes) -> Served:
    """Read an answer.

    Raises:
        NonsenseError: it is none that this server should give.
    """
    try:
        groups = json_value(body)
        found: Served = {}
        if groups["kind"] != "APIGroupDiscoveryList":
            raise NonsenseError("no aggregated discovery, which Kubernetes has since 1.27")
        for group in groups["items"]:
            for version, plural in _resources(group.get("versions") or ()):
                found.setdefault((group["metadata"]["name"], plural), []).append(version)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise NonsenseError("a list of API groups that is none") from None
    return found


def _resources(versions: Iterable[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    for version in versions:
        for resource in version.get("resources") or ():
            yield version["version"], resource["resource"]
