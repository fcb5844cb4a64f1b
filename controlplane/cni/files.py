"""The plugin as files that run on any node: this interpreter, the libraries that it maps, and the modules it imports.

A node need have no Python. What the plugin needs is found out by running it once: so it is exactly what it loads, some
tens of small files. ``istio-cni`` is a shell script beside them, which starts the interpreter by its own loader.
"""

from __future__ import annotations

import hashlib
import os
import py_compile
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

NAME = "istio-cni"
PLUGIN = Path(__file__).with_name("plugin.py")
_LIBRARY = f"lib/python{sys.version_info.major}.{sys.version_info.minor}"
_ASKED = """\
import sys
path = sys.argv[1]
try:
    exec(compile(open(path).read(), path, "exec"), {"__name__": "__main__"})
except SystemExit:
    pass
for name, module in sorted(sys.modules.items()):
    origin = getattr(getattr(module, "__spec__", None), "origin", None)
    if origin and origin.endswith((".py", ".so")):
        print("module", name, hasattr(module, "__path__"), origin, file=sys.stderr)
for line in open("/proc/self/maps"):
    words = line.split(maxsplit=5)
    if words[-1].startswith("/"):
        print("mapped", words[-1].strip(), file=sys.stderr)
"""
_SCRIPT = """\
#!/bin/sh
# {name}: leads the traffic of pods through their proxies. Written by its agent, which takes it away again.
d=${{0%/*}}/{folder}
export PYTHONHOME=$d PYTHONPATH= PYTHONSAFEPATH=1
exec "$d/{loader}" --library-path "$d/lib" "$d/python" -S -s -B "$d/plugin.pyc"
"""


class FilesError(Exception):
    """The plugin cannot be made into files; the message says why."""


def install(folder: Path) -> bool:
    """Put the plugin into a folder of a node; return whether something was changed.

    Raises ``FilesError``, and ``OSError`` where the folder cannot be written to.
    """
    files = _files()
    digest = hashlib.sha256()
    for name, path in sorted(files.items()):
        digest.update(f"\0{name}\0".encode() + path.read_bytes())
    digest.update(_SCRIPT.encode())
    inner = f".{NAME}-{digest.hexdigest()[:12]}"
    loader = next(name for name in files if name.startswith("ld-"))
    script = _SCRIPT.format(name=NAME, folder=shlex.quote(inner), loader=loader)
    target = folder / NAME
    if (folder / inner).is_dir() and target.exists() and target.read_bytes() == script.encode():
        return False
    partial = folder / f"{inner}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    for name, path in files.items():
        _place(path, partial / name)
    shutil.rmtree(folder / inner, ignore_errors=True)
    partial.rename(folder / inner)
    new = folder / f".{NAME}.partial"
    new.write_text(script, encoding="utf-8")
    new.chmod(0o755)
    new.replace(target)
    _remove_others(folder, inner)
    return True


def remove(folder: Path) -> None:
    """Take the plugin out of a folder."""
    (folder / NAME).unlink(missing_ok=True)
    _remove_others(folder, "")


def _remove_others(folder: Path, kept: str) -> None:
    for each in folder.glob(f".{NAME}-*"):
        if each.name != kept:
            shutil.rmtree(each, ignore_errors=True)


def _place(path: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".py":  # compiled alone: a start reads half as much, and writes nothing
        py_compile.compile(
            str(path), str(target), doraise=True, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH
        )
    else:
        shutil.copyfile(path, target)
        target.chmod(0o755)


def _files() -> Mapping[str, Path]:
    """Return what the plugin needs, by the name that it has beside the script."""
    files = {"python": Path(sys.executable).resolve(), "plugin.pyc": PLUGIN}
    for kind, rest in _loaded():
        if kind == "mapped":
            path = Path(rest)
            if path.name.startswith("ld-"):
                files[path.name] = path
            elif path.resolve() != files["python"] and ".so" in path.name and "/lib-dynload/" not in rest:
                files |= {f"lib/{name}": path for name in _names(path)}
            continue
        name, package, origin = rest.split(" ", 2)
        path = Path(origin)
        if path == PLUGIN:
            continue
        inside = name.replace(".", "/")
        if path.suffix == ".so":
            files[f"{_LIBRARY}/lib-dynload/{path.name}"] = path
        else:
            files[f"{_LIBRARY}/{inside}/__init__.pyc" if package == "True" else f"{_LIBRARY}/{inside}.pyc"] = path
    if not any(name.startswith("ld-") for name in files):
        raise FilesError(f"{files['python']} maps no loader")
    return files


def _names(library: Path) -> set[str]:
    """Return the names of a library in its folder: programs ask for ``libz.so.1``, which is ``libz.so.1.2.13``."""
    stem = library.name.partition(".so")[0]
    return {library.name} | {
        each.name for each in library.parent.glob(f"{stem}.so.*") if each.resolve() == library.resolve()
    }


def _loaded() -> Iterator[tuple[str, str]]:
    """Run the plugin once, and yield what it loaded."""
    environment = {"CNI_COMMAND": "VERSION", "PATH": os.environ.get("PATH", "")}
    command = [sys.executable, "-I", "-S", "-B", "-c", _ASKED, str(PLUGIN)]
    ran = subprocess.run(  # noqa: S603 - our own
        command, input="{}", env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    if ran.returncode != 0 or "supportedVersions" not in ran.stdout:
        raise FilesError(f"the plugin does not run here: {ran.stderr.strip()}")
    for line in ran.stderr.splitlines():
        kind, _, rest = line.partition(" ")
        if kind in {"module", "mapped"}:
            yield kind, rest
