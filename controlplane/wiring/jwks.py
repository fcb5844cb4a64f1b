"""Joins the registry, which knows what keys of tokens are wanted, with what fetches them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta

import structlog

from controlplane import metrics
from controlplane.apis.common import duration
from controlplane.model.objects import ChangeSet
from controlplane.registry.jwks import FETCH_TIMEOUT, JwksSource, wanted_jwks
from controlplane.registry.store import Registry
from controlplane.security.jwks_fetcher import AddressRules, JwksFetcher, JwksLocation, networks

log = structlog.get_logger(__name__)

BLOCKED = "BLOCKED_CIDRS_IN_JWKS_URIS"
REFRESH = "PILOT_JWT_PUB_KEY_REFRESH_INTERVAL"
_REFRESH = timedelta(minutes=20)


class JwksResolver:
    """Fetches what RequestAuthentications want, and hands it on as changes of the registry."""

    def __init__(
        self,
        registry: Registry,
        add: Callable[[ChangeSet], None],
        environment: Mapping[str, str],
        rules: AddressRules | None = None,
    ) -> None:
        """Give changes to ``add``. Of the environment istiod's variables count; ``rules`` overrule it."""
        self._registry = registry
        self._add = add
        stated = AddressRules(networks(environment.get(BLOCKED, "")))
        self._fetcher = JwksFetcher(
            self._fetched,
            rules=rules or stated,
            refresh=_refresh(environment.get(REFRESH, "")),
            answered=lambda good: (metrics.KEYS_FETCHED if good else metrics.KEYS_NOT_FETCHED).inc(),
        )
        registry.memo.keep(wanted_jwks, ())

    @property
    def problems(self) -> tuple[str, ...]:
        """Why there are no keys, or no newer ones, from where they are wanted: one sentence each."""
        return tuple(
            f"keys of tokens from {location.uri or location.issuer}: {reason}"
            for location, reason in self._fetcher.problems
        )

    def changed(self) -> None:
        """Look again what is wanted: objects changed."""
        wanted = self._registry.memo.get(wanted_jwks, ())
        self._fetcher.want({JwksLocation(*source): timeout for source, timeout in wanted.items()})

    async def first(self) -> None:
        """Wait, not for long, for the keys that are wanted now: proxies that hold them should not lose them."""
        await self._fetcher.asked_once(FETCH_TIMEOUT)

    async def run(self) -> None:
        """Fetch until cancelled."""
        await self._fetcher.run()

    def _fetched(self, location: JwksLocation, jwks: str | None) -> None:
        source = JwksSource(*location)
        if jwks is None:
            self._add(ChangeSet(deletes=(source.key,)))
        else:
            self._add(ChangeSet(upserts=(source.fetched(jwks),)))


def _refresh(text: str) -> timedelta:
    try:
        stated = duration(text) if text else _REFRESH
    except ValueError as error:
        log.warning("app.setting_unreadable", variable=REFRESH, reason=str(error))
        return _REFRESH
    return stated if stated > timedelta() else _REFRESH
