"""Which Secrets and ConfigMaps matter to proxies, and what each holds for them."""

from __future__ import annotations

from typing import NamedTuple

from controlplane.engine.recording import query
from controlplane.model import kinds
from controlplane.model.credentials import KeyPair, TrustedRoots, UnusableError, trusted_roots
from controlplane.model.kinds import GroupKind
from controlplane.model.kubernetes import Secret
from controlplane.model.objects import ObjectKey
from controlplane.model.secret_names import CONFIG_MAP, KUBERNETES_GATEWAY, SecretName
from controlplane.model.wanted_secrets import Wanted, of_rule, of_server
from controlplane.registry.gateways import gateways
from controlplane.registry.mesh import mesh_config
from controlplane.registry.providers import secret_server
from controlplane.registry.pull_secrets import pull_secrets
from controlplane.registry.store import View


class Place(NamedTuple):
    """Where something may be that a proxy asks for; ``namespace`` is empty for any."""

    kind: GroupKind
    namespace: str
    name: str


class Reader(NamedTuple):
    """A proxy as far as secrets go: its namespace, and whether it is a gateway."""

    namespace: str
    router: bool


class SecretKey(NamedTuple):
    """One secret for the proxies of a namespace."""

    wanted: Wanted
    namespace: str


@query
def _of_gateways(view: View, _key: tuple[()]) -> frozenset[tuple[str, Wanted]]:
    """Return what Gateways name, each with the namespace of one that does."""
    provided = secret_server(view) is not None
    return frozenset(
        (obj.meta.namespace, wanted)
        for obj in gateways(view)
        for server in obj.spec.servers
        for _, wanted in of_server(server, provided=provided)
    )


@query
def _of_rules(view: View, _key: tuple[()]) -> frozenset[tuple[str, Wanted]]:
    """Return what DestinationRules name, each with the namespace of one that does."""
    found: set[tuple[str, Wanted]] = set()
    for key in view.index("rules_with_credentials", ()):
        obj = view.get(key)
        if obj is not None:
            found.update((key.namespace, wanted) for _, wanted in of_rule(obj.spec))
    return frozenset(found)


@query
def secrets_of(view: View, reader: Reader) -> frozenset[Wanted]:
    """Return what proxies of a kind may ask for, sharing one answer in each namespace.

    A sidecar uses credentials of DestinationRules that select workloads, of its own or the root namespace, and
    certificates in ConfigMaps; a gateway those of all. What the Gateway API names counts in the Gateway's namespace.
    """
    rules = _of_rules(view, ())
    if not reader.router:
        homes = {reader.namespace, mesh_config(view).root_namespace} if rules else set()
        return frozenset(
            wanted for namespace, wanted in rules if namespace in homes or wanted.text.startswith(CONFIG_MAP)
        )
    of_gateways = _of_gateways(view, ())
    return frozenset(
        wanted
        for namespace, wanted in rules | of_gateways
        if namespace == reader.namespace or not wanted.text.startswith(KUBERNETES_GATEWAY)
    )


@query
def wanted_places(view: View, _key: tuple[()]) -> frozenset[Place]:
    """Return all places of what Gateways, DestinationRules and extensions name: what to read of a cluster."""
    names = (wanted.name for _, wanted in _of_gateways(view, ()) | _of_rules(view, ()))
    logins = (Place(secret.kind, secret.namespace, secret.name) for _, secret in pull_secrets(view, ()))
    return frozenset(
        Place(key.kind, name.namespace, key.name)
        for name in names
        if name is not None
        for key in name.places(name.namespace)
    ).union(logins)


def key_pair_of(view: View, key: SecretKey) -> KeyPair | None:
    """Return the key pair that is in force under a name; ``None`` without one."""
    spec = _secret(view, key)
    return spec.pair if spec is not None else None


def roots_of(view: View, key: SecretKey) -> TrustedRoots | None:
    """Return the roots that are in force under a name; ``None`` without any."""
    name = key.wanted.name
    if name is not None and name.kind is kinds.CONFIG_MAP:
        return _published(view, name)
    spec = _secret(view, key)
    return spec.roots if spec is not None else None


def trouble(view: View, key: SecretKey) -> str:
    """Return why a secret is not served, or not in its newest version; empty where nothing is wrong."""
    name = key.wanted.name
    if name is None:
        return f'"{key.wanted.text}" names nothing that can be served there'
    if name.kind is kinds.CONFIG_MAP:
        return _trouble_of_config_map(view, name)
    found = _home(view, key)
    if found is None:
        return f"there is no Secret {name.name} in namespace {name.namespace or key.namespace}"
    spec = view.get(found)
    if spec is None or not isinstance(spec.spec, Secret):
        return f"there is no Secret {name.name} in namespace {found.namespace}"
    part, problem = (
        (spec.spec.roots, spec.spec.roots_problem) if name.authority else (spec.spec.pair, spec.spec.pair_problem)
    )
    if problem:
        return f"{found}: {problem}"
    if part is None:
        wanted = "cacert or ca.crt" if name.authority else "cert and key, or tls.crt and tls.key"
        return f"{found} has no {wanted}"
    return ""


@query
def trouble_anywhere(view: View, wanted: Wanted) -> str:
    """Return why a secret is not served, or not in its newest version; empty where nothing is wrong.

    A proxy reads Secrets of its own namespace, whichever that is: where a name says none, all Secrets of that name
    are looked at.
    """
    name = wanted.name
    if name is None or name.namespace:
        return trouble(view, SecretKey(wanted, name.namespace if name is not None else ""))
    places = (held for place in name.places("") for held in view.index("secrets_named", place.name))
    namespaces = sorted({held.namespace for held in places})
    if not namespaces:
        unless = "; proxies without a server of secrets beside them lack it" if wanted.elsewhere else ""
        return f"there is no Secret {name.name}; it is read from the namespace of the proxies{unless}"
    reasons = (trouble(view, SecretKey(wanted, namespace)) for namespace in namespaces)
    return "; ".join(reason for reason in reasons if reason)


def _home(view: View, key: SecretKey) -> ObjectKey | None:
    """Return the Secret that a name stands for: the first that exists."""
    name = key.wanted.name
    if name is None:
        return None
    return next((place for place in name.places(key.namespace) if view.get(place) is not None), None)


def _secret(view: View, key: SecretKey) -> Secret | None:
    home = _home(view, key)
    obj = view.get(home) if home is not None else None
    return obj.spec if obj is not None and isinstance(obj.spec, Secret) else None


def _published(view: View, name: SecretName) -> TrustedRoots | None:
    found = _roots_of_config_map(view, name.places("")[0])
    return found if isinstance(found, TrustedRoots) else None


@query
def _roots_of_config_map(view: View, key: ObjectKey) -> TrustedRoots | str | None:
    """Return the roots in a ConfigMap, ``None`` without any, or why they cannot be used."""
    obj = view.get(key)
    if obj is None:
        return None
    try:
        return trusted_roots({entry: text.encode() for entry, text in obj.spec.data.items()})
    except UnusableError as error:
        return str(error)


def _trouble_of_config_map(view: View, name: SecretName) -> str:
    key = name.places("")[0]
    found = _roots_of_config_map(view, key)
    if isinstance(found, TrustedRoots):
        return ""
    if found is not None:
        return f"{key}: {found}"
    return f"{key} does not exist or has neither cacert nor ca.crt"
