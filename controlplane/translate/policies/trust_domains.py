"""Trust domains in policies: a mesh has one and its aliases, and each stands for all of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain

from controlplane.apis.mesh import MeshConfig

LOCAL = "cluster.local"
"""In a policy this means the mesh's own trust domain, whatever that is called."""
_PARTS = 5  # <trust domain>/ns/<namespace>/sa/<account>


def bundle(mesh: MeshConfig) -> tuple[str, ...]:
    """Return the mesh's trust domain and its aliases, sorted, each once."""
    aliases = sorted(set(mesh.trust_domain_aliases) - {mesh.trust_domain})
    return (mesh.trust_domain, *aliases)


def expanded_principals(principals: Iterable[str], domains: tuple[str, ...]) -> tuple[str, ...]:
    """Return the principals, each of one of the mesh's trust domains in the form of all of them."""
    return tuple(chain.from_iterable(dict.fromkeys(_expanded(each, domains)) for each in principals))


def _expanded(principal: str, domains: tuple[str, ...]) -> Iterator[str]:
    stated, *rest = principal.split("/")
    known = len(rest) + 1 == _PARTS and stated != "*"
    if not known or not (stated == LOCAL or any(_alike(stated, domain) for domain in domains)):
        yield principal
        return
    for domain in domains:
        if stated.startswith("*") and domain.endswith(stated[1:]):
            yield principal
        else:
            yield "/".join((domain, *rest))


def _alike(one: str, other: str) -> bool:
    return one == other or _covers(one, other) or _covers(other, one)


def _covers(pattern: str, name: str) -> bool:
    if pattern.startswith("*"):
        return name.endswith(pattern[1:])
    return pattern.endswith("*") and name.startswith(pattern[:-1])


def expanded_domains(stated: Iterable[str], domains: tuple[str, ...]) -> tuple[str, ...]:
    """Return the trust domains, each of the mesh's in the place of which all of them stand."""
    return tuple(dict.fromkeys(chain.from_iterable(domains if each in domains else (each,) for each in stated)))
