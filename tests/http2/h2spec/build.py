"""Where the binary of h2spec comes from: its Go module, taught to send gRPC requests, built once into a cache.

The suite sends plain GETs, which a gRPC server refuses before it looks at what else is wrong with them.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.cluster.build import caches, go, locked

MODULE = "github.com/summerwind/h2spec"
VERSION = "v2.2.1+incompatible"
SUM = "h1:Ex8kpG4LjIeudEtfbM892Os2PawIZBsEvukHJcvZHho="
_HERE = Path(__file__).parent
_REQUESTS = Path("spec", "util.go")
_AUTHORITY = 'HeaderField(":authority", authority),'
_CONTENT_TYPE, _TE = 'HeaderField("content-type", "application/grpc"),', 'HeaderField("te", "trailers"),'
_PATCHES = (
    ('HeaderField(":method", "GET"),', 'HeaderField(":method", "POST"),'),
    (_AUTHORITY, f"{_AUTHORITY} {_CONTENT_TYPE} {_TE}"),
)


def binary() -> Path:
    """Return where the binary is, once it is built: a place for this version and these patches."""
    parts = [VERSION, repr(_PATCHES), *((_HERE / name).read_text() for name in ("go.mod", "go.sum"))]
    key = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
    return caches() / "controlplane-h2spec" / key / "h2spec"


def build() -> Path:
    """Build what is missing; return where it is.

    Raises:
        OSError: there is no Go, and none can be had.
        subprocess.CalledProcessError: it cannot be fetched, or does not build; what Go says is on stderr.
    """
    target = binary()
    target.parent.mkdir(parents=True, exist_ok=True)
    with locked(target.with_name("build.lock")):
        if not target.exists():
            with tempfile.TemporaryDirectory() as folder:
                _build(Path(folder) / "h2spec", target)
    return target


def _build(source: Path, target: Path) -> None:
    print(f"building {target.name} from {MODULE} {VERSION} ...", file=sys.stderr)
    compiler = go()
    command = [compiler, "mod", "download", "-json", f"{MODULE}@{VERSION}"]
    said = json.loads(subprocess.run(command, cwd=target.parent, stdout=subprocess.PIPE, check=True).stdout)
    if said["Sum"] != SUM:
        raise OSError(f"{MODULE} {VERSION} is not what it was: {said['Sum']}")
    shutil.copytree(said["Dir"], source, copy_function=shutil.copyfile)
    for folder in (source, *(path for path in source.rglob("*") if path.is_dir())):
        folder.chmod(0o755)  # the module cache is not writable
    for name in ("go.mod", "go.sum"):
        shutil.copyfile(_HERE / name, source / name)
    requests = source / _REQUESTS
    text = requests.read_text()
    for old, new in _PATCHES:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    requests.write_text(text)
    partial = target.with_name(f"{target.name}.partial")
    command = [compiler, "build", "-mod=readonly", "-buildvcs=false", "-trimpath", "-o", str(partial), "./cmd/h2spec"]
    subprocess.run(command, cwd=source, check=True)
    partial.rename(target)
