"""Bytes: what other protobuf implementations read from ours, and what is shared."""

from __future__ import annotations

import gc

import pytest
from envoy.service.discovery.v3.discovery_pb2 import (
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
    DiscoveryRequest,
    DiscoveryResponse,
)
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.ads.contents import Contents, Difference, SnapshotCache, placeholder
from controlplane.ads.refusal import StreamRefused
from controlplane.ads.responses import Plan
from controlplane.ads.watch import CDS, EDS, Variant
from controlplane.ads.wire import Decoder, Encoder
from controlplane.snapshots import Resource, ResourceType, Snapshot

E = ResourceType.ENDPOINT
resources = st.dictionaries(st.text(max_size=200), st.binary(max_size=400), max_size=6)


def contents(bodies: dict[str, bytes]) -> Contents:
    return Contents({name: Resource.of(E, name, body) for name, body in bodies.items()})


@settings(deadline=None, max_examples=50)
@given(bodies=resources, removed=st.frozensets(st.text(max_size=200), max_size=3))
def test_delta_response(bodies: dict[str, bytes], removed: frozenset[str]) -> None:
    shared = contents(bodies)
    response = Encoder().encode(Plan(Variant.DELTA, EDS, shared, shared.names, removed=removed), 0, 7)
    read = DeltaDiscoveryResponse.FromString(response.body)
    assert {r.name: (r.version, r.resource.type_url, r.resource.value) for r in read.resources} == {
        name: (resource.version, EDS, resource.body) for name, resource in shared.resources.items()
    }
    assert list(read.removed_resources) == sorted(removed)
    assert (read.type_url, read.nonce, read.system_version_info) == (EDS, response.nonce, response.version)


@settings(deadline=None, max_examples=50)
@given(bodies=resources)
def test_sotw_response(bodies: dict[str, bytes]) -> None:
    shared = contents(bodies)
    response = Encoder().encode(Plan(Variant.SOTW, EDS, shared, shared.names), 0, 7)
    read = DiscoveryResponse.FromString(response.body)
    assert [(r.type_url, r.value) for r in read.resources] == [(EDS, bodies[name]) for name in sorted(bodies)]
    assert (read.type_url, read.nonce, read.version_info) == (EDS, response.nonce, response.version)


def test_a_nonce_is_not_used_twice_on_a_stream() -> None:
    """The stream that would see it again gets another response, which then serves the streams after it."""
    encoder, shared = Encoder(), contents({"a": b"1"})
    plan = Plan(Variant.DELTA, EDS, shared, shared.names)
    first = encoder.encode(plan, after=0, revision=1)
    assert encoder.encode(plan, after=0, revision=1) is first
    again = encoder.encode(plan, after=first.sequence, revision=1)
    assert again.nonce != first.nonce
    assert again.version == first.version
    assert encoder.encode(plan, after=first.sequence, revision=1) is again
    assert encoder.encode(plan, after=0, revision=1) is again


def test_responses_are_bounded_and_die_with_their_contents() -> None:
    encoder = Encoder(size_bytes=10_000)
    kept = [contents({"a": bytes(3000)}) for _ in range(10)]
    for shared in kept:
        encoder.encode(Plan(Variant.DELTA, EDS, shared, shared.names), 0, 1)
        assert encoder.size_bytes <= 10_000
    del shared
    kept.clear()
    gc.collect()
    assert encoder.size_bytes == 0


def test_a_response_whose_bytes_were_forgotten_is_made_again_as_it_was() -> None:
    """Streams that were sent it before and after are then in the same state, and go on together."""
    encoder, shared = Encoder(size_bytes=1), contents({"a": b"1"})
    plan, other = (Plan(variant, EDS, shared, shared.names) for variant in Variant)
    first = encoder.encode(plan, after=0, revision=1)
    encoder.encode(other, after=0, revision=1)
    again = encoder.encode(plan, after=0, revision=2)
    assert again is not first
    assert again == first
    assert encoder.encode(plan, after=first.sequence, revision=2).nonce != first.nonce


def test_the_cache_gives_one_object_for_one_mapping() -> None:
    cache = SnapshotCache()
    old = Snapshot(1, {E: {"a": Resource.of(E, "a", b"1")}, ResourceType.CLUSTER: {}})
    new = old.replacing(2, [Resource.of(ResourceType.CLUSTER, "c", b"1")])
    first, second = cache.served(old), cache.served(new)
    assert cache.served(old) is first
    assert first.of(E) is second.of(E)
    assert first.of(ResourceType.CLUSTER) is not second.of(ResourceType.CLUSTER)


def test_difference_is_by_version_and_computed_once() -> None:
    old, new = contents({"a": b"1", "b": b"1", "c": b"1"}), contents({"a": b"1", "b": b"2", "d": b"1"})
    assert new.since(old) == Difference(frozenset({"b", "d"}), frozenset({"c"}))
    assert new.since(old) is new.since(old)


