"""Each decision of the protocol core, one row a rule."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from controlplane.ads.contents import SnapshotCache
from controlplane.ads.protocol import offer, receive
from controlplane.ads.responses import MOST_MADE, Plan, respond, waits_for
from controlplane.ads.watch import CDS, EDS, LDS, RDS, Kind, Request, StreamState, Variant
from controlplane.snapshots import Resource, ResourceType, Snapshot

SOTW, DELTA = Variant.SOTW, Variant.DELTA
UNKNOWN = "type.googleapis.com/some.Unknown"
ECDS = ResourceType.EXTENSION.value
SDS = ResourceType.SECRET.value
C, E, L, R = ResourceType.CLUSTER, ResourceType.ENDPOINT, ResourceType.LISTENER, ResourceType.ROUTE


class Reply(NamedTuple):
    """A response as the tests see it: its nonce counts the responses of the stream."""

    nonce: str
    version: str
    plan: Plan
    sequence: int = 0

    @property
    def url(self) -> str:
        return self.plan.type_url

    @property
    def names(self) -> set[str]:
        return set(self.plan.names) | {resource.name for resource in self.plan.extras}


def missing(type_: ResourceType, name: str) -> Resource | None:
    return Resource.of(type_, name, b"empty") if type_ in {E, R} else None


class Talk:
    """One stream's core with a clock, asked step by step."""

    def __init__(self, variant: Variant, **parts: str) -> None:
        self.cache = SnapshotCache()
        self.snapshot = snapshot(**parts)
        self.state = StreamState(variant, self.cache.served(self.snapshot), missing)
        self.overdue: frozenset[str] = frozenset()
        self.count = 0

    def ask(self, url: str, *names: str, nonce: str = "", error: str | None = None, **more: object) -> Kind:
        request = Request(url, nonce, error, frozenset(names))._replace(**more)  # type: ignore[arg-type]
        self.state, kind = receive(self.state, request, 100.0)
        return kind

    def replies(self) -> list[Reply]:
        found: list[Reply] = []
        while True:
            self.state, reply = respond(self.state, self._encode, self.overdue)
            if reply is None:
                return found
            found.append(reply)

    def _encode(self, plan: Plan, _after: int) -> Reply:
        self.count += 1
        return Reply(f"n{self.count}", f"v{self.count}", plan)

    def publish(self, **parts: str) -> None:
        self.snapshot = snapshot(self.snapshot, **parts)
        self.state = offer(self.state, self.cache.served(self.snapshot))

    def begin(self, url: str, *names: str) -> None:
        """Subscribe and acknowledge what comes."""
        self.ask(url, *names)
        self.ack(*self.replies())

    def ack(self, *replies: Reply) -> None:
        for reply in replies:
            names = self.state.watches[reply.url].names if self.state.variant is SOTW else ()
            assert self.ask(reply.url, *names, nonce=reply.nonce) is Kind.ACK


def snapshot(before: Snapshot | None = None, /, **parts: str) -> Snapshot:
    """Build a snapshot: ``clusters="a b2"`` is cluster ``a`` and cluster ``b`` in version 2.

    Listeners and routes may say what they refer to: ``l>a,b`` names clusters, ``l>/r`` a route configuration,
    ``l>$s`` a secret. Types that are not given stay as they were.
    """
    before = before or Snapshot()
    types = {"clusters": C, "endpoints": E, "listeners": L, "routes": R, "extensions": ResourceType.EXTENSION}
    types["secrets"] = ResourceType.SECRET
    built = dict(before.resources)
    for key, text in parts.items():
        resources = [resource(types[key], word) for word in text.split()]
        built[types[key]] = {r.name: r for r in resources}
    return Snapshot(before.revision + 1, built)


def resource(type_: ResourceType, word: str) -> Resource:
    name, _, references = word.partition(">")
    targets = [target for target in references.split(",") if target]
    return Resource.of(
        type_,
        name.rstrip("0123456789"),
        word.encode(),
        {
            C: [target for target in targets if target[0] not in "/$"],
            R: [target[1:] for target in targets if target.startswith("/")],
            ResourceType.SECRET: [target[1:] for target in targets if target.startswith("$")],
        },
    )


both = pytest.mark.parametrize("variant", [SOTW, DELTA], ids=["sotw", "delta"])


