"""A Kubernetes with one node and real pods, in namespaces of its own on this machine (root).

The processes are containerd, kubelet, kube-proxy and those of ``ApiServer``; the node's PID 1 is ``namespaces.sh``, and
with it ends everything, pods included. A veth pair joins the node to the host, so pods and cluster IPs are reachable
from here, and this machine from the pods. Several nodes run at a time: each has a number, its addresses derive from it.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from io import TextIOWrapper
from pathlib import Path

from tests.cluster import build, images
from tests.cluster.api_server import NODE_TOKEN, Addresses, ApiServer
from tests.cluster.daemon import POLL_SECONDS, Daemon, DaemonError

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
CNI_PLUGINS = Path("/usr/lib/cni")
CONTROL_GROUPS = Path("/sys/fs/cgroup")
MOST_NODES = 16
START_SECONDS = 10.0
CLEAR_SECONDS = 5.0
_LOCKS = Path("/run/lock")
_SOCKET = "/run/containerd/containerd.sock"


def lacking() -> str | None:
    """Return what a node needs and this machine lacks, as a sentence; ``None`` where it has all."""
    if os.geteuid() != 0:
        return "a node needs root: it is made of namespaces, mounts and network interfaces"
    programs = [program for program in PROGRAMS if shutil.which(program) is None]
    if not (CNI_PLUGINS / "bridge").exists():
        programs.append("CNI plugins")
    if programs:
        return f"a node needs {', '.join(programs)}: apt-get install {PACKAGES}"
    names = ("kubelet", "kube-proxy", "kube-scheduler", "kube-controller-manager", "coredns")
    if not all((build.cache() / "bin" / name).exists() for name in names):
        return "a node needs binaries that are not built: `make kubernetes` builds them"
    return None


class Node:
    """One Kubernetes with a node. ``folder`` must exist, and be on the file system of the cache to start fast."""

    def __init__(self, folder: Path) -> None:
        """Prepare it; nothing runs before ``start``."""
        self.folder = folder
        self.api: ApiServer
        self._daemons: list[Daemon] = []
        self._lock: TextIOWrapper | None = None
        self._number = 0
        self._inside: tuple[str, ...] = ()

    @property
    def address(self) -> str:
        """The node's own address, where its API is."""
        return f"10.200.{self._number}.2"

    @property
    def host_address(self) -> str:
        """The address of this machine, as pods see it."""
        return f"10.200.{self._number}.1"

    @property
    def pods(self) -> str:
        """The addresses of the pods."""
        return f"10.244.{self._number}.0/24"

    @property
    def services(self) -> str:
        """The cluster IPs."""
        return f"10.{96 + self._number}.0.0/16"

    @property
    def dns(self) -> str:
        """The cluster IP of the DNS server."""
        return f"10.{96 + self._number}.0.10"

    @property
    def kubeconfig(self) -> Path:
        """A kubeconfig file with every right."""
        return self.api.kubeconfig

    def start(self) -> None:
        """Start it and wait until the node is ready. Raises ``DaemonError``, or ``RuntimeError`` for what it lacks."""
        if problem := lacking():
            raise RuntimeError(problem)
        self._number, self._lock = _free_number()
        self._clear()
        self._make_namespaces()
        self._connect()
        where = Addresses(self.address, 6443, "127.0.0.1", 2379, 2380, self.services)
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
        self.run("ctr", "--address", _SOCKET, "--namespace", "k8s.io", "images", "import", str(image))

    @property
    def _link(self) -> str:
        return f"cpnode{self._number}"

    @property
    def control_group(self) -> str:
        """The control group of all pods."""
        return f"controlplane-node{self._number}"

    def _make_namespaces(self) -> None:
        """Start PID 1 and learn how to get inside."""
        flags = ("--mount", "--net", "--pid", "--uts", "--ipc")
        script = Path(__file__).with_name("namespaces.sh")
        outer = ("unshare", *flags, "--fork", "--kill-child", "--mount-proc", "--propagation", "private")
        init = Daemon("init", (*outer, "sh", str(script), str(self.folder), NODE_NAME), self.folder)
        init.start()
        self._daemons.append(init)
        init.wait_until((self.folder / "mounted").exists, START_SECONDS)
        children = Path(f"/proc/{init.pid}/task/{init.pid}/children").read_text().split()
        self._inside = ("nsenter", "--target", children[0], *flags, "--")

    def _connect(self) -> None:
        """Join the node to this machine, with routes to its pods and cluster IPs."""
        link, pid = self._link, self._inside[2]
        _run("ip", "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", pid)
        _run("ip", "address", "add", f"{self.host_address}/30", "dev", link)
        _run("ip", "link", "set", link, "up")
        for interface in ("lo", "eth0"):
            self.run("ip", "link", "set", interface, "up")
        self.run("ip", "address", "add", f"{self.address}/30", "dev", "eth0")
        self.run("ip", "route", "add", "default", "via", self.host_address)
        for destination in (self.pods, self.services):
            _run("ip", "route", "add", destination, "via", self.address)
        switches = ("net/ipv4/ip_forward", "net/bridge/bridge-nf-call-iptables")  # the second may be a missing module
        for switch in switches:
            self.run("sh", "-c", f"! test -e /proc/sys/{switch} || echo 1 > /proc/sys/{switch}")

    def _daemon(self, name: str, *command: str) -> Daemon:
        path = f"{build.cache() / 'bin'}:{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path}
        daemon = Daemon(name, command, self.folder, wrapper=self._inside, environment=environment)
        self._daemons.insert(1, daemon)
        daemon.start()
        return daemon

    def _start_containerd(self) -> None:
        """Start it on a copy of the store that has the images already; the copy shares their files."""
        self._control_groups()
        store = images.cache() / "store"
        with build.locked(build.cache() / "images.lock"):
            archives = images.base()
            if not _holds(store, archives):
                shutil.rmtree(store, ignore_errors=True)
                store.mkdir(parents=True)
                importer = self._containerd("containerd-import", store)
                for archive in archives:
                    self.load(archive)
                importer.stop(grace_seconds=10)
                self._daemons.remove(importer)
                (store / "complete").write_text(_names(archives))
            copy = self.folder / "containerd"
            _copy_store(store, copy)
        self._containerd("containerd", copy)

    def _containerd(self, name: str, store: Path) -> Daemon:
        network = self.folder / "cni"
        network.mkdir(exist_ok=True)
        bridge = {
            "type": "bridge",
            "bridge": "cni0",
            "isGateway": True,
            "hairpinMode": True,
            "ipam": {"type": "host-local", "ranges": [[{"subnet": self.pods}]], "routes": [{"dst": "0.0.0.0/0"}]},
        }
        mapping = {"type": "portmap", "capabilities": {"portMappings": True}}
        plugins = {"cniVersion": "0.4.0", "name": "pods", "plugins": [bridge, mapping]}
        (network / "10-pods.conflist").write_text(json.dumps(plugins))
        config = self.folder / f"{name}.toml"
        config.write_text(_CONTAINERD.format(store=store, socket=_SOCKET, plugins=CNI_PLUGINS, network=network))
        daemon = self._daemon(name, "containerd", "--config", str(config))

        def answers() -> bool:
            return not subprocess.run(
                [*self._inside, "ctr", "--address", _SOCKET, "version"], capture_output=True, check=False
            ).returncode

        daemon.wait_until(answers)
        return daemon

    def _start_node(self) -> None:
        """Start what makes a node, and wait for it."""
        kubelet_config = self.api.write_kubeconfig(self.folder / "kubelet.kubeconfig", NODE_TOKEN)
        (self.folder / "resolv.conf").touch()
        self._write("kubelet.json", self._kubelet())
        self._write("kube-proxy.json", self._proxy())
        binaries = build.cache() / "bin"
        kubelet = self._daemon(
            "kubelet",
            f"{binaries}/kubelet",
            f"--config={self.folder}/kubelet.json",
            f"--kubeconfig={kubelet_config}",
            f"--node-ip={self.address}",
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
        manifest = Path(__file__).with_name("dns.yaml").read_text().replace("DNS_ADDRESS", self.dns)
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
            "cgroupRoot": f"/{self.control_group}",
            "failCgroupV1": False,
            "failSwapOn": False,
            "enforceNodeAllocatable": [],
            "containerRuntimeEndpoint": f"unix://{_SOCKET}",
            "clusterDNS": [self.dns],
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
            "clusterCIDR": self.pods,
            "hostnameOverride": NODE_NAME,
            "iptables": {"minSyncPeriod": "50ms"},  # the default of a second is felt in each test
            "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        }

    def _hierarchies(self) -> list[Path]:
        """The roots of the control groups: one in version 2, one a controller in version 1."""
        if (CONTROL_GROUPS / "cgroup.controllers").exists():
            return [CONTROL_GROUPS]
        return [path for path in CONTROL_GROUPS.iterdir() if path.is_dir()]

    def _control_groups(self) -> None:
        for hierarchy in self._hierarchies():
            group = hierarchy / self.control_group
            group.mkdir(exist_ok=True)
            for name in ("cpuset.cpus", "cpuset.mems"):  # version 1 starts them empty, and then takes no process
                if hierarchy != CONTROL_GROUPS and (hierarchy / name).exists():
                    (group / name).write_text((hierarchy / name).read_text())

    def _clear(self) -> None:
        """Remove what outlives the processes of this node, or of one before it that was killed and had its number."""
        subprocess.run(["ip", "link", "delete", self._link], capture_output=True, check=False)  # mostly gone already
        deadline = time.monotonic() + CLEAR_SECONDS
        while time.monotonic() < deadline:
            left = [
                hierarchy / self.control_group
                for hierarchy in self._hierarchies()
                if (hierarchy / self.control_group).exists()
            ]
            if not left:
                return
            for folder in (folder for root in left for folder, _, _ in os.walk(root, topdown=False)):
                with suppress(OSError):  # its last process is not gone yet
                    Path(folder).rmdir()
            time.sleep(POLL_SECONDS)


def _free_number() -> tuple[int, TextIOWrapper]:
    """Return a number that no node on this machine has, and the open lock that holds it."""
    _LOCKS.mkdir(exist_ok=True)
    for number in range(MOST_NODES):
        lock = (_LOCKS / f"controlplane-node{number}.lock").open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
        else:
            return number, lock
    raise DaemonError(f"{MOST_NODES} nodes run on this machine already")


def _names(archives: Sequence[Path]) -> str:
    return " ".join(archive.name for archive in archives)  # a name tells the content


def _holds(store: Path, archives: Sequence[Path]) -> bool:
    """Whether the store was filled with these images, to the end."""
    return (store / "complete").exists() and (store / "complete").read_text() == _names(archives)


def _copy_store(store: Path, copy: Path) -> None:
    """Copy containerd's files: layers and blobs, which are never written to, by link where one file system has both."""
    linking = subprocess.run(["cp", "--archive", "--link", store, copy], capture_output=True, check=False)
    if linking.returncode:
        shutil.rmtree(copy, ignore_errors=True)
        _run("cp", "--archive", str(store), str(copy))
    for database in copy.rglob("*.db"):
        shutil.copy2(database, database.with_suffix(".own"))
        database.with_suffix(".own").rename(database)


def _run(*command: str, text: str | None = None) -> str:
    result = subprocess.run(command, input=text, capture_output=True, text=True, check=False, timeout=120)
    if result.returncode:
        raise RuntimeError(f"{' '.join(command)}: {result.stderr.strip()}")
    return result.stdout


_CONTAINERD = f"""\
version = 2
root = "{{store}}"
state = "/run/containerd"
[grpc]
  address = "{{socket}}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{images.PAUSE}"
  restrict_oom_score_adj = true # else runc fails where the machine lacks CAP_SYS_RESOURCE
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{{plugins}}"
    conf_dir = "{{network}}"
"""
