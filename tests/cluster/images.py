"""Container images without a registry or a builder: the programs and libraries of this machine, as docker archives.

An image is a list of layers; a layer says what is at each path: a file of the machine, a symbolic link, or bytes, which
are a program where they begin with ``#!``.
Programs stay at their paths and bring the libraries that ``ldd`` names. Base images are made once, in the cache.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.cluster import build, elf

PAUSE = "cluster.test/pause:1"
TOOLS = "cluster.test/tools:1"
DNS = "cluster.test/coredns:1"

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
MOST_LINKS = 100
"""Steps to a file; more are a loop."""

_MACHINE = {"x86_64": "amd64", "aarch64": "arm64"}


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
    """Return the archives of the images that each node has, made once for their content."""
    cache().mkdir(parents=True, exist_ok=True)
    return [archive(image, cache()) for image in (pause(), tools(), dns())]


def archive(image: Image, folder: Path) -> Path:
    """Return the archive of an image in a folder, written where it is not there yet; others of that image go.

    Its name tells its content, the files of this machine included.
    """
    name = image.name.rpartition("/")[2].partition(":")[0]
    path = folder / f"{name}-{_digest(image)}.tar"
    if not path.exists():
        for older in folder.glob(f"{name}-*.tar"):
            older.unlink()
        write(image, path)
    return path


def pause() -> Image:
    """Return what holds the namespaces of a pod."""
    busybox: Layer = {"/bin/busybox": _program("busybox"), "/bin/sh": Link("busybox")}
    return Image(PAUSE, (busybox,), ("/bin/sh", "-c", _PAUSE_SCRIPT))


def dns() -> Image:
    """Return the DNS server of the cluster."""
    return Image(DNS, ({"/coredns": build.COREDNS.folder / "coredns"},), ("/coredns",))


def tools() -> Image:
    """Return an image with Python, iptables, curl, ip and busybox."""
    return Image(TOOLS, (tools_layer(),), command=("sh",), environment={"PYTHONDONTWRITEBYTECODE": "1"})


def write(image: Image, path: Path) -> Path:
    """Write an image as a docker archive, which appears only when it is whole; return its path.

    Raises ``RuntimeError`` where a program in it could not start, for want of its loader.
    """
    _check_loaders(image)
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


def _digest(image: Image) -> str:
    """Return a hash of all that is in an image, and of this module, which decides how it is written."""
    described = f"{image.name} {_configuration(image, [])}"
    digest = hashlib.sha256(Path(__file__).read_bytes() + described.encode())
    for layer in image.layers:
        for name, content in sorted(layer.items(), key=lambda entry: entry[0]):
            digest.update(f"\0{name}\0".encode())
            if isinstance(content, Path):
                digest.update(f"{content.stat().st_mode:o}".encode())
                with content.open("rb") as file:
                    digest.update(hashlib.file_digest(file, "sha256").digest())
            else:
                digest.update(repr(content).encode())
    return digest.hexdigest()[:12]


def _check_loaders(image: Image) -> None:
    """Raise ``RuntimeError`` where a program needs a loader that the image lacks: the kernel would not find it."""
    files = {name: content for layer in image.layers for name, content in layer.items()}
    for name, content in files.items():
        loader = elf.interpreter(content) if isinstance(content, Path) else None
        if loader is not None and not isinstance(files.get(_resolved(loader, files)), Path):
            raise RuntimeError(f"image {image.name}: {name} needs {loader}, which the image lacks")


def _resolved(path: str, files: Layer) -> str:
    """Follow the links of an image, those of folders too, to the name that a file has in its layers."""
    at = Path("/")
    parts = list(Path(path).parts[1:])
    for _ in range(MOST_LINKS):
        if not parts:
            break
        at /= parts.pop(0)
        if isinstance(found := files.get(str(at)), Link):
            parts = [*Path(os.path.normpath(at.parent / found.target)).parts[1:], *parts]
            at = Path("/")
    return str(at)


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
            entry.size, entry.mode = len(content), 0o755 if content.startswith(b"#!") else 0o644
            archive.addfile(entry, io.BytesIO(content))


def tools_layer() -> Layer:
    """Return the programs of this machine that containers of the tests run, and what a system has besides."""
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
    return layer | libraries([*programs, python, *(path for path in (*plugins, *modules) if path.suffix == ".so")])


def _standard_library() -> Iterator[Path]:
    root = Path(sysconfig.get_paths()["stdlib"])
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if name not in _STDLIB_UNUSED and not name.startswith("config-")]
        yield from (Path(folder) / name for name in files if not name.endswith((".a", ".pyc")))


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


def libraries(programs: Iterable[Path]) -> dict[str, Path | Link | bytes]:
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
