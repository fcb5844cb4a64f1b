"""Host names of gateways, asked of a server of names, and back in the registry."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import cast

import dns.asyncresolver
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest
from structlog.testing import capture_logs

from controlplane.model.objects import ChangeSet
from controlplane.registry.networks import network_gateways
from controlplane.registry.resolved_names import RESOLVED_NAME
from controlplane.registry.store import Registry
from controlplane.watchers.reading import read
from controlplane.wiring.gateway_names import MOST_ADDRESSES, GatewayNames
from tests.feature.server import EVENTUALLY_SECONDS, PAUSE_SECONDS

LOOPBACK = "127.0.0.1"
BY_STATUS = """
apiVersion: v1
kind: Service
metadata: {name: edge, namespace: istio-system, labels: {topology.istio.io/network: n2}}
spec: {type: LoadBalancer, clusterIP: 10.0.9.9, ports: [{name: tls, port: 15443}]}
status: {loadBalancer: {ingress: [{hostname: edge.test}]}}
"""
BY_MESH = """
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data: {meshNetworks: "networks: {n2: {gateways: [{address: edge.test, port: 443}]}}"}
"""
NO_GATEWAY = """
apiVersion: v1
kind: Service
metadata: {name: edge, namespace: istio-system}
spec: {clusterIP: 10.0.9.9, ports: [{name: tls, port: 15443}]}
"""


class NameServer(asyncio.DatagramProtocol):
    """Answers by what ``held`` has for a name and type; ``failing`` says that it failed, for some types."""

    def __init__(self) -> None:
        self.held: dict[tuple[str, str], list[str]] = {}
        self.failing: set[str] = set()
        self.asked = 0
        self._transport: asyncio.DatagramTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.asked += 1
        question = dns.message.from_wire(data)
        answer = dns.message.make_response(question)
        answer.flags |= dns.flags.RA
        (wanted,) = question.question
        name, type_ = wanted.name.to_text(omit_final_dot=True), dns.rdatatype.to_text(wanted.rdtype)
        if type_ in self.failing:
            answer.set_rcode(dns.rcode.SERVFAIL)
        elif not any(held == name for held, _ in self.held):
            answer.set_rcode(dns.rcode.NXDOMAIN)
        elif addresses := self.held.get((name, type_)):
            answer.answer.append(dns.rrset.from_text(wanted.name, 1, "IN", type_, *addresses))
        self._transport.sendto(answer.to_wire(), addr)


class World:
    """A registry, and the names of gateways that it wants."""

    def __init__(self, port: int, **environment: str) -> None:
        self.registry = Registry()
        resolver = dns.asyncresolver.Resolver(configure=False)
        resolver.nameservers, resolver.port = [LOOPBACK], port
        self.names = GatewayNames(self.registry, self.apply, environment, resolver, again_seconds=0.01)

    def apply(self, changes: ChangeSet) -> None:
        self.registry.memo.invalidate(self.registry.apply(changes))

    def write(self, yaml: str) -> None:
        reading = read(yaml.encode(), "world.yaml")
        assert not reading.rejections
        self.apply(ChangeSet(upserts=tuple(reading.objects.values())))
        self.names.changed()

    @property
    def gateways(self) -> list[tuple[str, int]]:
        """The addresses and ports by which proxies are told to reach the network."""
        held = self.registry.memo.get(network_gateways, ()).by_network.get("n2", ())
        return [(each.address, each.port) for each in held]

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(EVENTUALLY_SECONDS):
            while not condition():
                await asyncio.sleep(PAUSE_SECONDS)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.names.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])


@pytest.fixture
async def server() -> AsyncIterator[tuple[NameServer, int]]:
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(NameServer, local_addr=(LOOPBACK, 0))
    yield server, transport.get_extra_info("sockname")[1]
    transport.close()


Served = tuple[NameServer, int]


@pytest.mark.parametrize(("objects", "port"), [(BY_STATUS, 15443), (BY_MESH, 443)])
async def test_a_gateway_is_reached_at_the_addresses_of_its_name(server: Served, objects: str, port: int) -> None:
    """The first answers are there before any proxy is served; later ones come as changes."""
    answers, listening = server
    answers.held = {("edge.test", "A"): ["9.9.9.2", "9.9.9.1"], ("edge.test", "AAAA"): ["2001:db8::1"]}
    world = World(listening)
    world.write(objects)
    world.apply(await world.names.first())
    assert world.gateways == [("2001:db8::1", port), ("9.9.9.1", port), ("9.9.9.2", port)]
    async with world.running():
        answers.held = {("edge.test", "A"): ["9.9.9.3"]}
        await world.until(lambda: world.gateways == [("9.9.9.3", port)])
        assert world.names.problems == ()


async def test_a_server_that_fails_takes_nothing_away(server: Served) -> None:
    answers, listening = server
    answers.held = {("edge.test", "A"): ["9.9.9.1"]}
    world = World(listening)
    world.write(BY_STATUS)
    async with world.running():
        await world.until(lambda: world.gateways == [("9.9.9.1", 15443)])
        answers.failing = {"A", "AAAA"}
        await world.until(lambda: bool(world.names.problems))
        assert world.names.problems[0].startswith("gateway edge.test: its name could not be resolved: ")
        assert world.gateways == [("9.9.9.1", 15443)]
        answers.failing.clear()
        await world.until(lambda: not world.names.problems)


async def test_a_server_that_fails_for_one_family_takes_nothing_from_the_other(server: Served) -> None:
    """What was known of the family that fails stays, if anything was."""
    answers, listening = server
    answers.held, answers.failing = {("edge.test", "A"): ["9.9.9.1"]}, {"AAAA"}
    world = World(listening)
    world.write(BY_STATUS)
    async with world.running():
        await world.until(lambda: world.gateways == [("9.9.9.1", 15443)])
        answers.held[("edge.test", "AAAA")] = ["2001:db8::1"]
        answers.failing.clear()
        await world.until(lambda: len(world.gateways) == 2)
        answers.failing = {"AAAA"}
        answers.held[("edge.test", "A")] = ["9.9.9.2"]
        await world.until(lambda: world.gateways == [("2001:db8::1", 15443), ("9.9.9.2", 15443)])


async def test_a_name_that_is_gone_has_no_addresses(server: Served) -> None:
    answers, listening = server
    answers.held = {("edge.test", "A"): ["9.9.9.1"]}
    world = World(listening)
    world.write(BY_STATUS)
    async with world.running():
        await world.until(lambda: bool(world.gateways))
        answers.held.clear()
        await world.until(lambda: not world.gateways)
        assert world.names.problems == ("gateway edge.test: its name has no addresses",)


async def test_a_name_that_nobody_wants_any_more_is_forgotten(server: Served) -> None:
    answers, listening = server
    answers.held = {("edge.test", "A"): ["9.9.9.1"]}
    world = World(listening)
    world.write(BY_STATUS)
    async with world.running():
        await world.until(lambda: bool(world.gateways))
        world.write(NO_GATEWAY)
        await world.until(lambda: not world.registry.keys(RESOLVED_NAME))
    assert world.names.problems == ()


async def test_the_variable_of_istiod_has_nobody_asked(server: Served) -> None:
    answers, listening = server
    world = World(listening, RESOLVE_HOSTNAME_GATEWAYS="false")
    world.write(BY_STATUS)
    assert await world.names.first() == ChangeSet()
    assert answers.asked == 0


async def test_addresses_that_would_lead_proxies_astray_do_not_count(server: Served) -> None:
    """Whoever answers for a name must not lead every proxy to itself, or to its machine's metadata."""
    answers, listening = server
    bad = ["127.0.0.1", "169.254.169.254", "224.0.0.1", "0.0.0.0", "255.255.255.255"]
    answers.held = {("edge.test", "A"): ["9.9.9.1", *bad], ("edge.test", "AAAA"): ["::1", "2001:db8::1"]}
    world = World(listening)
    world.write(BY_STATUS)
    world.apply(await world.names.first())
    assert world.gateways == [("2001:db8::1", 15443), ("9.9.9.1", 15443)]
    (problem,) = world.names.problems
    assert problem == (
        "gateway edge.test: 0.0.0.0: no proxy is sent to an unspecified address; "
        "127.0.0.1: no proxy is sent to a loopback address; "
        "169.254.169.254: no proxy is sent to a link-local address; and 3 more"
    )


