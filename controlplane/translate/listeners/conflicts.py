"""What happens when several services want one address and port: the older one decides, chains merge where they can."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum

from controlplane.model.service import Protocol
from controlplane.translate.listeners.chains import Chain, Signature


class Kind(Enum):
    """How a listener treats connections: as HTTP, as bytes, or as whichever is detected."""

    HTTP = "http"
    TCP = "tcp"
    AUTO = "auto"

    __hash__ = object.__hash__


#: protocols whose servers speak first or whose filter reads the bytes: they share a port with nothing else
_EXCLUSIVE = frozenset({Protocol.MONGO, Protocol.MYSQL})


@dataclass(frozen=True, slots=True)
class ListenerEntry:
    """What the services so far make of one address and port. A ``locked`` entry takes nothing more.

    ``additional`` are further addresses at which the same is wanted.
    """

    kind: Kind
    protocol: Protocol
    chains: tuple[Chain, ...]
    bind_to_port: bool = False
    locked: bool = False
    additional: tuple[str, ...] = ()
    _signatures: frozenset[Signature] | None = field(default=None, init=False, compare=False, repr=False)

    @property
    def signatures(self) -> frozenset[Signature]:
        """Those of the chains; they are worked out once, as thousands may ask for the same port."""
        if self._signatures is None:
            object.__setattr__(self, "_signatures", frozenset(chain.signature for chain in self.chains))
        return self._signatures or frozenset()


def kind_of(protocol: Protocol) -> Kind:
    """Return how a listener for a port of this protocol treats connections."""
    if protocol is Protocol.AUTO:
        return Kind.AUTO
    return Kind.HTTP if protocol.is_http else Kind.TCP


def settled(held: ListenerEntry | None, incoming: ListenerEntry) -> ListenerEntry:
    """Return the entry after one more service wants the port.

    HTTP needs no second chain: services share its routes. An exclusive protocol gives way to nothing and nobody.
    At a stated address HTTP is not told from bytes: there its chain takes all, and so keeps out what would too.
    """
    if held is None:
        return incoming
    if held.locked or _exclusive(held.protocol, incoming.protocol):
        return held
    match held.kind, incoming.kind:
        case (Kind.HTTP, Kind.HTTP) | (Kind.AUTO, Kind.HTTP):
            return held
        case Kind.HTTP, Kind.AUTO:
            return replace(incoming, bind_to_port=held.bind_to_port)
        case Kind.HTTP, Kind.TCP:
            return replace(_merged(held, incoming.chains), kind=Kind.AUTO)
        case Kind.TCP, Kind.TCP:
            return _merged(held, incoming.chains)
        case Kind.TCP, _:
            return replace(_merged(held, incoming.chains), kind=Kind.AUTO)
        case _:
            return _merged(held, tuple(chain for chain in incoming.chains if not chain.is_http))


def _exclusive(held: Protocol, incoming: Protocol) -> bool:
    return held is not incoming and bool({held, incoming} & _EXCLUSIVE)


def _merged(held: ListenerEntry, incoming: tuple[Chain, ...]) -> ListenerEntry:
    """Add chains whose match is not there yet: Envoy refuses a listener with two equal ones."""
    new: dict[Signature, Chain] = {}
    for chain in incoming:
        if chain.signature not in held.signatures:
            new.setdefault(chain.signature, chain)
    return replace(held, chains=(*held.chains, *new.values())) if new else held