def test_difference_of_contents_with_the_same_names() -> None:
    old = contents({"a": b"1", "b": b"1", "c": b"1"})
    swapped = Contents({**old.resources, "b": Resource.of(E, "b", b"2"), "c": Resource.of(E, "c", b"1")})
    names = old.names
    assert swapped.since(old) == Difference(frozenset({"b"}), frozenset())
    assert swapped.names is names
    reordered = Contents(dict(reversed(list(old.resources.items()))))
    assert reordered.since(old) == Difference(frozenset(), frozenset())


def test_what_a_proxy_holds_is_recognised_unread() -> None:
    served = SnapshotCache().served(Snapshot(1, {E: {f"s{i}": Resource.of(E, f"s{i}", b"%d" % i) for i in range(20)}}))
    shared, decoder = served.of(E), Decoder(Variant.DELTA)
    for held in (dict(shared.versions), dict(shared.versions) | {"s3": "old"}, {"s1": "x"}):
        message = DeltaDiscoveryRequest(
            type_url=EDS, initial_resource_versions=held, resource_names_subscribe=sorted(shared.names)
        )
        request = decoder.request(message.SerializeToString(), served)
        assert request.held == held
        assert (request.held is shared.versions) == (held == shared.versions)
        assert request.subscribe is shared.names
        assert request.resumed


def test_what_a_proxy_states_twice_is_not_something_else() -> None:
    served = SnapshotCache().served(Snapshot(1, {E: {name: Resource.of(E, name, b"1") for name in ("a", "b")}}))
    decoder, version = Decoder(Variant.DELTA), served.of(E).versions["a"]
    once = DeltaDiscoveryRequest(type_url=EDS, initial_resource_versions={"a": version}).SerializeToString()
    twice = once + DeltaDiscoveryRequest(initial_resource_versions={"a": version}).SerializeToString()
    assert decoder.request(twice, served).held == {"a": version}


@pytest.mark.parametrize(
    ("field", "entry", "held"),
    [
        pytest.param(5, b"", {"": ""}, id="empty"),
        pytest.param(5, b"\x0a\x01a", {"a": ""}, id="no-version"),
        pytest.param(5, b"\x12\x01v", {"": "v"}, id="no-name"),
        pytest.param(5, b"\x12\x01v\x0a\x01a", {"a": "v"}, id="version-first"),
        pytest.param(5, b"\x0a\x01\xff", None, id="name-is-no-text"),
        pytest.param(5, b"\x0a\x09a", None, id="cut-short"),
        pytest.param(5, b"\xff", None, id="no-entry"),
        pytest.param(3, b"\xff", None, id="subscribed-name-is-no-text"),
        pytest.param(4, b"\xff", None, id="unsubscribed-name-is-no-text"),
    ],
)
def test_a_delta_request_is_read_as_protobuf_reads_it(field: int, entry: bytes, held: dict[str, str] | None) -> None:
    """Malformed ones too: what is no request to protobuf is none to us."""
    served = SnapshotCache().served(Snapshot(1, {E: {name: Resource.of(E, name, b"1") for name in ("a", "b")}}))
    body = DeltaDiscoveryRequest(type_url=EDS).SerializeToString() + bytes((field << 3 | 2, len(entry))) + entry
    if held is None:
        with pytest.raises(DecodeError):
            DeltaDiscoveryRequest.FromString(body)
        with pytest.raises(StreamRefused, match="no delta discovery request"):
            Decoder(Variant.DELTA).request(body, served)
        return
    assert dict(DeltaDiscoveryRequest.FromString(body).initial_resource_versions) == held
    assert Decoder(Variant.DELTA).request(body, served).held == held


def test_what_a_proxy_says_it_holds_is_not_what_we_hold() -> None:
    """Streams in equal states share one; a resource without its body must not pass for the resource."""
    real = Resource.of(E, "a", b"1")
    assert placeholder(E, "a", real.version) != real
    assert placeholder(E, "a", real.version) == placeholder(E, "a", real.version)


def test_sotw_names_are_shared() -> None:
    decoder, served = Decoder(Variant.SOTW), SnapshotCache().served(Snapshot())
    names = [f"s{i}" for i in range(20)]
    read = [
        decoder.request(
            DiscoveryRequest(type_url=EDS, resource_names=names, response_nonce=nonce).SerializeToString(), served
        )
        for nonce in ("1", "2")
    ]
    assert read[0].subscribe == set(names)
    assert read[0].subscribe is read[1].subscribe
    assert decoder.request(DiscoveryRequest(type_url=CDS, version_info="1").SerializeToString(), served).resumed
