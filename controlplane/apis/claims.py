"""Claims of tokens in the place of header names, in matches of a VirtualService."""

from __future__ import annotations

_PREFIX = "@request.auth.claims"


def claim_path(name: str) -> tuple[str, ...]:
    """Return the claim that a header name stands for, from the outside in; empty where it is a header's name.

    ``@request.auth.claims.a.b`` and ``@request.auth.claims[a][b]`` are claim ``b`` of ``a``; in brackets names may hold
    dots. Upper and lower case of the prefix are the same.
    Source: ``spec.http[].match[].headers`` and ``withoutHeaders`` of a VirtualService.
    """
    rest = name[len(_PREFIX) :]
    if not name.lower().startswith(_PREFIX):
        return ()
    if rest.startswith("[") and rest.endswith("]"):
        path = rest[1:-1].split("][")
    elif rest.startswith("."):
        path = rest[1:].split(".")
    else:
        return ()
    return tuple(path) if all(path) else ()
