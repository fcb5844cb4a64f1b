"""Credentials that Gateways and DestinationRules name, and proxies are not given, or not in their newest version."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from controlplane.engine.recording import query
from controlplane.model import kinds
from controlplane.model.objects import ObjectKey
from controlplane.model.secret_names import SecretName
from controlplane.model.wanted_secrets import Wanted, of_rule, of_server
from controlplane.registry.credentials import SecretKey, trouble
from controlplane.registry.providers import secret_server
from controlplane.registry.store import View


class UnservedCredential(NamedTuple):
    """What is wrong with the credential that a field names."""

    key: ObjectKey
    path: str
    reason: str


@query
def unserved_credentials(view: View, _key: tuple[()]) -> tuple[UnservedCredential, ...]:
    """Return what is wrong, at most one thing for each field, in the order of the objects.

    A proxy reads Secrets of its own namespace, whichever that is: where a name says none, all Secrets of that name
    are looked at.
    """
    found: list[UnservedCredential] = []
    provided = secret_server(view) is not None
    for key in view.keys(kinds.GATEWAY):
        obj = view.get(key)
        if obj is None:
            continue
        for index, server in enumerate(obj.spec.servers):
            uses = of_server(server, provided=provided)
            paths = ((f"spec.servers[{index}].tls.{field}", wanted) for field, wanted in uses)
            found.extend(_problems(view, key, paths))
    for key in view.index("rules_with_credentials", ()):
        obj = view.get(key)
        if obj is not None:
            found.extend(_problems(view, key, of_rule(obj.spec)))
    return tuple(found)


def _problems(view: View, key: ObjectKey, uses: Iterable[tuple[str, Wanted]]) -> Iterator[UnservedCredential]:
    told: set[str] = set()
    for path, wanted in uses:
        if path in told:
            continue
        reason = _trouble(view, wanted)
        if reason:
            told.add(path)
            yield UnservedCredential(key, path, reason)


@query
def _trouble(view: View, wanted: Wanted) -> str:
    name = wanted.name
    if name is None or name.namespace:
        return trouble(view, SecretKey(wanted, name.namespace if name is not None else ""))
    namespaces = _namespaces(view, name)
    if not namespaces:
        return f"there is no Secret {name.name}; it is read from the namespace of the proxies"
    reasons = (trouble(view, SecretKey(wanted, namespace)) for namespace in namespaces)
    return "; ".join(reason for reason in reasons if reason)


def _namespaces(view: View, name: SecretName) -> list[str]:
    """Return the namespaces in which a name stands for something."""
    return sorted({held.namespace for place in name.places("") for held in view.index("secrets_named", place.name)})
