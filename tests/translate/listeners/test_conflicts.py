"""Who gets an address and port that several services want."""

from __future__ import annotations

import pytest

from controlplane.model.service import Protocol
from controlplane.translate.listeners.chains import Chain, HttpTarget, TcpTarget
from controlplane.translate.listeners.conflicts import Kind, ListenerEntry, kind_of, settled

HTTP = Chain(HttpTarget("80"))
PLAIN = HTTP.for_plain_http()


def tcp(name: str, **match: tuple[str, ...]) -> Chain:
    return Chain(TcpTarget.of(name), **match)  # type: ignore[arg-type]  # parts of the match by name


A, B = tcp("a"), tcp("b")
NARROW = tcp("b", prefixes=("10.0.0.0/8",))


def entry(kind: Kind, *chains: Chain, protocol: Protocol = Protocol.TCP, locked: bool = False) -> ListenerEntry:
    return ListenerEntry(kind, protocol, chains, locked=locked)


@pytest.mark.parametrize(
    ("held", "incoming", "kind", "chains"),
    [
        pytest.param(None, entry(Kind.TCP, A), Kind.TCP, (A,), id="first"),
        pytest.param(entry(Kind.HTTP, HTTP), entry(Kind.HTTP, HTTP), Kind.HTTP, (HTTP,), id="http-http-shares-routes"),
        pytest.param(entry(Kind.HTTP, HTTP), entry(Kind.TCP, A), Kind.AUTO, (HTTP,), id="bound-http-keeps-tcp-out"),
        pytest.param(
            entry(Kind.HTTP, HTTP), entry(Kind.TCP, NARROW), Kind.AUTO, (HTTP, NARROW), id="bound-http-tcp-other-match"
        ),
        pytest.param(
            entry(Kind.HTTP, HTTP), entry(Kind.AUTO, A, PLAIN), Kind.AUTO, (A, PLAIN), id="http-auto-replaced"
        ),
        pytest.param(entry(Kind.TCP, A), entry(Kind.HTTP, HTTP), Kind.AUTO, (A,), id="tcp-keeps-bound-http-out"),
        pytest.param(entry(Kind.TCP, A), entry(Kind.HTTP, PLAIN), Kind.AUTO, (A, PLAIN), id="tcp-http-merges"),
        pytest.param(entry(Kind.TCP, A), entry(Kind.TCP, B), Kind.TCP, (A,), id="tcp-tcp-equal-match-dropped"),
        pytest.param(entry(Kind.TCP, A), entry(Kind.TCP, NARROW), Kind.TCP, (A, NARROW), id="tcp-tcp-other-match"),
        pytest.param(entry(Kind.TCP, A), entry(Kind.AUTO, B, PLAIN), Kind.AUTO, (A, PLAIN), id="tcp-auto-merges-http"),
        pytest.param(entry(Kind.AUTO, PLAIN), entry(Kind.HTTP, PLAIN), Kind.AUTO, (PLAIN,), id="auto-http-nothing"),
        pytest.param(entry(Kind.AUTO, PLAIN), entry(Kind.TCP, A), Kind.AUTO, (PLAIN, A), id="auto-tcp-merges"),
        pytest.param(
            entry(Kind.AUTO, A), entry(Kind.AUTO, NARROW, PLAIN), Kind.AUTO, (A, NARROW), id="auto-auto-tcp-chains-only"
        ),
        pytest.param(entry(Kind.TCP, A, locked=True), entry(Kind.TCP, NARROW), Kind.TCP, (A,), id="locked"),
        pytest.param(
            entry(Kind.TCP, A, protocol=Protocol.MONGO), entry(Kind.TCP, NARROW), Kind.TCP, (A,), id="mongo-shares-not"
        ),
        pytest.param(
            entry(Kind.TCP, A), entry(Kind.TCP, NARROW, protocol=Protocol.MYSQL), Kind.TCP, (A,), id="mysql-gives-way"
        ),
    ],
)
def test_settled(held: ListenerEntry | None, incoming: ListenerEntry, kind: Kind, chains: tuple[Chain, ...]) -> None:
    after = settled(held, incoming)
    assert (after.kind, after.chains) == (kind, chains)


@pytest.mark.parametrize("kind", [Kind.TCP, Kind.AUTO])
def test_who_adds_nothing_costs_nothing(kind: Kind) -> None:
    """The entry itself stays, with what is known of its chains: thousands may want one port, at hundreds of ranges."""
    held = entry(kind, *(tcp("a", prefixes=(f"10.{number}.0.0/16",)) for number in range(200)))
    signatures = held.signatures
    for chain in held.chains:
        again = entry(kind, tcp("b", prefixes=chain.prefixes))
        assert settled(held, again) is held
    assert held.signatures is signatures


@pytest.mark.parametrize(
    ("first", "second", "equal"),
    [
        pytest.param(tcp("a", prefixes=("10.1.2.3/16",)), tcp("b", prefixes=("10.1.0.0/16",)), True, id="masked-range"),
        pytest.param(tcp("a", prefixes=("10.1.0.0/16",)), tcp("b", prefixes=("10.1.0.0/24",)), False, id="overlap"),
        pytest.param(tcp("a", prefixes=("0.0.0.0/0",)), tcp("b"), True, id="any-address-is-none"),
        pytest.param(tcp("a", server_names=("x", "*")), tcp("b", server_names=("x",)), True, id="star-ignored"),
        pytest.param(tcp("a", server_names=("x", "y")), tcp("b", server_names=("y", "x")), True, id="name-order"),
        pytest.param(PLAIN, tcp("b"), False, id="protocols"),
    ],
)
def test_signature(first: Chain, second: Chain, *, equal: bool) -> None:
    assert (first.signature == second.signature) is equal


@pytest.mark.parametrize(
    ("protocol", "kind"),
    [
        (Protocol.HTTP, Kind.HTTP),
        (Protocol.GRPC_WEB, Kind.HTTP),
        (Protocol.HTTPS, Kind.TCP),
        (Protocol.MONGO, Kind.TCP),
        (Protocol.AUTO, Kind.AUTO),
    ],
)
def test_kind_of(protocol: Protocol, kind: Kind) -> None:
    assert kind_of(protocol) is kind


@pytest.mark.parametrize(
    ("chain", "everything"),
    [
        pytest.param(A, True, id="bare"),
        pytest.param(tcp("a", server_names=("x", "*")), True, id="any-name"),
        pytest.param(tcp("a", server_names=("x",)), False, id="a-name"),
        pytest.param(tcp("a", prefixes=("0.0.0.0/0",)), True, id="any-address"),
        pytest.param(NARROW, False, id="range"),
        pytest.param(PLAIN, False, id="plain-http"),
    ],
)
def test_matches_all(chain: Chain, *, everything: bool) -> None:
    assert chain.matches_all is everything