async def test_of_very_many_addresses_some_count(server: Served) -> None:
    answers, listening = server
    answers.held = {("edge.test", "AAAA"): [f"2001:db8::{number:x}" for number in range(1, 200)]}
    world = World(listening)
    world.write(BY_STATUS)
    world.apply(await world.names.first())
    assert len(world.gateways) == MOST_ADDRESSES
    assert world.names.problems == ("gateway edge.test: its name has 199 addresses, of which the first 64 count",)


@pytest.mark.parametrize(
    ("address", "word"),
    [
        ("127.0.0.9", "a loopback"),
        ("::ffff:127.0.0.1", "a loopback"),
        ("ff02::1", "a multicast"),
        ("fe80::1", "a link-local"),
        ("fd00::1%eth0", "a zoned"),
        ("::", "an unspecified"),
        ("240.0.0.1", "a reserved"),
        ("10.0.0.1", ""),
        ("64:ff9b::a00:1", ""),
    ],
)
def test_stated_addresses_are_looked_at_too(address: str, word: str) -> None:
    world = World(0)
    with capture_logs() as logs:
        world.write(BY_STATUS.replace("hostname: edge.test", f'ip: "{address}"'))
        world.names.changed()
    reason = f"no proxy is sent to {word} address"
    assert [each["reason"] for each in logs if each["event"] == "networks.gateway_unusable"] == [reason] * bool(word)
    assert world.names.problems == ((f"gateway {address}: {reason}",) if word else ())
    assert world.gateways == ([] if word else [(address, 15443)])
