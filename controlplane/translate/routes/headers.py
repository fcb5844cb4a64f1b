"""Header operations of routes and weighted destinations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from envoy.config.core.v3.base_pb2 import HeaderValue, HeaderValueOption

from controlplane.apis.virtual_service import Headers

_OVERWRITE = HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD
_APPEND = HeaderValueOption.APPEND_IF_EXISTS_OR_ADD
_AUTHORITY = ("host", ":authority")


class _Appendable(Protocol):
    def extend(self, values: Iterable[HeaderValueOption]) -> None: ...


class _Names(Protocol):
    def extend(self, values: Iterable[str]) -> None: ...


class HeaderTarget(Protocol):
    """What carries header operations in Envoy: ``Route`` and ``WeightedCluster.ClusterWeight``."""

    @property
    def request_headers_to_add(self) -> _Appendable: ...  # noqa: D102 - Envoy's field
    @property
    def request_headers_to_remove(self) -> _Names: ...  # noqa: D102 - Envoy's field
    @property
    def response_headers_to_add(self) -> _Appendable: ...  # noqa: D102 - Envoy's field
    @property
    def response_headers_to_remove(self) -> _Names: ...  # noqa: D102 - Envoy's field


def add_header_operations(target: HeaderTarget, headers: Headers | None) -> None:
    """Append the operations to the target's lists: all ``set`` before all ``add``, each sorted by name.

    Pseudo headers and ``host`` never appear: for requests they are authority rewrites (``authority``), else dropped.
    """
    if headers is None:
        return
    if headers.request is not None:
        target.request_headers_to_add.extend(_options(headers.request.set, _OVERWRITE))
        target.request_headers_to_add.extend(_options(headers.request.add, _APPEND))
        target.request_headers_to_remove.extend(filter(_is_plain, headers.request.remove))
    if headers.response is not None:
        target.response_headers_to_add.extend(_options(headers.response.set, _OVERWRITE))
        target.response_headers_to_add.extend(_options(headers.response.add, _APPEND))
        target.response_headers_to_remove.extend(filter(_is_plain, headers.response.remove))


def authority(headers: Headers | None) -> str:
    """Return the authority that request header operations ask for, ``set`` before ``add``; empty where none does."""
    if headers is None or headers.request is None:
        return ""
    for operations in (headers.request.set, headers.request.add):
        for name in sorted(operations):
            if name.lower() in _AUTHORITY:
                return operations[name]
    return ""


def _is_plain(name: str) -> bool:
    return not name.startswith(":") and name.lower() != "host"


def _options(values: Mapping[str, str], action: HeaderValueOption.HeaderAppendAction) -> list[HeaderValueOption]:
    return [
        HeaderValueOption(header=HeaderValue(key=name, value=values[name]), append_action=action)
        for name in sorted(values)
        if _is_plain(name)
    ]