@pytest.mark.parametrize(
    ("variant", "url", "names", "expected"),
    [
        pytest.param(SOTW, CDS, [], {"a", "b"}, id="sotw-legacy-wildcard"),
        pytest.param(DELTA, CDS, [], {"a", "b"}, id="delta-legacy-wildcard"),
        pytest.param(SOTW, CDS, ["*"], {"a", "b"}, id="sotw-wildcard"),
        pytest.param(DELTA, CDS, ["*"], {"a", "b"}, id="delta-wildcard"),
        pytest.param(SOTW, CDS, ["a"], {"a"}, id="sotw-named"),
        pytest.param(DELTA, CDS, ["a"], {"a"}, id="delta-named"),
        pytest.param(DELTA, CDS, ["*", "a"], {"a", "b"}, id="delta-both"),
        pytest.param(SOTW, EDS, ["a", "x"], {"a", "x"}, id="sotw-missing-endpoints-are-empty"),
        pytest.param(DELTA, EDS, ["a", "x"], {"a", "x"}, id="delta-missing-endpoints-are-empty"),
        pytest.param(DELTA, EDS, [], set(), id="delta-eds-has-no-legacy-wildcard"),
        pytest.param(DELTA, EDS, ["*"], {"a", "b"}, id="delta-eds-explicit-wildcard"),
        pytest.param(SOTW, LDS, [], set(), id="sotw-nothing-there"),
        pytest.param(DELTA, LDS, [], set(), id="delta-nothing-there"),
        pytest.param(SOTW, UNKNOWN, [], set(), id="sotw-unknown-type"),
        pytest.param(DELTA, UNKNOWN, [], set(), id="delta-unknown-type"),
        pytest.param(DELTA, ECDS, ["x"], set(), id="extension-is-never-removed"),
    ],
)
def test_first_request_is_answered(variant: Variant, url: str, names: list[str], expected: set[str]) -> None:
    """Also with nothing, also under a nonce that an earlier stream left behind."""
    talk = Talk(variant, clusters="a b", endpoints="a b")
    assert talk.ask(url, *names, nonce="from-another-stream") is Kind.SUBSCRIBE
    (reply,) = talk.replies()
    assert (reply.url, reply.names, reply.plan.removed) == (url, expected, frozenset())
    assert talk.replies() == []


def test_sotw_first_request_for_nothing_is_no_subscription() -> None:
    talk = Talk(SOTW, endpoints="a")
    assert talk.ask(EDS) is Kind.UNSUBSCRIBE
    assert talk.replies() == []


def test_delta_answers_what_does_not_exist_with_a_removal() -> None:
    talk = Talk(DELTA, clusters="a")
    talk.ask(CDS, "a", "x")
    (reply,) = talk.replies()
    assert (reply.names, set(reply.plan.removed)) == ({"a"}, {"x"})


@pytest.mark.parametrize(
    ("nonce", "error", "kind", "acked", "refused"),
    [
        pytest.param("n2", None, Kind.ACK, "v2", None, id="ack"),
        pytest.param("n2", "bad cluster", Kind.NACK, "v1", "bad cluster", id="nack-keeps-last-good"),
        pytest.param("n1", None, Kind.STALE, "v1", None, id="late-ack-of-replaced-response"),
        pytest.param("n1", "bad cluster", Kind.NACK, "v1", "bad cluster", id="late-nack-is-not-lost"),
        pytest.param("foreign", None, Kind.STALE, "v1", None, id="nonce-of-somebody-else"),
    ],
)
@both
def test_nonce(variant: Variant, nonce: str, error: str | None, kind: Kind, acked: str, refused: str | None) -> None:
    talk = Talk(variant, clusters="a")
    talk.begin(CDS)
    talk.publish(clusters="a2")
    assert [reply.nonce for reply in talk.replies()] == ["n2"]
    assert talk.ask(CDS, nonce=nonce, error=error) is kind
    watch = talk.state.watches[CDS]
    assert watch.acked_version == acked
    assert (watch.refused.message if watch.refused else None) == refused
    assert (watch.flight is None) == (nonce == "n2")
    assert talk.replies() == []


