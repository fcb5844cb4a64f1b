"""Resolves the host names of gateways between networks, for proxies that are told addresses alone.

In: the names that the registry wants. Out: their addresses, as objects of the registry, whenever they are others. What
may go wrong: a server of names that does not answer. Then what was found before stays, and it is asked again. A name
that is not there, or has no address, has none. Of the addresses of a name a bounded number counts, and none to which no
proxy is sent, such as a loopback address; why is among the ``problems``.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import structlog

from controlplane.model.objects import ChangeSet
from controlplane.registry.environment import GATEWAY_NAMES, is_false
from controlplane.registry.networks import gateway_names, unusable, unusable_gateways
from controlplane.registry.resolved_names import found_addresses, name_key
from controlplane.registry.store import Registry

if TYPE_CHECKING:
    from dns.asyncresolver import Resolver

AGAIN_SECONDS = 30.0
"""How long a name is believed. Source: istiod, which asks no less often whatever the record's own time is."""
FIRST_SECONDS = 5.0
"""How long proxies wait for the first answers, at most."""
MOST_ADDRESSES = 64
"""How many addresses of one name count: each endpoint of a network is shared among them."""
_AT_ONCE = 16
_NAMED = 3
_TYPES = ("A", "AAAA")

log = structlog.get_logger(__name__)


class GatewayNames:
    """Keeps the addresses of all wanted names while ``run`` runs, which may be cancelled and run again."""

    def __init__(
        self,
        registry: Registry,
        add: Callable[[ChangeSet], None],
        environment: Mapping[str, str],
        resolver: Resolver | None = None,
        again_seconds: float = AGAIN_SECONDS,
    ) -> None:
        """Give changes to ``add``. Of the environment ``RESOLVE_HOSTNAME_GATEWAYS`` counts: false asks for nothing.

        Without a ``resolver`` the system's servers of names are asked.
        """
        self._registry = registry
        self._add = add
        self._asks = not is_false(environment.get(GATEWAY_NAMES, ""))
        self._resolver = resolver
        self._again_seconds = again_seconds
        self._wanted: frozenset[str] = frozenset()
        self._found: dict[str, tuple[str, ...]] = {}
        self._problems: dict[str, str] = {}
        self._unusable: Mapping[str, str] = {}
        self._woken = asyncio.Event()
        self._places = asyncio.Semaphore(_AT_ONCE)
        registry.memo.keep(gateway_names, ())
        registry.memo.keep(unusable_gateways, ())

    @property
    def problems(self) -> tuple[str, ...]:
        """Which gateways have no addresses, or not all, or perhaps old ones, and why: one sentence each."""
        stated = {address: _no_proxy_is_sent(word) for address, word in self._unusable.items()}
        return tuple(
            f"gateway {name}: {reason}" for name, reason in sorted((stated | self._problems).items()) if reason
        )

    def changed(self) -> None:
        """Look again what is wanted: objects changed."""
        unusable_now = self._registry.memo.get(unusable_gateways, ())
        for address in unusable_now.keys() - self._unusable.keys():
            reason = _no_proxy_is_sent(unusable_now[address])
            log.warning("networks.gateway_unusable", address=address, reason=reason)
        self._unusable = unusable_now
        wanted = self._registry.memo.get(gateway_names, ()) if self._asks else frozenset()
        if wanted != self._wanted:
            self._wanted = wanted
            self._woken.set()

    async def first(self) -> ChangeSet:
        """Return what is found, in a short time, of the names that are wanted now."""
        self.changed()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FIRST_SECONDS):
                await asyncio.gather(*(self._ask(name) for name in self._wanted))
        return ChangeSet(upserts=tuple(found_addresses(*each) for each in sorted(self._found.items()) if each[1]))

    async def run(self) -> None:
        """Ask for each wanted name, again and again, until cancelled."""
        asking: dict[str, asyncio.Task[None]] = {}
        async with asyncio.TaskGroup() as group:  # the failure of one ends all
            while True:
                self._woken.clear()
                for name in asking.keys() - self._wanted:
                    asking.pop(name).cancel()
                for name in self._found.keys() - self._wanted:
                    self._forget(name)
                for name in self._wanted - asking.keys():
                    asking[name] = group.create_task(self._follow(name))
                await self._woken.wait()

    async def _follow(self, name: str) -> None:
        if name in self._found:  # by ``first``, or before all was begun again
            await asyncio.sleep(self._again_seconds)
        while True:
            if await self._ask(name):
                held = self._found[name]
                self._add(
                    ChangeSet(upserts=(found_addresses(name, held),)) if held else ChangeSet(deletes=(name_key(name),))
                )
            await asyncio.sleep(self._again_seconds)

    def _forget(self, name: str) -> None:
        self._problems.pop(name, None)
        if self._found.pop(name, ()):
            self._add(ChangeSet(deletes=(name_key(name),)))

    async def _ask(self, name: str) -> bool:
        """Ask for the addresses of a name; return whether they are others than before."""
        before = self._found.get(name, ())
        try:
            async with self._places:
                found, reason = _used(await self._addresses(name, before))
        except OSError as error:
            found, reason = before, f"its name could not be resolved: {error}"
        if reason and reason != self._problems.get(name):
            log.warning("networks.name_unresolved", name=name, reason=reason, kept=bool(found))
        self._problems[name], self._found[name] = reason, found
        return found != before

    async def _addresses(self, name: str, before: tuple[str, ...]) -> set[str]:
        """Return the addresses of a name; those of ``before`` of a family for which nobody answers.

        Many servers of names fail for AAAA where a name has addresses of IPv4 alone.

        Raises:
            OSError: the servers of names answered neither for IPv4 nor for IPv6, or said that they failed.
        """
        from dns import asyncresolver, exception, resolver  # noqa: PLC0415 - few meshes have such gateways

        try:
            if self._resolver is None:
                self._resolver = asyncresolver.Resolver()
        except exception.DNSException as error:  # the system names no server
            raise OSError(str(error)) from error
        found: set[str] = set()
        failures: list[exception.DNSException] = []
        for each in _TYPES:
            try:
                answer = await self._resolver.resolve(name, each, raise_on_no_answer=False, search=False)
            except resolver.NXDOMAIN:
                return set()
            except exception.DNSException as error:
                failures.append(error)
                found |= {address for address in before if (":" in address) == (each == "AAAA")}
            else:
                found |= {record.to_text() for record in answer}
        if len(failures) == len(_TYPES):
            raise OSError(str(failures[0])) from failures[0]
        return found


def _used(found: set[str]) -> tuple[tuple[str, ...], str]:
    """Return those addresses of a name that count, sorted, and why not all do; empty where they do."""
    if not found:
        return (), "its name has no addresses"
    words = {address: unusable(address) for address in sorted(found)}
    usable = tuple(address for address, word in words.items() if not word)
    refused = [f"{address}: {_no_proxy_is_sent(word)}" for address, word in words.items() if word]
    reasons = refused[:_NAMED] + ([f"and {len(refused) - _NAMED} more"] if len(refused) > _NAMED else [])
    if len(usable) > MOST_ADDRESSES:
        reasons.append(f"its name has {len(usable)} addresses, of which the first {MOST_ADDRESSES} count")
    return usable[:MOST_ADDRESSES], "; ".join(reasons)


def _no_proxy_is_sent(word: str) -> str:
    return f"no proxy is sent to {'an' if word[0] in 'aeiou' else 'a'} {word} address"
