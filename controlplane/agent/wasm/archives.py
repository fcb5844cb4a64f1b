"""Takes a module out of what it was packed in."""

from __future__ import annotations

import gzip
import io
import tarfile
import zlib

from controlplane.agent.wasm.fetching import AROUND, LARGEST, FetchError

MAGIC = b"\0asm"
_FILE = "plugin.wasm"
_GZIP = b"\x1f\x8b"
_MOST_MEMBERS = 1_000


def unpacked(body: bytes, largest: int = LARGEST) -> bytes:
    """Return a module, which may be alone, compressed, or the file ``plugin.wasm`` of an archive.

    ``largest`` is how many bytes it may have.

    Raises:
        FetchError: there is no module.
    """
    try:
        if body.startswith(_GZIP):
            with gzip.GzipFile(fileobj=io.BytesIO(body)) as packed:
                body = packed.read(largest + AROUND + 1)
        if len(body) <= largest + AROUND and not body.startswith(MAGIC):
            body = _from_archive(body, largest)
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise FetchError(f"it is neither a module nor an archive of one: {error}") from None
    if len(body) > largest:
        raise _too_large(largest)
    if not body.startswith(MAGIC):
        raise FetchError("it is no WebAssembly module: it does not begin with its magic number")
    return body


def _too_large(largest: int) -> FetchError:
    return FetchError(f"the module has more than {largest:,} bytes")


def _from_archive(body: bytes, largest: int) -> bytes:
    with tarfile.open(fileobj=io.BytesIO(body), mode="r:") as archive:
        for number, member in enumerate(archive):
            if number >= _MOST_MEMBERS:
                raise FetchError(f"the archive has no file {_FILE} among its first {_MOST_MEMBERS:,} members")
            archive.members = []  # type: ignore[attr-defined]  # it would keep all, with headers of any length
            if member.isfile() and member.name.rpartition("/")[2] == _FILE:
                if member.size > largest:
                    raise _too_large(largest)
                held = archive.extractfile(member)
                return held.read() if held is not None else b""
    raise FetchError(f"the archive has no file {_FILE}")