@both
def test_refused_version_is_not_sent_again_until_it_changes(variant: Variant) -> None:
    talk = Talk(variant, clusters="a", listeners="l")
    talk.begin(CDS)
    talk.begin(LDS)
    talk.publish(clusters="a2", listeners="l2")
    clusters, listeners = talk.replies()
    talk.ask(CDS, nonce=clusters.nonce, error="no")
    talk.ack(listeners)
    assert talk.replies() == []
    assert talk.ask(CDS, nonce=clusters.nonce) is Kind.SUBSCRIBE, "the refused nonce again is no acknowledgement"
    assert talk.state.watches[CDS].refused is not None
    talk.publish(listeners="l3")
    assert [reply.url for reply in talk.replies()] == [LDS], "a refusal blocks no other type"
    talk.publish(clusters="a3")
    (reply,) = talk.replies()
    talk.ack(reply)
    assert (reply.url, talk.state.watches[CDS].refused) == (CDS, None)


def test_good_resources_of_a_refused_response_are_tried_again_when_the_bad_one_changed() -> None:
    talk = Talk(DELTA, endpoints="a b c")
    talk.begin(EDS, "a", "b", "c")
    talk.publish(endpoints="a2 b2 c")
    (refused,) = talk.replies()
    talk.ask(EDS, nonce=refused.nonce, error="a is bad")
    talk.publish(endpoints="a2 b2 c2")
    (other,) = talk.replies()
    assert other.names == {"c"}
    talk.ack(other)
    assert talk.replies() == []
    assert talk.state.watches[EDS].refused is not None, "what was refused is still wanted"
    talk.publish(endpoints="a3 b2 c2")
    (mended,) = talk.replies()
    assert mended.names == {"a"}
    talk.ack(mended)
    (rest,) = talk.replies()
    assert rest.names == {"b"}
    assert talk.state.watches[EDS].refused is None


@both
def test_one_response_in_flight_and_the_latest_snapshot_wins(variant: Variant) -> None:
    talk = Talk(variant, clusters="a")
    talk.begin(CDS)
    talk.publish(clusters="a2")
    (first,) = talk.replies()
    for number in range(3, 9):
        talk.publish(clusters=f"a{number}")
        assert talk.replies() == []
    talk.ack(first)
    (last,) = talk.replies()
    assert last.plan.contents.resources["a"].body == b"a8"


@pytest.mark.parametrize(
    ("held", "sent", "removed"),
    [
        pytest.param({"a": 1, "b": 1}, set(), set(), id="all-the-same"),
        pytest.param({"a": 1, "b": 0}, {"b"}, set(), id="one-changed"),
        pytest.param({"a": 1}, {"b"}, set(), id="one-new"),
        pytest.param({"a": 1, "b": 1, "x": 1}, set(), {"x"}, id="one-gone"),
        pytest.param({"x": 1}, {"a", "b"}, {"x"}, id="all-different"),
    ],
)
def test_reconnect_sends_what_differs(held: dict[str, int], sent: set[str], removed: set[str]) -> None:
    """Removals come last: after the answer to the first response, when listeners and routes would be known."""
    talk = Talk(DELTA, clusters="a b")
    known = talk.snapshot.of(C)
    versions = {name: known[name].version if same else "old" for name, same in held.items() if name in known}
    versions |= {name: "old" for name in held if name not in known}
    talk.ask(CDS, "*", held=versions, resumed=True)
    (reply,) = talk.replies()
    assert (reply.names, reply.plan.removed) == (sent, frozenset())
    talk.ack(reply)
    assert [set(later.plan.removed) for later in talk.replies()] == ([removed] if removed else [])


def test_reconnect_keeps_a_cluster_while_old_listeners_may_name_it() -> None:
    talk = Talk(DELTA, clusters="a", listeners="l>a")
    talk.ask(CDS, "*", held={"a": talk.snapshot.of(C)["a"].version, "old": "1"}, resumed=True)
    talk.ask(LDS, "*", held={"l": "1"}, resumed=True)
    clusters, listeners = talk.replies()
    talk.ack(clusters)
    assert talk.replies() == []
    talk.ack(listeners)
    assert [set(reply.plan.removed) for reply in talk.replies()] == [{"old"}]


