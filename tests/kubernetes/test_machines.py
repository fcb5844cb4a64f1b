"""Machines that Kubernetes does not run: a network namespace as one, from its configuration to its end."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from samples.control_plane import READY_TIMEOUT
from samples.process import ChildProcess
from samples.proxy import Pod, Proxy
from tests.cluster.api_server import ApiServer
from tests.kubernetes.secure import ControlPlane, roots_of
from tests.patience import PATIENCE_SECONDS

NAMESPACE, GROUP, PORT = "machines", "db", 3306
NAMES = Path("/etc/netns")
LISTEN = f"import socket, time; held = socket.create_server(('', {PORT})); time.sleep(1000)"


@pytest.fixture
def control_plane(cluster: ApiServer, tmp_path: Path) -> Iterator[ControlPlane]:
    cluster.kubectl("create", "namespace", NAMESPACE)
    grace = {"PILOT_WORKLOAD_ENTRY_GRACE_PERIOD": "1s"}
    program = ControlPlane(cluster, tmp_path, "--no-plaintext", environment=grace)
    with program.running():
        program.until(lambda: bool(roots_of(cluster, NAMESPACE)))
        yield program


class Machine:
    """A network namespace that reaches this host at ``host``."""

    def __init__(self, number: int) -> None:
        self.name = f"vm-{secrets.token_hex(3)}"
        self.host, self.address = f"198.18.{number}.1", f"198.18.{number}.2"

    @property
    def inside(self) -> tuple[str, ...]:
        """What goes before a command that runs on it."""
        return ("ip", "netns", "exec", self.name)

    def start(self) -> None:
        outer, inner = f"{self.name}o", f"{self.name}i"
        run("ip", "netns", "add", self.name)
        run("ip", "link", "add", outer, "type", "veth", "peer", "name", inner, "netns", self.name)
        run("ip", "address", "add", f"{self.host}/24", "dev", outer)
        run("ip", "link", "set", outer, "up")
        run(*self.inside, "ip", "address", "add", f"{self.address}/24", "dev", inner)
        for each in ("lo", inner):
            run(*self.inside, "ip", "link", "set", each, "up")

    def know(self, hosts: str) -> None:
        """Let names mean addresses on it, as its ``/etc/hosts`` would."""
        (NAMES / self.name).mkdir(parents=True)
        (NAMES / self.name / "hosts").write_text(f"127.0.0.1 localhost\n{hosts}")

    def stop(self) -> None:
        run("ip", "netns", "delete", self.name)
        shutil.rmtree(NAMES / self.name, ignore_errors=True)


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS)
    assert done.returncode == 0, (command, done.stdout, done.stderr)
    return done.stdout


def program(*arguments: str) -> str:
    return run(sys.executable, "-m", "controlplane", "x", "workload", *arguments)


@contextmanager
def machine() -> Iterator[Machine]:
    found = Machine(2 + secrets.randbelow(250))
    found.start()
    try:
        yield found
    finally:
        found.stop()


def variables(text: str) -> dict[str, str]:
    pairs = (line.partition("=") for line in text.splitlines())
    return {key: value.strip("'") for key, _, value in pairs}


def agent(folder: Path, files: Path, vm: Machine, port: str) -> Proxy:
    """Return the agent of a machine, with what was written for it where it looks for that."""
    (folder / "var/run/secrets/tokens").mkdir(parents=True)
    (folder / "etc/certs").mkdir(parents=True)
    shutil.copy(files / "istio-token", folder / "var/run/secrets/tokens/istio-token")
    shutil.copy(files / "root-cert.pem", folder / "etc/certs/root-cert.pem")
    config: dict[str, Any] = yaml.safe_load((files / "mesh.yaml").read_text())["defaultConfig"]
    config["discoveryAddress"] = config["discoveryAddress"].replace("15012", port)  # the test takes a free one
    environment = variables((files / "cluster.env").read_text())
    environment["CA_ADDR"] = config["discoveryAddress"]
    pod = Pod("db-1", NAMESPACE, vm.address, service_account="default", metadata={"INTERCEPTION_MODE": "NONE"})
    return Proxy(pod, folder, config, environment, wrapper=vm.inside, host=vm.address)


class Entries:
    """The WorkloadEntries of the namespace, as kubectl shows them."""

    def __init__(self, cluster: ApiServer) -> None:
        self._cluster = cluster

    def all(self) -> list[dict[str, Any]]:
        text = self._cluster.kubectl("-n", NAMESPACE, "get", "workloadentries", "-o", "json")
        found: list[dict[str, Any]] = json.loads(text)["items"]
        return found

    def health(self) -> Sequence[str]:
        (found,) = self.all()
        held = (found.get("status") or {}).get("conditions") or []
        return [each["status"] for each in held if each["type"] == "Healthy"]


@pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")
async def test_a_machine_joins_tells_of_its_health_and_leaves(cluster: ApiServer, control_plane: ControlPlane) -> None:
    """Two commands prepare it; its agent registers it, with the ports of its group, and nothing is left of it later."""
    entries, port = Entries(cluster), control_plane.secure.rpartition(":")[2]
    text = program(
        "group", "create", "--name", GROUP, "--namespace", NAMESPACE, "--labels", "app=db", "--ports", f"tcp={PORT}"
    )
    group = yaml.safe_load(text)
    group["spec"]["probe"] = {"tcpSocket": {"port": PORT}, "periodSeconds": 1}
    cluster.kubectl("apply", "-f", "-", text=json.dumps(group))
    with machine() as vm, tempfile.TemporaryDirectory(prefix="vm-") as name:
        files = Path(name) / "files"
        asked = ("--name", GROUP, "-n", NAMESPACE, "-o", str(files), "--autoregister", "--no-capture-dns")
        program("entry", "configure", *asked, "--ingressIP", vm.host, "--kubeconfig", str(cluster.kubeconfig))
        assert (files / "hosts").read_text() == f"{vm.host} istiod.istio-system.svc\n"
        assert (files / "istio-token").stat().st_mode & 0o77 == 0
        vm.know((files / "hosts").read_text())
        proxy = agent(Path(name) / "root", files, vm, port)
        await proxy.start()
        try:
            await proxy.wait_ready()
            (entry,) = entries.all()
            assert entry["metadata"]["name"] == f"{GROUP}-{vm.address}"
            assert entry["metadata"]["ownerReferences"][0]["name"] == GROUP
            spec = entry["spec"]
            assert (spec["address"], spec["ports"], spec["labels"]["app"]) == (vm.address, {"tcp": PORT}, "db")
            said = entry["metadata"]["annotations"]
            assert said["istio.io/workloadController"] == "istiod-7d4f"
            assert "istio.io/connectedAt" in said

            async def unwell() -> bool:
                return entries.health() == ["False"]

            await proxy.process.wait_until(unwell, READY_TIMEOUT)
            listening = ChildProcess("db", [*vm.inside, sys.executable, "-c", LISTEN], Path(name) / "db.log", {})
            await listening.start()

            async def well() -> bool:
                return entries.health() == ["True"]

            try:
                await proxy.process.wait_until(well, READY_TIMEOUT)
            finally:
                await listening.stop()
        finally:
            await proxy.stop()
        control_plane.until(lambda: entries.all() == [])
        control_plane.until(lambda: "auto_registration.removed" in control_plane.said)  # is told once it has gone
    assert control_plane.said["auto_registration.removed"]["entry"] == f"WorkloadEntry {NAMESPACE}/{GROUP}-{vm.address}"
