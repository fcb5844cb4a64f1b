"""Which secrets the TLS settings of Gateways and DestinationRules make a proxy ask for over ADS."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from controlplane.apis.destination_rule import ClientTLSMode, ClientTLSSettings, DestinationRule, TrafficPolicy
from controlplane.apis.gateway import Server
from controlplane.apis.tls import ServerTLSMode, ServerTLSSettings
from controlplane.model.secret_names import BUILTIN, CA_SUFFIX, INVALID, SDS, SecretName, secret_name

ASKS_CALLER = frozenset({ServerTLSMode.MUTUAL, ServerTLSMode.OPTIONAL_MUTUAL})
"""Modes in which the caller's certificate is checked against roots that the Gateway names."""
_SHOWS_SECRET = ASKS_CALLER | {ServerTLSMode.SIMPLE}


class Wanted(NamedTuple):
    """One secret: ``text`` is what the proxy asks for; ``authority`` says that it is for the roots in it.

    ``elsewhere`` is set for ``sds://``: proxies with a server of secrets beside them have it from there.
    """

    text: str
    authority: bool
    elsewhere: bool = False

    @classmethod
    def of(cls, credential: str, suffix: str = "", *, authority: bool = False) -> Wanted:
        """Return what a credential stands for, as it is written."""
        return cls(secret_name(credential) + suffix, authority, elsewhere=credential.startswith(SDS))

    @property
    def name(self) -> SecretName | None:
        """What it stands for; ``None`` where nothing of that use is served under such a name."""
        name = SecretName.parse(self.text)
        if name is None or (name.authority and not self.authority):
            return None
        return name._replace(authority=self.authority)


def credentials(tls: ServerTLSSettings) -> tuple[str, ...]:
    """Return the names of the certificates that a server shows, as they are written."""
    return (tls.credential_name,) if tls.credential_name else tls.credential_names


def of_server(server: Server, *, provided: bool = False) -> Iterator[tuple[str, Wanted]]:
    """Yield what a Gateway's server makes its proxies ask for, with the field of ``tls`` that says so.

    ``provided``: the mesh has a provider of secrets, which is asked for those of ``sds://``.
    """
    tls = server.tls
    if tls is None or tls.mode not in _SHOWS_SECRET:
        return
    names = credentials(tls)
    field = "credentialName" if tls.credential_name else "credentialNames[{}]"
    for index, name in enumerate(names):
        if _is_served(name, provided=provided):
            yield field.format(index), Wanted.of(name)
    if not names or tls.mode not in ASKS_CALLER:
        return
    stated = tls.ca_cert_credential_name
    if stated and _is_served(stated, provided=provided):
        yield "caCertCredentialName", Wanted.of(stated, authority=True)
    elif not stated and _is_served(names[0], provided=provided):
        yield field.format(0), Wanted.of(names[0], CA_SUFFIX, authority=True)


def of_rule(rule: DestinationRule) -> Iterator[tuple[str, Wanted]]:
    """Yield what a DestinationRule makes its clients ask for, with the path of the field that says so."""
    for path, tls in _client_settings(rule):
        name = tls.credential_name
        if not name or not _is_served(name) or tls.mode not in {ClientTLSMode.SIMPLE, ClientTLSMode.MUTUAL}:
            continue
        if tls.mode is ClientTLSMode.MUTUAL:
            yield f"{path}.credentialName", Wanted.of(name)
        if not tls.insecure_skip_verify:
            yield f"{path}.credentialName", Wanted.of(name, CA_SUFFIX, authority=True)


def _client_settings(rule: DestinationRule) -> Iterator[tuple[str, ClientTLSSettings]]:
    yield from _of_policy("spec.trafficPolicy", rule.traffic_policy)
    for index, subset in enumerate(rule.subsets):
        yield from _of_policy(f"spec.subsets[{index}].trafficPolicy", subset.traffic_policy)


def _of_policy(path: str, policy: TrafficPolicy | None) -> Iterator[tuple[str, ClientTLSSettings]]:
    if policy is None:
        return
    if policy.tls is not None:
        yield f"{path}.tls", policy.tls
    for index, port in enumerate(policy.port_level_settings):
        if port.tls is not None:
            yield f"{path}.portLevelSettings[{index}].tls", port.tls


def _is_served(credential: str, *, provided: bool = False) -> bool:
    return not credential.startswith((BUILTIN, INVALID, SDS) if provided else (BUILTIN, INVALID))
