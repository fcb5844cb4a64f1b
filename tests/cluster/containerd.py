"""The container runtime of a node: its configuration, and a store that has the base images already."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.cluster.images import PAUSE

SOCKET = "/run/containerd/containerd.sock"
CTR = ("ctr", "--address", SOCKET, "--namespace", "k8s.io")
PLUGINS = Path("/usr/lib/cni")


def write_configuration(folder: Path, name: str, store: Path, pods: str) -> Path:
    """Write the configuration ``name`` of a runtime with its files in ``store`` and a bridge for ``pods``; its path."""
    network = folder / "cni"
    network.mkdir(exist_ok=True)
    bridge = {
        "type": "bridge",
        "bridge": "cni0",
        "isGateway": True,
        "hairpinMode": True,
        "ipam": {"type": "host-local", "ranges": [[{"subnet": pods}]], "routes": [{"dst": "0.0.0.0/0"}]},
    }
    mapping = {"type": "portmap", "capabilities": {"portMappings": True}}
    plugins = {"cniVersion": "0.4.0", "name": "pods", "plugins": [bridge, mapping]}
    (network / "10-pods.conflist").write_text(json.dumps(plugins))
    plugins_folder = folder / "cni-plugins"  # of the node: what is installed there does not reach this machine
    plugins_folder.mkdir(exist_ok=True)
    for each in PLUGINS.iterdir():
        link = plugins_folder / each.name
        if not link.is_symlink():
            link.symlink_to(each)
    path = folder / f"{name}.toml"
    path.write_text(
        _CONFIGURATION.format(store=store, socket=SOCKET, pause=PAUSE, plugins=plugins_folder, network=network)
    )
    return path


def holds(store: Path, archives: Sequence[Path]) -> bool:
    """Whether a store was filled with these images, to the end, by the runtime of this machine."""
    return (store / "complete").exists() and (store / "complete").read_text() == _origin(archives)


def mark_complete(store: Path, archives: Sequence[Path]) -> None:
    """Note that a store holds these images."""
    (store / "complete").write_text(_origin(archives))


def copy_store(store: Path, copy: Path) -> None:
    """Copy a store: layers and blobs, which are never written to, by link where one file system has both."""
    linking = subprocess.run(["cp", "--archive", "--link", store, copy], capture_output=True, check=False)
    if linking.returncode:
        shutil.rmtree(copy, ignore_errors=True)
        subprocess.run(["cp", "--archive", store, copy], check=True)
    for database in copy.rglob("*.db"):
        shutil.copy2(database, database.with_suffix(".own"))
        database.with_suffix(".own").rename(database)


def _origin(archives: Sequence[Path]) -> str:
    """Return what a store was made of: images, whose names tell their content, and the runtime that wrote it."""
    version = subprocess.run(["containerd", "--version"], capture_output=True, text=True, check=True).stdout
    return "\n".join([version.strip(), *(archive.name for archive in archives)])


_CONFIGURATION = """\
version = 2
root = "{store}"
state = "/run/containerd"
[grpc]
  address = "{socket}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  restrict_oom_score_adj = true # else runc fails where the machine lacks CAP_SYS_RESOURCE
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{plugins}"
    conf_dir = "{network}"
"""
