"""Where the other replicas of this control plane are, and what each holds.

In: the endpoints of the control plane's own Service, or the addresses of ``--peers``. Out: the load of each, as its
monitoring port says it (``/load``). What may go wrong: one that does not answer in time, or with something else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from controlplane.ads.shares import Load
from controlplane.documents.json_reader import json_value
from controlplane.documents.limits import UnreadableError
from controlplane.model.service import Health
from controlplane.registry.endpoints import endpoints
from controlplane.registry.mesh import SYSTEM_NAMESPACE
from controlplane.registry.store import Registry
from controlplane.settings import DEFAULT_REVISION, HEAVIEST, LIGHTEST, Settings

if TYPE_CHECKING:
    from aiohttp import ClientSession

MONITORING = "http-monitoring"
"""The name of the monitoring port in the Service of a control plane, as Istio calls it."""
_ANSWER_SECONDS = 3.0
_LONGEST_ANSWER = 4_096
_MOST_PROXIES = 1_000_000_000


class SilentError(Exception):
    """A replica did not say what it holds; the message says which one, and why."""


class Places(NamedTuple):
    """Monitoring ports of replicas (``HOST:PORT``). ``joined``: this replica counts only if it is among them."""

    addresses: frozenset[str]
    joined: bool


def places(settings: Settings, registry: Registry) -> Callable[[], Places]:
    """Return what says where replicas are: those of ``--peers``, else the ready endpoints of the own Service."""
    if settings.peer_addresses or settings.config_dir is not None:
        stated = Places(frozenset(settings.peer_addresses), joined=False)
        return lambda: stated
    name = "istiod" if settings.revision == DEFAULT_REVISION else f"istiod-{settings.revision}"
    key = (f"{name}.{SYSTEM_NAMESPACE}.svc.{settings.domain_suffix}", SYSTEM_NAMESPACE)

    def of_the_service() -> Places:
        found = registry.memo.outcome(endpoints, key).value or ()
        ready = (each for each in found if each.port_name == MONITORING and each.health is Health.HEALTHY)
        return Places(frozenset(_written(each.address, each.port) for each in ready), joined=True)

    return of_the_service


class Replicas:
    """Asks all other replicas what they hold."""

    def __init__(self, identity: str, where: Callable[[], Places]) -> None:
        """Ask those of ``where`` whose name is not ``identity``, which is this one's."""
        self._identity = identity
        self._where = where

    async def loads(self) -> tuple[Load, ...]:
        """Return what each other replica holds; nothing where there is no other, or this one is not among them yet.

        Raises:
            SilentError: one of them does not say it.
        """
        found = self._where()
        if not found.addresses:
            return ()
        import aiohttp  # noqa: PLC0415 - it takes long, and no proxy needs to wait for it

        timeout = aiohttp.ClientTimeout(total=_ANSWER_SECONDS)
        async with aiohttp.ClientSession(
            timeout=timeout, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False
        ) as session:
            answers = await asyncio.gather(*(_asked(session, address) for address in sorted(found.addresses)))
        loads = dict(answers)  # by name: one that has two addresses counts once
        own = loads.pop(self._identity, None)
        return () if own is None and found.joined else tuple(loads.values())


async def _asked(session: ClientSession, address: str) -> tuple[str, Load]:
    """Return the name and the load of a replica."""
    from aiohttp import ClientError  # noqa: PLC0415 - as above

    try:
        async with session.get(f"http://{address}/load", allow_redirects=False) as response:
            body = bytearray()
            async for chunk in response.content.iter_chunked(_LONGEST_ANSWER):
                body += chunk
                if len(body) > _LONGEST_ANSWER:
                    raise SilentError(f"{address}: the answer is longer than {_LONGEST_ANSWER} bytes")
    except (ClientError, OSError, ValueError) as error:
        reason = "no answer in time" if isinstance(error, TimeoutError) else str(error) or type(error).__name__
        raise SilentError(f"{address}: {reason}") from error
    if response.status != 200:  # noqa: PLR2004 - of HTTP
        raise SilentError(f"{address}: status {response.status}")
    try:
        return _load(json_value(bytes(body), limit=_LONGEST_ANSWER))
    except (UnreadableError, KeyError, TypeError, ValueError) as error:
        raise SilentError(f"{address}: the answer is not what a replica says") from error


def _load(answer: Mapping[str, Any]) -> tuple[str, Load]:
    name, proxies, weight = answer["replica"], answer["proxies"], answer["weight"]
    if not isinstance(name, str) or type(proxies) is not int or not 0 <= proxies <= _MOST_PROXIES:
        raise ValueError(name, proxies)
    if not isinstance(weight, int | float) or not LIGHTEST <= weight <= HEAVIEST:
        raise ValueError(name, weight)
    return name, Load(proxies, float(weight))


def _written(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
