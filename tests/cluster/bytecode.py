"""What Python would write beside its modules, for images whose file systems are read-only.

Without it each container compiles all that it imports. What stands beside a module on this machine is taken where it is
of that module; its header is made one that asks for no time of the source, since files in images have none.
"""

from __future__ import annotations

import importlib.util
import marshal
from collections.abc import Mapping
from pathlib import Path

_HEADER = 16
_HASH_UNCHECKED = (1).to_bytes(4, "little")


def bytecode(layer: Mapping[str, object]) -> dict[str, bytes]:
    """Return the compiled modules of a layer, each at the path where Python looks for it."""
    found: dict[str, bytes] = {}
    for name, source in layer.items():
        if isinstance(source, Path) and name.endswith(".py"):
            code = _code(source)
            if code is not None:
                header = importlib.util.MAGIC_NUMBER + _HASH_UNCHECKED + importlib.util.source_hash(source.read_bytes())
                found[importlib.util.cache_from_source(name)] = header + code
    return found


def _code(source: Path) -> bytes | None:
    """Return the code of a module; nothing where it is for another Python."""
    cached = Path(importlib.util.cache_from_source(str(source)))
    if cached.exists():
        held, status = cached.read_bytes(), source.stat()
        times = int(status.st_mtime).to_bytes(4, "little") + (status.st_size & 0xFFFFFFFF).to_bytes(4, "little")
        if held[:_HEADER] == importlib.util.MAGIC_NUMBER + bytes(4) + times:
            return held[_HEADER:]
    try:
        return marshal.dumps(compile(source.read_bytes(), str(source), "exec", dont_inherit=True, optimize=0))
    except (SyntaxError, ValueError):
        return None