def test_reconnected_endpoints_are_compared_too() -> None:
    talk = Talk(DELTA, endpoints="a b")
    versions = {r.name: r.version for r in talk.snapshot.of(E).values()} | {"x": missing(E, "x").version}  # type: ignore[union-attr]
    talk.ask(EDS, "a", "b", "x", held=versions, resumed=True)
    (reply,) = talk.replies()
    assert reply.names == set()


@both
def test_changed_cluster_gets_its_endpoints_again(variant: Variant) -> None:
    """It warms anew and waits for them; the other clusters do not."""
    talk = Talk(variant, clusters="a b", endpoints="a b")
    talk.begin(CDS)
    talk.begin(EDS, "a", "b")
    talk.publish(clusters="a2 b")
    clusters, endpoints = talk.replies()
    assert (clusters.url, endpoints.url, endpoints.names) == (CDS, EDS, {"a"})
    talk.ack(clusters, endpoints)
    assert talk.replies() == []


def test_cluster_that_changed_while_away_gets_its_endpoints_again() -> None:
    talk = Talk(DELTA, clusters="a b", endpoints="a b")
    held = {r.name: r.version for r in talk.snapshot.of(C).values()} | {"a": "old"}
    talk.ask(CDS, "*", held=held, resumed=True)
    assert [reply.names for reply in talk.replies()] == [{"a"}]
    endpoints = {r.name: r.version for r in talk.snapshot.of(E).values()}
    talk.ask(EDS, "a", "b", held=endpoints, resumed=True)
    assert [reply.names for reply in talk.replies()] == [{"a"}]


def test_sotw_clusters_asked_for_again_bring_all_endpoints_again() -> None:
    """What istiod does with its flag ``AlwaysRespond``."""
    talk = Talk(SOTW, clusters="a b", endpoints="a b")
    talk.begin(CDS)
    talk.begin(EDS, "a", "b")
    talk.ask(CDS)
    assert [(reply.url, reply.names) for reply in talk.replies()] == [(CDS, {"a", "b"}), (EDS, {"a", "b"})]


@both
def test_push_order(variant: Variant) -> None:
    """Also when the proxy asked in another order."""
    talk = Talk(variant, clusters="a", endpoints="a", listeners="l>/r", routes="r>a")
    for url, names in ((RDS, ["r"]), (LDS, []), (EDS, ["a"]), (CDS, [])):
        talk.begin(url, *names)
    talk.publish(clusters="a2", endpoints="a2", listeners="l2>/r", routes="r2>a")
    assert [reply.url for reply in talk.replies()] == [CDS, EDS, LDS, RDS]


@both
def test_routes_to_a_new_cluster_wait_for_its_endpoints(variant: Variant) -> None:
    talk = Talk(variant, clusters="a", endpoints="a", listeners="l>/r", routes="r>a")
    for url, names in ((CDS, []), (EDS, ["a"]), (LDS, []), (RDS, ["r"])):
        talk.begin(url, *names)
    talk.publish(clusters="a b", endpoints="a b", routes="r>a,b")
    (clusters,) = talk.replies()
    talk.ask(EDS, *(["a", "b"] if variant is SOTW else ["b"]), nonce="n2" if variant is SOTW else "")
    assert [(reply.url, reply.names) for reply in talk.replies()] == [(EDS, {"b"})]
    talk.ack(clusters)
    assert [reply.url for reply in talk.replies()] == [RDS]


def test_routes_do_not_wait_for_a_refused_cluster() -> None:
    talk = Talk(DELTA, clusters="a", routes="r>a")
    talk.begin(CDS)
    talk.begin(RDS, "r")
    talk.publish(clusters="a b", routes="r>a,b")
    (clusters,) = talk.replies()
    talk.ask(CDS, nonce=clusters.nonce, error="no")
    assert [reply.url for reply in talk.replies()] == [RDS]


def test_an_answer_that_does_not_come_holds_nothing_up_for_ever() -> None:
    talk = Talk(DELTA, clusters="a", routes="r>a")
    talk.begin(CDS)
    talk.begin(RDS, "r")
    talk.publish(clusters="a b", routes="r>a,b")
    assert [reply.url for reply in talk.replies()] == [CDS]
    assert waits_for(talk.state) == (CDS,)
    talk.overdue = frozenset({CDS})
    assert [reply.url for reply in talk.replies()] == [RDS]
    talk.publish(clusters="a b2")
    assert [reply.url for reply in talk.replies()] == [CDS]


