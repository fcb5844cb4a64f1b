"""What is sent through a proxy, and what becomes of it: values without a word of Envoy's messages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from fractions import Fraction
from typing import Any

from controlplane.model.objects import ObjectKey


class UnsupportedError(Exception):
    """A part of the configuration whose effect is not known here; the message names it. Never a guess instead."""


@dataclass(frozen=True, slots=True)
class Call:
    """One request or connection as it reaches a proxy.

    ``address`` and ``port`` are those it was made to. ``http`` says whether it carries an HTTP/1.1 request; without, it
    is bytes. ``tls`` says whether the connection is TLS, with ``server_name`` and ``alpn`` as the client offers
    them; ``identity`` is the SPIFFE id of the client's certificate, empty without one. ``host`` is the ``Host`` header,
    ``path`` has the query. Names of ``headers`` are lower-case. ``source`` is the client's address; ``peer``
    the one that the connection comes from, where the PROXY protocol tells another client, empty where it is the same.
    Where it is not ``intercepted``, the client names the proxy as its HTTP proxy, which knows only the host then.
    """

    address: str
    port: int
    http: bool = True
    tls: bool = False
    server_name: str = ""
    alpn: tuple[str, ...] = ()
    identity: str = ""
    host: str = ""
    method: str = "GET"
    path: str = "/"
    headers: Mapping[str, str] = field(default_factory=dict)
    source: str = "10.255.255.1"
    peer: str = ""
    intercepted: bool = True


@dataclass(frozen=True, slots=True)
class Source:
    """The object that an element of the configuration comes from, and the ``field`` of it; empty for all of it."""

    key: ObjectKey
    field: str = ""

    def words(self) -> dict[str, str]:
        """Return what JSON says of it."""
        return {
            "kind": self.key.kind.name,
            "namespace": self.key.namespace,
            "name": self.key.name,
            "field": self.field,
        }

    def __str__(self) -> str:
        return f"{self.key}  {self.field}" if self.field else str(self.key)


@dataclass(frozen=True, slots=True)
class Step:
    """One line of an explanation: what Envoy looked at (``step``), what it found, and why.

    ``verdict`` is a word on it (``yes``, ``no``, ``not reached``, ``lost``, ``left out``, ``allowed``, ``denied``,
    ``failed``), empty where there is nothing to decide. ``code`` is one of ``analysis.codes``. ``steps`` belong to it.
    """

    step: str
    value: str
    source: Source | None = None
    note: str = ""
    verdict: str = ""
    code: str = ""
    steps: tuple[Step, ...] = ()

    def words(self) -> dict[str, Any]:
        """Return what JSON says of it: parts that are empty are left out."""
        found: dict[str, Any] = {"step": self.step, "value": self.value}
        if self.source is not None:
            found["source"] = self.source.words()
        told = {"note": self.note, "verdict": self.verdict, "code": self.code}
        found |= {name: value for name, value in told.items() if value}
        if self.steps:
            found["steps"] = [step.words() for step in self.steps]
        return found


class Fate(StrEnum):
    """What becomes of a call in one proxy."""

    FORWARDED = "forwarded"
    PASSTHROUGH = "passthrough"
    BLACKHOLE = "blackhole"
    REDIRECT = "redirect"
    ANSWERED = "answered"
    FAULT = "fault"
    DENIED = "denied"
    UNAUTHENTICATED = "unauthenticated"
    NO_LISTENER = "no_listener"
    NO_FILTER_CHAIN = "no_filter_chain"
    NO_VIRTUAL_HOST = "no_virtual_host"
    NO_ROUTE = "no_route"
    NO_CLUSTER = "no_cluster"
    NO_HEALTHY_UPSTREAM = "no_healthy_upstream"
    TLS_ERROR = "tls_error"
    NOT_HTTP = "not_http"

    @property
    def fails(self) -> bool:
        """Whether the caller gets an error that nobody asked for."""
        return self not in _WANTED


_WANTED = {Fate.FORWARDED, Fate.PASSTHROUGH, Fate.REDIRECT, Fate.ANSWERED, Fate.FAULT}


@dataclass(frozen=True, slots=True)
class Failure:
    """Why nothing comes of a call: Envoy's HTTP status (0 for a closed connection) and its response flag."""

    fate: Fate
    reason: str
    status: int = 0
    flag: str = ""
    code: str = ""
    source: Source | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """An endpoint: its address ``host:port``, its share of its cluster's calls at its priority, where it is.

    ``tls`` is ``mutual``, ``simple`` or empty, as the proxy speaks to it; ``workload`` is what it belongs to.
    """

    address: str
    share: Fraction
    priority: int = 0
    locality: str = ""
    workload: str = ""
    tls: str = ""
    healthy: bool = True


@dataclass(frozen=True, slots=True)
class Destination:
    """A cluster that a call may go to, with its share of the calls, as the proxy sends it there.

    ``failure`` is set where a call that goes there fails in this proxy. ``places`` are all endpoints, of the priority
    that is used first. ``server_name`` and ``alpn`` are those of TLS to it, empty without; ``names`` are
    the identities that the server may have (empty: any), each with ``prefix:`` before it where it is one.
    """

    cluster: str
    share: Fraction = Fraction(1)
    host: str = ""
    path: str = ""
    places: tuple[Place, ...] = ()
    server_name: str = ""
    alpn: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    failure: Failure | None = None

    @property
    def used(self) -> tuple[Place, ...]:
        """The endpoints that calls go to while all of them are as healthy as the control plane knows."""
        return tuple(place for place in self.places if place.share)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What becomes of one call in one proxy, and the steps that led to it.

    ``status`` and ``location`` are of the proxy's own answer. ``timeout`` is in seconds, 0 without one; ``attempts``
    are those after the first. ``route`` is the name of the route, ``mirrors`` the clusters that are shown a copy.
    ``chance`` is the share of calls that a fault ends with ``fault_status`` before they go anywhere.
    ``unknown`` names filters whose effect is not known here.
    """

    fate: Fate
    steps: tuple[Step, ...] = ()
    status: int = 0
    failure: Failure | None = None
    destinations: tuple[Destination, ...] = ()
    route: str = ""
    location: str = ""
    path: str = ""
    timeout: float = 0.0
    attempts: int = 0
    mirrors: tuple[str, ...] = ()
    chance: Fraction = Fraction(0)
    fault_status: int = 0
    unknown: tuple[str, ...] = ()
