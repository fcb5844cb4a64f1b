"""Secrets with logins of registries, which modules of users are fetched with."""

from __future__ import annotations

from controlplane.engine.recording import query
from controlplane.model import kinds
from controlplane.model.credentials import LOGIN_ENTRY, LOGIN_TYPE
from controlplane.model.kubernetes import Secret
from controlplane.model.objects import ObjectKey
from controlplane.registry.store import View
from controlplane.registry.traffic_extensions import extension

_SCHEME = "kubernetes://"
_INDEXES = ("plugins_with_pull_secret", "extensions_with_pull_secret")


@query
def pull_secrets(view: View, _key: tuple[()]) -> frozenset[tuple[ObjectKey, ObjectKey]]:
    """Return the extensions that name a Secret, each with what it names: one of its own namespace."""
    named = (key for index in _INDEXES for key in view.index(index, ()))
    return frozenset((key, secret) for key in named if (secret := _secret_of(view, key)) is not None)


def logins_of(view: View, key: ObjectKey) -> str:
    """Return the logins (JSON) that are in force for an extension, empty without any."""
    secret = _secret_of(view, key)
    held = _held(view, secret) if secret is not None else None
    return held.logins if held is not None else ""


def trouble(view: View, secret: ObjectKey) -> str:
    """Return why there are no logins in a Secret, or not those of its newest version; empty where nothing is wrong."""
    held = _held(view, secret)
    if held is None:
        return f"there is no Secret {secret.name} in namespace {secret.namespace}"
    if held.logins_problem:
        return f"{secret}: {held.logins_problem}"
    if held.logins:
        return ""
    return f"{secret} is no Secret of type {LOGIN_TYPE} with {LOGIN_ENTRY}"


def _secret_of(view: View, key: ObjectKey) -> ObjectKey | None:
    held = extension(view, key)
    if held is None or held.wasm is None or held.wasm.image_pull_secret is None:
        return None
    return ObjectKey(kinds.SECRET, key.namespace, _name(held.wasm.image_pull_secret))


def _name(stated: str) -> str:
    """Return the name in ``kubernetes://NAME`` or ``NAMESPACE/NAME``, whose namespace counts for nothing."""
    parts = stated.removeprefix(_SCHEME).split("/")
    return parts[1] if len(parts) > 1 else parts[0]


def _held(view: View, secret: ObjectKey) -> Secret | None:
    obj = view.get(secret)
    return obj.spec if obj is not None and isinstance(obj.spec, Secret) else None
