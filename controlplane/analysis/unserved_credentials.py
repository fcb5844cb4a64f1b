"""Credentials that objects name, and proxies are not given, or not in their newest version."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from controlplane.engine.recording import query
from controlplane.model import kinds
from controlplane.model.objects import ObjectKey
from controlplane.model.wanted_secrets import Wanted, of_rule, of_server
from controlplane.registry.credentials import trouble_anywhere
from controlplane.registry.providers import secret_server
from controlplane.registry.pull_secrets import pull_secrets, trouble
from controlplane.registry.store import View


class UnservedCredential(NamedTuple):
    """What is wrong with the credential that a field names."""

    key: ObjectKey
    path: str
    reason: str


@query
def unserved_credentials(view: View, _key: tuple[()]) -> tuple[UnservedCredential, ...]:
    """Return what is wrong, at most one thing for each field, in the order of the objects.

    What Ingresses name is told with their other parts (``frontends.unserved_parts``).
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
    for key, secret in sorted(pull_secrets(view, ())):
        reason = trouble(view, secret)
        if reason:
            field = "imagePullSecret" if key.kind == kinds.WASM_PLUGIN else "wasm.imagePullSecret"
            found.append(UnservedCredential(key, f"spec.{field}", f"{reason}; the module is not fetched without it"))
    return tuple(found)


def _problems(view: View, key: ObjectKey, uses: Iterable[tuple[str, Wanted]]) -> Iterator[UnservedCredential]:
    told: set[str] = set()
    for path, wanted in uses:
        if path in told:
            continue
        reason = trouble_anywhere(view, wanted)
        if reason:
            told.add(path)
            yield UnservedCredential(key, path, reason)
