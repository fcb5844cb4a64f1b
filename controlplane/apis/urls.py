"""Whether a text is a URL, by the rules of the library that Kubernetes and Istio read it with (Go, ``net/url``)."""

from __future__ import annotations

_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
_DIGITS = frozenset("0123456789")
_HEX = frozenset("0123456789abcdefABCDEF")
_UNRESERVED = _LETTERS | _DIGITS | frozenset("-._~")
_HOST = _UNRESERVED | frozenset("!$&'()*+,;=:[]<>\"")
_USER = _UNRESERVED | frozenset(":!$&'()*+,;=%@")
_DELETE = "\x7f"


class NotAURLError(ValueError):
    """The text is no URL; the message says why."""


def scheme_of(text: str) -> str:
    """Return the scheme of an absolute URL or, empty, of an absolute path, in lower case.

    Raises:
        NotAURLError: it is neither.
    """
    if not text or any(char < " " or char == _DELETE for char in text):
        raise NotAURLError("is empty or has control characters")
    scheme, rest = _scheme(text)
    rest, _, _ = rest.partition("?")
    if not rest.startswith("/"):
        if scheme:
            return scheme  # what follows has no structure: mailto:somebody
        raise NotAURLError("has neither a scheme nor an absolute path")
    if scheme and rest.startswith("//"):
        authority, slash, path = rest[2:].partition("/")
        _check_authority(authority)
        rest = slash + path
    _check_escapes(rest)
    return scheme


def _scheme(text: str) -> tuple[str, str]:
    for at, char in enumerate(text):
        if char == ":":
            if at == 0:
                raise NotAURLError("has no scheme before its first colon")
            return text[:at].lower(), text[at + 1 :]
        if char not in _LETTERS and (at == 0 or (char not in _DIGITS and char not in "+-.")):
            break
    return "", text


def _check_authority(authority: str) -> None:
    user, at, host = authority.rpartition("@")
    if at and not _USER.issuperset(user):
        raise NotAURLError("has characters in its user that must be escaped")
    _check_escapes(user)
    if host.startswith("["):
        end = host.rfind("]")
        if end < 0:
            raise NotAURLError("has a [ without ] in its host")
        port, address = host[end + 1 :], host[: end + 1]
        name, _, zone = address.partition("%25")
        _check_escapes(zone)
        _check_host(name)
    else:
        name, colon, number = host.rpartition(":")
        port, name = (colon + number, name) if colon else ("", host)
        _check_host(name)
    if port and (port[0] != ":" or not _DIGITS.issuperset(port[1:])):
        raise NotAURLError(f"has the invalid port {port[1:]!r}")


def _check_host(host: str) -> None:
    """Only bytes beyond ASCII may be escaped in a host."""
    _check_escapes(host)
    plain = host.split("%")
    if any(part[0] in "01234567" for part in plain[1:] if part[:2] != "25"):
        raise NotAURLError("has characters in its host that must not be escaped")
    if any(char < "\x80" and char not in _HOST for part in plain for char in part):
        raise NotAURLError("has characters in its host that no host has")


def _check_escapes(text: str) -> None:
    for part in text.split("%")[1:]:
        if len(part) < 2 or not _HEX.issuperset(part[:2]):  # noqa: PLR2004 - two digits
            raise NotAURLError("has a % that is not followed by two hexadecimal digits")
