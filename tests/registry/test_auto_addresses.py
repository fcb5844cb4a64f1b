"""Automatic addresses of ServiceEntries: who gets them, in which order, and what keeps them."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.model import kinds
from controlplane.model.objects import ChangeSet, ObjectKey
from controlplane.registry.auto_addresses import POOLS, AddressRequest, Pools, allocations, assign, auto_addresses
from controlplane.registry.services import services_of
from controlplane.registry.store import Registry
from tests.compiler.histories import manifest, parsed


def entry(name: str, *hosts: str, status: Any = None, created: str = "", **fields: Any) -> dict[str, Any]:
    labels = fields.pop("labels", {})
    spec = {
        "hosts": list(hosts),
        "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}],
        "resolution": "DNS",
        **fields,
    }
    more = {"status": status} if status is not None else {}
    return manifest(
        "networking.istio.io/v1",
        "ServiceEntry",
        "ns",
        name,
        labels=labels,
        creationTimestamp=created or None,
        spec=spec,
        **more,
    )


def allocated(*raw: dict[str, Any]) -> dict[str, tuple[str, ...]]:
    """Return the addresses by ``name/host``."""
    registry = Registry()
    registry.apply(ChangeSet(upserts=tuple(parsed(obj) for obj in raw)))
    return {
        f"{key.name}/{host}": addresses
        for key, found in registry.memo.get(allocations, ()).items()
        for host, addresses in found.items()
    }


def test_the_oldest_comes_first_and_each_host_gets_both_families() -> None:
    found = allocated(
        entry("a", "a.com", "A2.com", "a.com", created="2024-05-01T00:00:00Z"),
        entry("b", "b.com", created="2023-05-01T00:00:00Z"),
    )
    assert found == {
        "b/b.com": ("240.240.0.1", "2001:2::1"),
        "a/a.com": ("240.240.0.2", "2001:2::2"),
        "a/a2.com": ("240.240.0.3", "2001:2::3"),
    }


@pytest.mark.parametrize(
    ("fields", "gets"),
    [
        pytest.param({}, True, id="dns"),
        pytest.param({"resolution": "STATIC"}, True, id="static"),
        pytest.param({"resolution": "NONE"}, False, id="none"),
        pytest.param({"addresses": ["1.2.3.4"]}, False, id="addresses"),
        pytest.param({"labels": {"networking.istio.io/enable-autoallocate-ip": "False"}}, False, id="opted-out"),
        pytest.param({"labels": {"networking.istio.io/enable-autoallocate-ip": "x"}}, True, id="any-other-label"),
    ],
)
def test_eligibility(fields: dict[str, Any], *, gets: bool) -> None:
    assert bool(allocated(entry("a", "a.com", **fields))) is gets


def test_a_wildcard_host_has_no_address() -> None:
    assert set(allocated(entry("a", "*.a.com", "b.com", resolution="STATIC"))) == {"a/b.com"}
    assert set(allocated(entry("a", "*.a.com", resolution="DYNAMIC_DNS"))) == {"a/*.a.com"}


def test_what_is_written_in_a_status_or_by_a_user_is_not_given_to_another() -> None:
    held = {"addresses": [{"host": "b.com", "value": "240.240.0.1"}, {"host": "b.com", "value": "2001:2::9"}]}
    found = allocated(
        entry("a", "a.com"),
        entry("b", "b.com", status=held),
        entry("c", "c.com", addresses=["240.240.0.2"]),
    )
    assert found == {"a/a.com": ("240.240.0.3", "2001:2::1"), "b/b.com": ("240.240.0.1", "2001:2::9")}


def test_the_older_of_two_with_one_address_keeps_it_and_nonsense_is_passed_over() -> None:
    found = allocated(
        entry("a", "a.com", status={"addresses": [{"host": "a.com", "value": "240.240.7.7"}]}),
        entry(
            "b",
            "b.com",
            status={"addresses": [{"host": "b.com", "value": "240.240.7.7"}, {"host": "b.com", "value": "x"}, 3, {}]},
        ),
        entry("c", "c.com", status={"addresses": [{"host": "c.com", "value": "10.0.0.1"}]}),
    )
    assert found == {
        "a/a.com": ("240.240.7.7", "2001:2::1"),
        "b/b.com": ("240.240.0.1", "2001:2::2"),
        "c/c.com": ("10.0.0.1", "2001:2::3"),  # of pools that somebody chose otherwise
    }


def test_a_younger_entry_moves_nothing_and_costs_the_older_nothing() -> None:
    registry = Registry()
    memo = registry.memo
    first = parsed(entry("a", "a.com", created="2023-01-01T00:00:00Z"))
    key = ObjectKey(kinds.SERVICE_ENTRY, "ns", "a")
    registry.apply(ChangeSet(upserts=(first,)))
    before = memo.get(services_of, key)
    assert before[0].auto_addresses == ("240.240.0.1", "2001:2::1")
    runs = memo.runs["services_of"]
    later = parsed(entry("0", "z.com", created="2024-01-01T00:00:00Z"))
    memo.invalidate(registry.apply(ChangeSet(upserts=(later,))))
    assert memo.get(services_of, key) is before
    assert memo.runs["services_of"] == runs


def test_in_a_cluster_only_what_a_status_holds_counts() -> None:
    """An address of another pool too; one of each family; other entries do not matter."""
    registry = Registry(allocates=False)
    memo = registry.memo
    values = [("a.com", "2001:2::7"), ("a.com", "10.1.0.7"), ("a.com", "240.240.0.8"), ("gone.com", "240.240.0.9")]
    status = {"addresses": [{"host": host, "value": value} for host, value in values]}
    held, none = entry("a", "A.com", status=status), entry("b", "b.com")
    registry.apply(ChangeSet(upserts=(parsed(held), parsed(none))))
    keys = [ObjectKey(kinds.SERVICE_ENTRY, "ns", name) for name in ("a", "b")]
    assert [memo.get(auto_addresses, key) for key in keys] == [{"a.com": ("10.1.0.7", "2001:2::7")}, {"b.com": ()}]
    assert [memo.get(services_of, key)[0].auto_addresses for key in keys] == [("10.1.0.7", "2001:2::7"), ()]
    runs = memo.runs["services_of"]
    written = entry("b", "b.com", status={"addresses": [{"host": "b.com", "value": "240.240.0.1"}]})
    memo.invalidate(registry.apply(ChangeSet(upserts=(parsed(written),))))
    assert [memo.get(services_of, key)[0].auto_addresses for key in keys] == [
        ("10.1.0.7", "2001:2::7"),
        ("240.240.0.1",),
    ]
    assert memo.runs["services_of"] == runs + 1


def requested(
    name: str, *hosts: str, held: tuple[tuple[str, str], ...] = (), taken: tuple[str, ...] = ()
) -> AddressRequest:
    return AddressRequest(ObjectKey(kinds.SERVICE_ENTRY, "ns", name), ("", name, "ns"), hosts, held, taken)


def ipv4(found: dict[tuple[ObjectKey, str, int], str]) -> dict[str, str]:
    return {host: address for (_, host, version), address in found.items() if version == 4}


def test_what_was_assigned_stays_until_its_status_holds_it() -> None:
    """Also where an entry comes that sorts before it; what a status holds and what a user states go first."""
    pools = Pools()
    first = assign([requested("m", "m.com"), requested("n", "n.com"), requested("o", "o.com")], {}, pools)
    assert ipv4(first) == {"m.com": "240.240.0.1", "n.com": "240.240.0.2", "o.com": "240.240.0.3"}
    later = [
        requested("a", "a.com"),
        requested("b", "b.com", held=(("b.com", "240.240.0.2"),)),
        requested("m", "m.com"),
        requested("n", "n.com"),
        requested("o", "o.com"),
        requested("z", taken=("240.240.0.3",)),
    ]
    assert ipv4(assign(later, first, pools)) == {
        "m.com": "240.240.0.1",
        "b.com": "240.240.0.2",
        "a.com": "240.240.0.4",
        "n.com": "240.240.0.5",
        "o.com": "240.240.0.6",
    }


@pytest.mark.slow
def test_a_pool_begins_again_at_its_end_and_then_has_no_more() -> None:
    size = POOLS[0].num_addresses - 2
    pools = Pools()
    every = [requested(f"{number:06}", f"h{number}") for number in range(size)]
    found = assign(every, {}, pools)
    assert ipv4(found)[f"h{size - 1}"] == "240.240.255.254"
    freed = [*every[:3], *every[4:]]
    again = assign([*freed, requested("new", "new"), requested("none", "none")], found, pools)
    assert ipv4(again)["new"] == "240.240.0.4"
    assert "none" not in ipv4(again)
    assert (ObjectKey(kinds.SERVICE_ENTRY, "ns", "none"), "none", 6) in again
