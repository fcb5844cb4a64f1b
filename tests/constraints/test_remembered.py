"""Contents that were found sound are kept by their bytes, of all types together no more than so many."""

from __future__ import annotations

from typing import Any

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.base_pb2 import HeaderValue, Metadata
from google.protobuf.message import Message

from controlplane.constraints.checker import Fault, checker_of, faults
from controlplane.constraints.remembered import MOST_BYTES, MOST_BYTES_EACH, Contents, remembered_bytes

SIZE = 800


def matches(number: int) -> Cluster:
    """Return a cluster with one content that is new, and some that are met again and again."""
    cluster = Cluster(name="c", alt_stat_name="c")
    cluster.connect_timeout.seconds = 1
    for name in (f"{number:0{SIZE}}", "again", "again", "again"):
        cluster.transport_socket_matches.add(name=name).transport_socket.name = "raw"
        packed = cluster.transport_socket_matches[-1].transport_socket.typed_config
        packed.type_url = "type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"
    return cluster


def test_contents_take_so_many_bytes_however_many_there_are() -> None:
    largest = 0
    for number in range(MOST_BYTES // SIZE + 100):
        assert not faults(matches(number))
        largest = max(largest, remembered_bytes())
    assert MOST_BYTES * 0.9 < largest <= MOST_BYTES
    spoiled = matches(0)
    spoiled.transport_socket_matches[0].transport_socket.ClearField("name")
    assert [fault.path for fault in faults(spoiled)] == ["transport_socket_matches[0].transport_socket.name"]


def test_contents_of_all_types_share_the_room() -> None:
    one, other = Contents(), Contents()
    for number in range(2 * MOST_BYTES // SIZE):
        (one if number % 2 else other).add(f"{number:0{SIZE}}".encode())
        assert remembered_bytes() <= MOST_BYTES
    assert sum(map(len, [*one.held, *other.held])) <= remembered_bytes()
    assert one.held
    assert other.held


def test_a_large_content_is_not_kept() -> None:
    contents = Contents()
    contents.add(b"x" * (MOST_BYTES_EACH + 1))
    assert contents.held == set()


def test_only_what_is_sound_is_remembered() -> None:
    wrong: Message = HeaderValue(key="k", value="%NO_SUCH(x)%")
    checker: Any = checker_of(HeaderValue.DESCRIPTOR)
    for _ in range(3):
        assert [fault.path for fault in checker.within(wrong)] == ["value"]
    empty: Any = checker_of(Metadata.DESCRIPTOR)
    named = Metadata()
    named.filter_metadata[""].fields["x"].bool_value = True
    assert list(empty.within(named)) == [Fault("filter_metadata[]", "must not be empty")]
