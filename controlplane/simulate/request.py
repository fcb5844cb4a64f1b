"""A request as a connection manager sees it: its headers with Envoy's own names for the parts of the first line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from typing import Any

from controlplane.simulate.call import Call
from controlplane.simulate.text_matching import Metadata

_HEX = frozenset("0123456789abcdefABCDEF")
_UNRESERVED = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~")
_UNESCAPED = _UNRESERVED | frozenset("!$&'()*+,;=:@/%[]|^`{}<>\"\\#?")


@dataclass(frozen=True, slots=True)
class Request:
    """One request that ``call`` has brought; ``headers`` have ``:method``, ``:path``, ``:authority``, ``:scheme`` too.

    ``metadata`` is what filters left so far, by filter. ``client`` is the address of the client, as it is believed.
    """

    call: Call
    headers: Mapping[str, str]
    metadata: Metadata = field(default_factory=dict)
    client: str = ""

    @property
    def path(self) -> str:
        """The path without its query."""
        return self.headers[":path"].partition("?")[0].partition("#")[0]

    @property
    def query(self) -> str:
        """What follows the question mark."""
        return self.headers[":path"].partition("?")[2]

    def with_metadata(self, filter_name: str, value: Mapping[str, Any]) -> Request:
        """Return the request once a filter has left this."""
        return replace(self, metadata={**self.metadata, filter_name: value})


def request(manager: Any, call: Call) -> Request:  # noqa: ANN401 - Envoy's messages carry no types
    """Return a call as a connection manager hands it to its filters: the path is made plain where that is asked for."""
    path, question, query = call.path.partition("?")
    if manager.path_with_escaped_slashes_action in _UNESCAPING:
        for written, meant in (("%2F", "/"), ("%2f", "/"), ("%5C", "\\"), ("%5c", "\\")):
            path = path.replace(written, meant)
    if manager.normalize_path.value:
        path = normalized(path)
    if manager.merge_slashes:
        path = _merged(path)
    headers = {name.lower(): value for name, value in call.headers.items()}
    headers |= {
        ":method": call.method,
        ":path": path + question + query,
        ":authority": call.host,
        ":scheme": "https" if call.tls else "http",
    }
    headers.setdefault("x-forwarded-proto", headers[":scheme"])
    return Request(call, headers, client=_client(manager, call, headers.get("x-forwarded-for", "")))


_UNESCAPING = frozenset({3, 4})
"""UNESCAPE_AND_REDIRECT, UNESCAPE_AND_FORWARD of HttpConnectionManager.PathWithEscapedSlashesAction."""


def _client(manager: Any, call: Call, forwarded: str) -> str:  # noqa: ANN401 - Envoy's messages carry no types
    """Return the address of the client: those that trusted proxies before this one added are skipped.

    Reference: HttpConnectionManager.use_remote_address, xff_num_trusted_hops.
    """
    skipped = manager.xff_num_trusted_hops
    if manager.use_remote_address.value:
        if not skipped:
            return call.source
        skipped -= 1
    told = [each.strip() for each in forwarded.split(",")]
    if len(told) <= skipped:
        return call.source
    try:
        return str(ip_address(told[-1 - skipped]))
    except ValueError:
        return call.source


def normalized(path: str) -> str:
    """Return a path made plain: unreserved letters decoded, dot segments resolved, backslashes as slashes.

    Reference: RFC 3986, 6.2.2.
    """
    decoded = _decoded(path.replace("\\", "/"))
    kept: list[str] = []
    segments = decoded.split("/")[1:]
    for at, segment in enumerate(segments):
        last = at == len(segments) - 1
        if segment == "..":
            kept = kept[:-1]
        elif segment != ".":
            kept.append(segment)
            continue
        if last:
            kept.append("")
    return "/" + "/".join(kept)


def _decoded(path: str) -> str:
    out, at = [], 0
    while at < len(path):
        letter = path[at]
        if letter == "%" and len(path) > at + 2 and {path[at + 1], path[at + 2]} <= _HEX:
            meant = chr(int(path[at + 1 : at + 3], 16))
            out.append(meant if meant in _UNRESERVED else path[at : at + 3])
            at += 3
            continue
        out.append(letter if letter in _UNESCAPED else "".join(f"%{byte:02X}" for byte in letter.encode()))
        at += 1
    return "".join(out)


def _merged(path: str) -> str:
    while "//" in path:
        path = path.replace("//", "/")
    return path
