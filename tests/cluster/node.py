"""A Kubernetes with one node and real pods, in namespaces of its own on this machine (root).

The processes are containerd, kubelet, kube-proxy and those of ``ApiServer``; the node's PID 1 is ``namespaces.sh``, and
with it ends everything, pods included. A veth pair joins the node to the host, so pods and cluster IPs are reachable
from here, and this machine from the pods. Several nodes run at a time: each has a number, its addresses derive from it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from io import TextIOWrapper
from pathlib import Path

from tests.cluster import build, containerd, control_groups, images
from tests.cluster.api_server import NODE_TOKEN, Addresses, ApiServer
from tests.cluster.daemon import POLL_SECONDS, Daemon
from tests.cluster.place import Place, take_place

NODE_NAME = "node1"  # in every cluster
PROGRAMS = (
    "containerd",
    "ctr",
    "runc",
    "conntrack",
    "iptables",
    "ip",
    "nsenter",
    "unshare",
    "setpriv",
    "busybox",
    "curl",
)
PACKAGES = "containerd runc containernetworking-plugins conntrack iptables iproute2 util-linux busybox-static curl"
START_SECONDS = 120.0
_INIT = "init.pid"
CLEAR_SECONDS = 60.0


def lacking() -> str | None:
    """Return what a node needs and this machine lacks, as a sentence; ``None`` where it has all."""
    if os.geteuid() != 0:
        return "a node needs root: it is made of namespaces, mounts and network interfaces"
    programs = [program for program in PROGRAMS if shutil.which(program) is None]
    if not (containerd.PLUGINS / "bridge").exists():
        programs.append("CNI plugins")
    if programs:
        return f"a node needs {', '.join(programs)}: apt-get install {PACKAGES}"
    if not all(program.folder.exists() for program in (build.KUBERNETES, build.COREDNS)):
        return "a node needs binaries that are not built: `make kubernetes` builds them"
    return None


class Node:
    """One Kubernetes with a node. ``folder`` must exist, and be on the file system of the cache to start fast."""

    def __init__(self, folder: Path) -> None:
        """Prepare it; nothing runs before ``start``."""
        self.folder = folder
        self.api: ApiServer
        self.place: Place
        self._daemons: list[Daemon] = []
        self._lock: TextIOWrapper | None = None
        self._inside: tuple[str, ...] = ()

    @property
    def kubeconfig(self) -> Path:
        """A kubeconfig file with every right."""
        return self.api.kubeconfig

    def start(self) -> None:
        """Start it and wait until the node is ready. Raises ``DaemonError``, or ``RuntimeError`` for what it lacks."""
        if problem := lacking():
            raise RuntimeError(problem)
        self.place, self._lock = take_place()
        self._clear()
        self._make_namespaces()
        self._connect()
        where = Addresses(self.place.node, 6443, "127.0.0.1", 2379, 2380, self.place.services)
        self.api = ApiServer(self.folder, where, controllers=("*",), wrapper=self._inside)
        self._start_containerd()
        self.api.start()
        self._start_node()

    def stop(self) -> None:
        """End everything, pods included."""
        for daemon in reversed(self._daemons):  # the last is PID 1: the kernel ends the rest
            daemon.stop()
        if "api" in vars(self):
            self.api.stop()
        if self._lock is not None:
            self._clear()
            self._lock.close()
            self._lock = None

    def kubectl(self, *arguments: str, text: str | None = None, status: Sequence[int] = (0,)) -> str:
        """Run kubectl with every right; see ``ApiServer.kubectl``."""
        return self.api.kubectl(*arguments, text=text, status=status)

    def run(self, *command: str, text: str | None = None) -> str:
        """Run a command inside the node; return its output. Raises ``RuntimeError`` with its complaint."""
        return _run(*self._inside, *command, text=text)

    def load(self, image: Path) -> None:
        """Give the node an image, a tar file from ``images``: pods name it with ``imagePullPolicy: Never``."""
        self.run(*containerd.CTR, "images", "import", str(image))

    @staticmethod
    def load_into(folder: Path, image: Path) -> None:
        """Give an image to the node that another process runs in a folder. Raises ``RuntimeError`` if none does."""
        if not (folder / _INIT).exists():
            raise RuntimeError(f"{folder} holds no cluster with a node")
        target = (folder / _INIT).read_text()
        _run("nsenter", "--target", target, "--mount", "--net", *containerd.CTR, "images", "import", str(image))

    def _make_namespaces(self) -> None:
        """Start PID 1 and learn how to get inside."""
        flags = ("--mount", "--net", "--pid", "--uts", "--ipc")
        script = Path(__file__).with_name("namespaces.sh")
        outer = ("unshare", *flags, "--fork", "--kill-child", "--mount-proc", "--propagation", "private")
        init = Daemon("init", (*outer, "sh", str(script), str(self.folder), NODE_NAME), self.folder)
        init.start()
        self._daemons.append(init)
        init.wait_until((self.folder / "mounted").exists, START_SECONDS)
        children = Path(f"/proc/{init.pid}/task/{init.pid}/children").read_text(encoding="utf-8").split()
        self._inside = ("nsenter", "--target", children[0], *flags, "--")
        (self.folder / _INIT).write_text(children[0])

    def _connect(self) -> None:
        """Join the node to this machine, with routes to its pods and cluster IPs."""
        link, pid = self.place.link, self._inside[2]
        _run("ip", "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", pid)
        _run("ip", "address", "add", f"{self.place.host}/30", "dev", link)
        _run("ip", "link", "set", link, "up")
        for interface in ("lo", "eth0"):
            self.run("ip", "link", "set", interface, "up")
        self.run("ip", "address", "add", f"{self.place.node}/30", "dev", "eth0")
        self.run("ip", "route", "add", "default", "via", self.place.host)
        for destination in (self.place.pods, self.place.services):
            _run("ip", "route", "add", destination, "via", self.place.node)
        switches = ("net/ipv4/ip_forward", "net/bridge/bridge-nf-call-iptables")  # the second may be a missing module
        for switch in switches:
            self.run("sh", "-c", f"! test -e /proc/sys/{switch} || echo 1 > /proc/sys/{switch}")

    def _daemon(self, name: str, *command: str) -> Daemon:
        path = f"{build.KUBERNETES.folder}:{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path}
        daemon = Daemon(name, command, self.folder, wrapper=self._inside, environment=environment)
        self._daemons.insert(1, daemon)
        daemon.start()
        return daemon

    def _start_containerd(self) -> None:
        """Start it on a copy of the store that has the images already; the copy shares their files."""
        control_groups.make(self.place.control_group)
        store = images.cache() / "store"
        with build.locked(build.cache() / "images.lock"):
            archives = images.base()
            if not containerd.holds(store, archives):
                shutil.rmtree(store, ignore_errors=True)
                store.mkdir(parents=True)
                importer = self._containerd("containerd-import", store)
                for archive in archives:
                    self.load(archive)
                importer.stop()
                self._daemons.remove(importer)
                containerd.mark_complete(store, archives)
            copy = self.folder / "containerd"
            containerd.copy_store(store, copy)
        self._containerd("containerd", copy)

    def _containerd(self, name: str, store: Path) -> Daemon:
        config = containerd.write_configuration(self.folder, name, store, self.place.pods)
        daemon = self._daemon(name, "containerd", "--config", str(config))
        asking = [*self._inside, *containerd.CTR, "version"]
        daemon.wait_until(lambda: not subprocess.run(asking, capture_output=True, check=False).returncode)
        return daemon

    def _start_node(self) -> None:
        """Start what makes a node, and wait for it."""
        kubelet_config = self.api.write_kubeconfig(self.folder / "kubelet.kubeconfig", NODE_TOKEN)
        (self.folder / "resolv.conf").touch()
        self._write("kubelet.json", self._kubelet())
        self._write("kube-proxy.json", self._proxy())
        binaries = build.KUBERNETES.folder
        kubelet = self._daemon(
            "kubelet",
            f"{binaries}/kubelet",
            f"--config={self.folder}/kubelet.json",
            f"--kubeconfig={kubelet_config}",
            f"--node-ip={self.place.node}",
            f"--hostname-override={NODE_NAME}",
        )
        self._daemon("kube-proxy", f"{binaries}/kube-proxy", f"--config={self.folder}/kube-proxy.json")
        self._daemon(
            "kube-scheduler",
            f"{binaries}/kube-scheduler",
            *(f"--{prefix}kubeconfig={self.kubeconfig}" for prefix in ("", "authentication-", "authorization-")),
            "--leader-elect=false",
            "--bind-address=127.0.0.1",
        )
        manifest = Path(__file__).with_name("dns.yaml").read_text().replace("DNS_ADDRESS", self.place.dns)
        self.kubectl("apply", "-f", "-", text=manifest)
        query = ("get", "nodes", "-o", 'jsonpath={.items[*].status.conditions[?(@.type=="Ready")].status}')
        kubelet.wait_until(lambda: "True" in self.kubectl(*query))

    def _write(self, name: str, value: object) -> None:
        (self.folder / name).write_text(json.dumps(value, indent=1))

    def _kubelet(self) -> dict[str, object]:
        return {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
            "authorization": {"mode": "AlwaysAllow"},
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": f"/{self.place.control_group}",
            "failCgroupV1": False,
            "failSwapOn": False,
            "maxPods": 240,  # of the 253 addresses that there are
            "enforceNodeAllocatable": [],
            "containerRuntimeEndpoint": f"unix://{containerd.SOCKET}",
            "clusterDNS": [self.place.dns],
            "clusterDomain": "cluster.local",
            "resolvConf": f"{self.folder}/resolv.conf",
            "imageGCHighThresholdPercent": 100,
            "imageGCLowThresholdPercent": 99,
            "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
            "volumePluginDir": f"{self.folder}/volume-plugins",
        }

    def _proxy(self) -> dict[str, object]:
        return {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "mode": "iptables",
            "clientConnection": {"kubeconfig": str(self.kubeconfig)},
            "clusterCIDR": self.place.pods,
            "hostnameOverride": NODE_NAME,
            "iptables": {"minSyncPeriod": "50ms"},  # the default of a second is felt in each test
            "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        }

    def _clear(self) -> None:
        """Remove what outlives the processes of this node, or of one before it that was killed and had its place."""
        subprocess.run(["ip", "link", "delete", self.place.link], capture_output=True, check=False)  # mostly gone
        deadline = time.monotonic() + CLEAR_SECONDS
        while not control_groups.remove(self.place.control_group) and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)


def _run(*command: str, text: str | None = None) -> str:
    result = subprocess.run(command, input=text, capture_output=True, text=True, check=False, timeout=300)
    if result.returncode:
        raise RuntimeError(f"{' '.join(command)}: {result.stderr.strip()}")
    return result.stdout
