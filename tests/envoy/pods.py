"""Pods without Kubernetes: network namespaces on a bridge, each with its traffic redirected to an Envoy.

The bridge is in a namespace of its own, so that no firewall rule of the host sees what pods say to each other. The
host has an address on it too, where the control plane listens.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from controlplane.agent.addresses import TcpAddress
from samples.authority import LocalAuthority
from samples.control_plane import READY_TIMEOUT
from samples.process import ChildProcess
from samples.proxy import Pod as Described
from samples.proxy import Ports, Proxy, mount_certificates
from tests.patience import PATIENCE_SECONDS

PROXY_UID = 1337  # whose traffic is not redirected: it is Envoy's own
APP_PORT = 8080
_RUN = f"{os.getpid():x}"  # two test runs on one machine must not share names or addresses
_SUBNET = f"198.18.{os.getpid() % 250}"  # RFC 2544: for tests of networks, never routed
HOST_ADDRESS = f"{_SUBNET}.254"

REDIRECTION = ("-p", "15001", "-z", "15006", "-u", str(PROXY_UID), "-m", "REDIRECT", "-i", "*", "-b", "*")
PORTS = Ports(admin=15000, agent=15020, ready=15021, metrics=15090)
EXCLUDED = ("-d", "15090,15021,15020")


def command(*arguments: str, text: str | None = None) -> str:
    """Run a command to its end and return its output. Raises ``RuntimeError`` with what it said when it fails."""
    result = subprocess.run(
        arguments, input=text, capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS
    )
    if result.returncode:
        raise RuntimeError(f"{' '.join(arguments)}: {result.stderr.strip()}")
    return result.stdout


@asynccontextmanager
async def fabric() -> AsyncIterator[str]:
    """Make the bridge, with the host on it; yield the name of its namespace."""
    name = f"cp{_RUN}net"
    host_side = f"cp{_RUN}h"
    command("ip", "netns", "add", name)
    try:
        command("ip", "-n", name, "link", "add", "bridge", "type", "bridge")
        command("ip", "-n", name, "link", "set", "bridge", "up")
        command("ip", "link", "add", host_side, "type", "veth", "peer", "name", "host", "netns", name)
        try:
            command("ip", "-n", name, "link", "set", "host", "master", "bridge", "up")
            command("ip", "address", "add", f"{HOST_ADDRESS}/24", "dev", host_side)
            command("ip", "link", "set", host_side, "up")
            yield name
        finally:
            command("ip", "link", "delete", host_side)  # at once: the namespace ends some time after the command
    finally:
        command("ip", "netns", "delete", name)  # with it goes every interface inside


@dataclass(frozen=True, slots=True)
class Site:
    """What pods share: the bridge's namespace, a directory for their files, the control plane, who signs for them.

    With ``first`` a pod's agent asks the control plane for its certificate, over TLS: it puts a certificate into a
    folder, for the workload of this name, that the agent may show the first time. ``environment`` is for agents.
    """

    network: str
    directory: Path
    control_plane: TcpAddress
    authority: LocalAuthority
    first: Callable[[Path, str], None] | None = None
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Pod:
    """A network namespace with one address, an application in it and an Envoy that takes all its traffic."""

    name: str
    address: str
    namespace: str
    folder: Path

    async def curl(self, url: str, *arguments: str) -> tuple[int, str]:
        """Ask from inside the pod, as its application would; return the status (0: no answer) and the body."""
        return await curl(url, *arguments, wrapper=inside(self.namespace))


def inside(namespace: str) -> tuple[str, ...]:
    """Return what runs a command in a network namespace."""
    return ("ip", "netns", "exec", namespace)


async def curl(url: str, *arguments: str, wrapper: Sequence[str] = ()) -> tuple[int, str]:
    """Ask with curl; return the status (0: no answer) and the body."""
    options = ("--silent", "--max-time", "10", "--noproxy", "*", "--write-out", "\n%{http_code}")
    process = await asyncio.create_subprocess_exec(
        *wrapper, "curl", *options, *arguments, url, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    body, _, status = (await process.communicate())[0].decode().rpartition("\n")
    return int(status), body


@asynccontextmanager
async def pod(site: Site, name: str, number: int, *options: str) -> AsyncIterator[Pod]:
    """Run a pod of the namespace ``default`` whose service account has its name; its sidecar is ready.

    ``options`` are further ones of ``controlplane iptables``.
    """
    namespace = f"cp{_RUN}{number}"
    address = f"{_SUBNET}.{number}"
    command("ip", "netns", "add", namespace)
    try:
        connect(namespace, site.network, address)
        command(*inside(namespace), sys.executable, "-m", "controlplane", "iptables", *REDIRECTION, *EXCLUDED, *options)
        application = ChildProcess(
            f"the application of {name}",
            [*inside(namespace), sys.executable, "-m", "samples.backends", name, "0.0.0.0", str(APP_PORT)],
            site.directory / f"{name}-application.log",
        )
        folder = site.directory / name
        config: dict[str, Any] = {
            "discoveryAddress": str(site.control_plane),
            "proxyStatsMatcher": {"inclusionRegexps": [".*"]},
        }
        environment = dict(site.environment)
        if site.first is None:
            mount_certificates(folder, site.authority, "default", name)
            config["controlPlaneAuthPolicy"] = "NONE"
        else:
            site.first(folder / "first", name)
            environment["PROV_CERT"] = "./first"
        described = Described(name, ip=address, service_account=name, labels={"app": name})
        proxy = Proxy(described, folder, config, environment, ports=PORTS, wrapper=as_proxy(namespace), host=address)
        for path in (folder, *folder.rglob("*")):
            os.chown(path, PROXY_UID, PROXY_UID)  # whom the agent runs as

        async def answering() -> bool:
            return application.said("answers on")

        try:
            await application.start()
            await proxy.start()
            await proxy.wait_ready()
            await application.wait_until(answering, READY_TIMEOUT)
            yield Pod(name, address, namespace, folder)
            assert await refusals(namespace) == {}, f"{name} refused an update; see its log"
        finally:
            await proxy.stop()
            await application.stop()
    finally:
        command("ip", "netns", "delete", namespace)


async def refusals(namespace: str) -> dict[str, int]:
    """Return how many updates of each kind the pod's Envoy refused; only the pod can ask its Envoy."""
    url = f"http://127.0.0.1:{PORTS.admin}/stats?format=json&filter=update_rejected$"
    status, body = await curl(url, wrapper=inside(namespace))
    assert status == 200, body
    return {each["name"]: each["value"] for each in json.loads(body)["stats"] if each.get("value")}


def connect(namespace: str, network: str, address: str) -> None:
    """Give the pod its interface on the bridge; everything it does not know goes to the host."""
    outer = f"pod{address.rpartition('.')[2]}"
    command("ip", "-n", network, "link", "add", outer, "type", "veth", "peer", "name", "eth0", "netns", namespace)
    command("ip", "-n", network, "link", "set", outer, "master", "bridge", "up")
    command("ip", "-n", namespace, "link", "set", "lo", "up")
    command("ip", "-n", namespace, "address", "add", f"{address}/24", "dev", "eth0")
    command("ip", "-n", namespace, "link", "set", "eth0", "up")
    command("ip", "-n", namespace, "route", "add", "default", "via", HOST_ADDRESS)


def as_proxy(namespace: str) -> tuple[str, ...]:
    """Return what runs a command in a pod as the user whose traffic is not redirected; both steps ``exec``.

    It may read the checkout also where only root may, say below ``/root``: in a pod it would be in the image.
    """
    reads = ("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search")
    user = (f"--reuid={PROXY_UID}", f"--regid={PROXY_UID}", "--clear-groups", *reads)
    return (*inside(namespace), "setpriv", *user, "--")
