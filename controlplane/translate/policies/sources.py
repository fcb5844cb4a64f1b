"""Who calls, as Envoy's principals: identities of certificates, accounts, namespaces, tokens."""

from __future__ import annotations

from collections.abc import Sequence

from envoy.config.rbac.v3.rbac_pb2 import Principal
from envoy.type.matcher.v3.string_pb2 import StringMatcher

from controlplane.translate.policies.clauses import PRINCIPALS
from controlplane.translate.policies.matchers import ANY_TEXT, address, claim, quoted, regex, text

_SCHEME = "spiffe://"


def principal(value: str) -> Principal:
    """Match the identity of a certificate, ``<trust domain>/ns/<namespace>/sa/<account>``; ``*`` is any certificate."""
    if value == "*":
        return _authenticated(regex(ANY_TEXT))
    if value.startswith("*"):
        return _authenticated(regex(f"{_SCHEME}.*{quoted(value[1:])}"))
    if value.endswith("*"):
        return _authenticated(StringMatcher(prefix=_SCHEME + value[:-1]))
    return _authenticated(StringMatcher(exact=_SCHEME + value))


def namespace(value: str) -> Principal:
    """Match the namespace of a certificate's identity; ``*`` stands for any text wherever it is."""
    pattern = ".*".join(quoted(part) for part in value.split("*"))
    return _authenticated(regex(f".*/ns/{pattern}/.*"))


def service_account(value: str, own_namespace: str) -> Principal:
    """Match a service account, ``account`` or ``namespace/account``, in any trust domain."""
    stated, _, account = value.rpartition("/")
    return _authenticated(regex(f"spiffe://.+/ns/{quoted(stated or own_namespace)}/(.+/|)sa/{quoted(account)}(/.+)?"))


def trust_domain(value: str) -> Principal:
    """Match the trust domain of a certificate's identity; a ``*`` at an end stands for any text within its name."""
    if value == "*":
        return _authenticated(StringMatcher(prefix=_SCHEME))
    if "*" not in value:
        return _authenticated(StringMatcher(prefix=f"{_SCHEME}{value}/"))
    before, _, after = value.partition("*")
    return _authenticated(regex(f"{_SCHEME}{quoted(before)}[^/]*{quoted(after)}/.*"))


def peer_address(value: str) -> Principal:
    """Match the address that the connection comes from; ``ValueError`` where it is no address or range."""
    return Principal(direct_remote_ip=address(value))


def client_address(value: str) -> Principal:
    """Match the address of the client, as headers and the PROXY protocol tell it; ``ValueError`` as above."""
    return Principal(remote_ip=address(value))


def request_principals(values: Sequence[str]) -> Principal:
    """Match issuer and subject of a token, ``<issuer>/<subject>``; a ``*`` at either end stands for any."""
    matchers = [_request_principal(value) for value in values]
    return matchers[0] if len(matchers) == 1 else PRINCIPALS.either(matchers)


def _request_principal(value: str) -> Principal:
    issuer, subject = _issuer_and_subject(value)
    both = [Principal(metadata=claim(("iss",), issuer)), Principal(metadata=claim(("sub",), subject))]
    return Principal(and_ids=Principal.Set(ids=both))


def _issuer_and_subject(value: str) -> tuple[StringMatcher, StringMatcher]:
    anything = regex(ANY_TEXT)
    before, slash, after = value.rpartition("/")
    if value == "*":
        return anything, anything
    if value.startswith("*"):
        if not slash:
            return anything, text(value)
        return text(before), StringMatcher(exact=after)
    if value.endswith("*"):
        if not slash:
            return text(value), anything
        return StringMatcher(exact=before), text(after)
    return (
        (StringMatcher(exact=before), StringMatcher(exact=after)) if slash else (text(value), StringMatcher(exact=""))
    )


def _authenticated(matcher: StringMatcher) -> Principal:
    return Principal(authenticated=Principal.Authenticated(principal_name=matcher))
