"""Laws of the protocol core, under any order of messages, edits, refusals and broken streams."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from controlplane.ads.watch import CDS, EDS, LDS, RDS, Variant
from controlplane.snapshots import ResourceType
from tests.ads.model import Conversation, Mesh, Part

CLUSTERS = ("c0", "c1", "c2", "c3")
LISTENERS = ("l0", "l1")
ROUTES = ("r0", "r1", "r2")

some_clusters = st.frozensets(st.sampled_from((*CLUSTERS, "nowhere")), max_size=2)
some_routes = st.frozensets(st.sampled_from(ROUTES), max_size=2)
mostly_good = st.sampled_from((False, False, False, True))


class AnyHistory(RuleBasedStateMachine):
    """A proxy that acknowledges everything ends up with the snapshot.

    One thing is granted to the server: a cluster that was warming when the stream broke is taken as warm on the next
    one, since nothing that a proxy says there tells that it still waits for endpoints which it holds.
    """

    @initialize(variant=st.sampled_from(Variant), clusters=st.sets(st.sampled_from(CLUSTERS)))
    def begin(self, variant: Variant, clusters: set[str]) -> None:
        self.mesh = Mesh()
        self.edits = 0
        self.mesh.parts[ResourceType.CLUSTER] = {name: Part() for name in clusters}
        self.mesh.snapshot()
        self.conversation = Conversation(variant, self.mesh)

    def _edit(self, type_: ResourceType, name: str, part: Part) -> None:
        self.edits += 1
        self.mesh.parts[type_][name] = replace(part, content=self.edits)

    @rule(name=st.sampled_from(CLUSTERS), bad=mostly_good)
    def edit_cluster(self, name: str, bad: bool) -> None:  # noqa: FBT001 - hypothesis gives arguments by name
        self._edit(ResourceType.CLUSTER, name, Part(bad=bad))

    @rule(name=st.sampled_from(CLUSTERS))
    def remove_cluster(self, name: str) -> None:
        self.mesh.parts[ResourceType.CLUSTER].pop(name, None)
        self.mesh.parts[ResourceType.ENDPOINT].pop(name, None)

    @rule(name=st.sampled_from(CLUSTERS), bad=mostly_good)
    def edit_endpoints(self, name: str, bad: bool) -> None:  # noqa: FBT001
        self._edit(ResourceType.ENDPOINT, name, Part(bad=bad))

    @rule(name=st.sampled_from(LISTENERS), clusters=some_clusters, routes=some_routes, bad=mostly_good)
    def edit_listener(self, name: str, clusters: frozenset[str], routes: frozenset[str], bad: bool) -> None:  # noqa: FBT001
        self._edit(ResourceType.LISTENER, name, Part(bad=bad, clusters=clusters, routes=routes))

    @rule(name=st.sampled_from(LISTENERS))
    def remove_listener(self, name: str) -> None:
        self.mesh.parts[ResourceType.LISTENER].pop(name, None)

    @rule(name=st.sampled_from(ROUTES), clusters=some_clusters, bad=mostly_good)
    def edit_route(self, name: str, clusters: frozenset[str], bad: bool) -> None:  # noqa: FBT001
        self._edit(ResourceType.ROUTE, name, Part(bad=bad, clusters=clusters))

    @rule()
    def publish(self) -> None:
        self.conversation.publish()

    @rule(times=st.integers(1, 4))
    def serve(self, times: int) -> None:
        for _ in range(times):
            self.conversation.serve_request()

    @rule(times=st.integers(1, 4), partly=st.booleans())
    def take(self, times: int, partly: bool) -> None:  # noqa: FBT001
        for _ in range(times):
            self.conversation.take_response(partly=partly)

    @rule()
    def settle(self) -> None:
        self.conversation.settle()

    @rule()
    def reconnect(self) -> None:
        self.conversation.connect()

    def teardown(self) -> None:
        if hasattr(self, "conversation"):
            self._converges()

    def _converges(self) -> None:
        talk = self.conversation
        talk.settle()
        talk.heal()
        talk.publish()
        talk.settle()
        snapshot = self.mesh.last
        for url, type_ in ((CDS, ResourceType.CLUSTER), (LDS, ResourceType.LISTENER)):
            assert talk.versions(url) == {r.name: r.version for r in snapshot.of(type_).values()}, url
        for url, type_ in ((EDS, ResourceType.ENDPOINT), (RDS, ResourceType.ROUTE)):
            expected = {r.name: r.version for r in snapshot.of(type_).values()}
            assert talk.versions(url) == expected, url
        assert not talk.envoy.warming
        for watch in talk.state.watches.values():
            assert watch.flight is None
            assert watch.refused is None, watch
            assert not watch.retained
            assert not watch.doubtful


TestAnyHistory = AnyHistory.TestCase
TestAnyHistory.settings = settings(
    max_examples=40, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