@pytest.mark.parametrize("refuse", [False, True], ids=["acknowledged", "refused"])
@both
def test_cluster_goes_when_no_route_names_it(variant: Variant, refuse: bool) -> None:  # noqa: FBT001
    talk = Talk(variant, clusters="a b", endpoints="a b", listeners="l>/r", routes="r>a,b")
    for url, names in ((CDS, []), (EDS, ["a", "b"]), (LDS, []), (RDS, ["r"])):
        talk.begin(url, *names)
    talk.publish(clusters="a", endpoints="a", routes="r>a")
    (routes,) = talk.replies()
    assert routes.url == RDS
    if refuse:
        talk.ask(RDS, *(["r"] if variant is SOTW else []), nonce=routes.nonce, error="no")
        assert talk.replies() == []
        talk.publish(routes="r2>a")
        (routes,) = talk.replies()
    assert talk.replies() == []
    talk.ack(routes)
    (clusters,) = talk.replies()
    assert clusters.url == CDS
    if variant is DELTA:
        assert set(clusters.plan.removed) == {"b"}
    else:
        assert clusters.names == {"a"}


def test_a_secret_goes_once_no_listener_names_it() -> None:
    talk = Talk(DELTA, clusters="", listeners="l>$s,$t", secrets="s t")
    for url, names in ((CDS, []), (LDS, []), (SDS, ["s", "t"])):
        talk.begin(url, *names)
    talk.publish(listeners="l2>$s", secrets="s")
    (listeners,) = talk.replies()
    assert listeners.url == LDS, "the secret stays while the proxy may use it"
    talk.ack(listeners)
    (secrets,) = talk.replies()
    assert (secrets.url, set(secrets.plan.removed)) == (SDS, {"t"})


@pytest.mark.parametrize(("variant", "in_force"), [(SOTW, False), (DELTA, True)])
def test_all_clusters_taken_end_the_refusal_of_one_of_them(variant: Variant, *, in_force: bool) -> None:
    """In SotW the response has the refused cluster too, as it was; in delta nothing is said of it."""
    talk = Talk(variant, clusters="a b")
    talk.begin(CDS)
    talk.publish(clusters="a2 b")
    (refused,) = talk.replies()
    talk.ask(CDS, nonce=refused.nonce, error="no")
    talk.publish(clusters="a2 b2")
    while replies := talk.replies():
        talk.ack(*replies)
    watch = talk.state.watch(CDS)
    assert watch is not None
    assert (watch.refused is not None) is in_force


@pytest.mark.parametrize(("variant", "gone"), [(SOTW, {"a"}), (DELTA, set())])
def test_all_listeners_taken_end_the_doubt_about_those_refused_before(variant: Variant, gone: set[str]) -> None:
    """In delta the other listener says nothing of the refused one: the old one may still lead to the old cluster."""
    talk = Talk(variant, clusters="a b", listeners="l>a m")
    talk.begin(CDS)
    talk.begin(LDS)
    talk.publish(listeners="l2>b m")
    (refused,) = talk.replies()
    talk.ask(LDS, nonce=refused.nonce, error="no")
    talk.publish(listeners="l2>b m2")
    talk.ack(*talk.replies())
    talk.publish(clusters="b")
    removals = [{"a"} - reply.names if variant is SOTW else set(reply.plan.removed) for reply in talk.replies()]
    assert set().union(*removals) == gone


@both
def test_retained_cluster_is_part_of_the_whole_set(variant: Variant) -> None:
    talk = Talk(variant, clusters="a b", routes="r>b")
    talk.begin(CDS)
    talk.begin(RDS, "r")
    talk.publish(clusters="a c", routes="r>c")
    (clusters,) = talk.replies()
    assert clusters.names == ({"a", "b", "c"} if variant is SOTW else {"c"})
    assert not clusters.plan.removed


@both
def test_cluster_that_nothing_used_goes_at_once(variant: Variant) -> None:
    talk = Talk(variant, clusters="a b", routes="r>a")
    talk.begin(CDS)
    talk.begin(RDS, "r")
    talk.publish(clusters="a", routes="r2>a")
    assert [reply.url for reply in talk.replies()] == [CDS, RDS]


def test_delta_unsubscribe_and_subscribe_again() -> None:
    """A name is sent again though nothing changed: the proxy may have forgotten it."""
    talk = Talk(DELTA, endpoints="a b")
    talk.begin(EDS, "a", "b")
    talk.ask(EDS, unsubscribe=frozenset({"a"}))
    assert talk.replies() == []
    talk.publish(endpoints="a2 b")
    assert talk.replies() == [], "nobody asks for a any more"
    talk.ask(EDS, "a")
    assert [reply.names for reply in talk.replies()] == [{"a"}]


def test_delta_unsubscribe_from_the_wildcard() -> None:
    talk = Talk(DELTA, clusters="a b")
    talk.begin(CDS)
    talk.begin(CDS, "a")
    talk.ask(CDS, unsubscribe=frozenset({"*"}))
    talk.publish(clusters="a2 b2")
    assert [reply.names for reply in talk.replies()] == [{"a"}]


def test_delta_subscription_is_not_lost_under_a_stale_nonce() -> None:
    talk = Talk(DELTA, endpoints="a b")
    talk.begin(EDS, "a")
    assert talk.ask(EDS, "b", nonce="stale") is Kind.STALE
    assert [reply.names for reply in talk.replies()] == [{"b"}]


def test_sotw_names_added_and_dropped() -> None:
    talk = Talk(SOTW, endpoints="a b")
    talk.begin(EDS, "a")
    assert talk.ask(EDS, "a", "b", nonce="n1") is Kind.SUBSCRIBE
    (reply,) = talk.replies()
    assert reply.names == {"b"}, "only what was added"
    talk.ack(reply)
    talk.ask(EDS, "b", nonce="n2")
    assert talk.replies() == []
    assert talk.ask(EDS, nonce="n2") is Kind.UNSUBSCRIBE
    talk.publish(endpoints="a2 b2")
    assert talk.replies() == []
    assert talk.ask(EDS, "b", nonce="n2") is Kind.SUBSCRIBE
    assert [reply.names for reply in talk.replies()] == [{"b"}]


def test_sotw_naming_nothing_after_names_is_no_wildcard() -> None:
    talk = Talk(SOTW, clusters="a b")
    talk.begin(CDS, "a")
    talk.ask(CDS, nonce="n1")
    talk.publish(clusters="a2 b2")
    assert all(reply.names == set() for reply in talk.replies())


@both
def test_endpoint_change_is_one_resource(variant: Variant) -> None:
    talk = Talk(variant, clusters="a b", endpoints="a b")
    talk.begin(CDS)
    talk.begin(EDS, "a", "b")
    talk.publish(endpoints="a2 b")
    assert [(reply.url, reply.names) for reply in talk.replies()] == [(EDS, {"a"})]


@both
@pytest.mark.parametrize("url", [EDS, RDS])
def test_very_many_names_that_do_not_exist_are_answered_some_at_a_time(variant: Variant, url: str) -> None:
    names = [f"name-{number}" for number in range(2 * MOST_MADE + 1)]
    talk = Talk(variant)
    talk.ask(url, "known", *names)
    first = talk.replies()
    talk.publish(**{"endpoints" if url == EDS else "routes": "known"})  # and one that is made meanwhile
    talk.ack(*first)
    rest: list[Reply] = []
    while replies := talk.replies():
        rest += replies
        talk.ack(*replies)
    answered = [name for reply in (*first, *rest) for name in reply.names if name != "known"]
    assert sorted(answered) == sorted(names)
    assert max(len(reply.names) for reply in (*first, *rest)) <= MOST_MADE + 1
    assert sum("known" in reply.names for reply in rest) == 1


def test_equal_plans_of_two_streams_share_their_sets() -> None:
    """Five hundred streams in one state must not hold five hundred sets of names."""
    cache, plans = SnapshotCache(), []
    shared = snapshot(endpoints=" ".join(f"{chr(97 + i)}x" for i in range(20)))
    for _ in range(2):
        talk = Talk(DELTA)
        talk.state = offer(talk.state, cache.served(shared))
        talk.ask(EDS, *shared.of(E))
        plans.append(talk.replies()[0].plan)
    assert plans[0].contents is plans[1].contents
    assert plans[0] == plans[1]
