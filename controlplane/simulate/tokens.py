"""Whether a JWT filter lets a request pass, and what it leaves of the token.

Reference: envoy.extensions.filters.http.jwt_authn.v3. A token of an issuer whose keys the proxy fetches by itself is
taken to be signed well: those keys are not known here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from typing import Any

import jwt
from jwt.types import Options

from controlplane.documents.json_reader import json_value
from controlplane.simulate.call import UnsupportedError
from controlplane.simulate.request import Request
from controlplane.simulate.text_matching import parameters

FILTER = "envoy.filters.http.jwt_authn"
_BEARER = "Bearer "
_MISSING = "Jwt is missing"
_LEEWAY = 60
"""Seconds that clocks may differ by; Envoy's default."""
_SIGNATURE: Options = {
    "verify_signature": True,
    "verify_exp": False,
    "verify_nbf": False,
    "verify_iat": False,
    "verify_aud": False,
}


@dataclass(frozen=True, slots=True)
class Verified:
    """What a filter found: ``problem`` is empty where the request passes; ``payload`` are the claims it leaves."""

    problem: str = ""
    payload: Mapping[str, Any] = field(default_factory=dict)
    issuer: str = ""
    assumed: bool = False


class Tokens:
    """One JWT filter."""

    def __init__(self, config: Any) -> None:  # noqa: ANN401 - Envoy's messages carry no types
        self._config = config

    def verified(self, request: Request) -> Verified:
        """Hold a request against the first rule for its path; without one it passes."""
        for rule in self._config.rules:
            if not request.path.startswith(rule.match.prefix):
                continue
            if not rule.HasField("requires"):
                return Verified()
            return self._required(rule.requires, request)
        return Verified()

    def _required(self, requirement: Any, request: Request) -> Verified:  # noqa: ANN401 - see above
        kind = requirement.WhichOneof("requires_type")
        match kind:
            case "provider_name":
                return self._by(requirement.provider_name, request)
            case "requires_any":
                return self._any(requirement.requires_any.requirements, request)
            case "requires_all":
                found = Verified()
                for each in requirement.requires_all.requirements:
                    found = self._required(each, request)
                    if found.problem:
                        return found
                return found
            case "allow_missing":
                return self._unless_wrong(request)
            case "allow_missing_or_failed":
                return Verified()
        raise UnsupportedError(f"a requirement of tokens by {kind}")

    def _any(self, requirements: Any, request: Request) -> Verified:  # noqa: ANN401 - see above
        problems = []
        for each in requirements:
            found = self._required(each, request)
            if not found.problem:
                return found
            problems.append(found.problem)
        told = [problem for problem in problems if problem != _MISSING]
        return Verified((told or problems or [_MISSING])[-1])

    def _unless_wrong(self, request: Request) -> Verified:
        """Let a request without a token pass, and one whose token is right."""
        problem = ""
        for provider in self._config.providers.values():
            for token in _tokens(provider, request):
                found = self._checked(provider, token)
                if not found.problem:
                    return found
                problem = problem or found.problem
        return Verified(problem)

    def _by(self, name: str, request: Request) -> Verified:
        provider = self._config.providers[name]
        found = Verified(_MISSING)
        for token in _tokens(provider, request):
            found = self._checked(provider, token)
            if not found.problem:
                return found
        return found

    def _checked(self, provider: Any, token: str) -> Verified:  # noqa: ANN401 - see above
        options: Options = {"verify_signature": False}
        try:
            header = jwt.get_unverified_header(token)
            claims = jwt.decode(token, options=options)
        except jwt.InvalidTokenError:
            return Verified("Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections")
        if provider.issuer and claims.get("iss") != provider.issuer:
            return Verified("Jwt issuer is not configured")
        local = provider.WhichOneof("jwks_source_specifier") == "local_jwks"
        problem = _problem(provider, token, header, local=local)
        if problem:
            return Verified(problem)
        return Verified("", _normal(provider, claims), str(claims.get("iss", "")), assumed=not local)


def _problem(provider: Any, token: str, header: Mapping[str, Any], *, local: bool) -> str:  # noqa: ANN401 - see above
    """Return what is wrong with a token of the right issuer: time and audience come before the signature."""
    if problem := _claims_problem(token, list(provider.audiences)):
        return problem
    if not local:
        return ""
    problem = "Jwks doesn't have key to match kid or alg from Jwt"
    for key in _keys(provider.local_jwks.inline_string, header):
        try:
            jwt.decode(token, key, [str(header.get("alg"))], _SIGNATURE)
        except (jwt.PyJWTError, TypeError, ValueError):
            problem = "Jwt verification fails"
        else:
            return ""
    return problem


def _claims_problem(token: str, audiences: list[str]) -> str:
    options: Options = {"verify_signature": False, "verify_exp": True, "verify_nbf": True, "verify_iat": False}
    options |= {"verify_aud": bool(audiences)}
    try:
        jwt.decode(token, options=options, audience=audiences or None, leeway=_LEEWAY)
    except jwt.ExpiredSignatureError:
        return "Jwt is expired"
    except jwt.ImmatureSignatureError:
        return "Jwt not yet valid"
    except (jwt.InvalidAudienceError, jwt.MissingRequiredClaimError):
        return "Audiences in Jwt are not allowed"
    except (jwt.PyJWTError, TypeError, ValueError):
        return "Jwt verification fails"
    return ""


def _keys(text: str, header: Mapping[str, Any]) -> Iterator[Any]:
    """Yield the keys that may have signed a token with this header."""
    try:
        held = json_value(text)["keys"]
    except (ValueError, KeyError, TypeError):
        return
    for each in held:
        if header.get("kid") and each.get("kid") and header["kid"] != each["kid"]:
            continue
        try:
            yield jwt.PyJWK(each, algorithm=each.get("alg") or header.get("alg"))
        except jwt.PyJWTError:
            continue


def _tokens(provider: Any, request: Request) -> Iterator[str]:  # noqa: ANN401 - see above
    stated = provider.from_headers or provider.from_params or provider.from_cookies
    if not stated:
        value = request.headers.get("authorization", "")
        if value.startswith(_BEARER):
            yield value.removeprefix(_BEARER)
        yield from filter(None, [parameters(request.query).get("access_token", "")])
        return
    for place in provider.from_headers:
        value = request.headers.get(place.name.lower(), "")
        if value and place.value_prefix in value:
            yield value.partition(place.value_prefix)[2].strip() if place.value_prefix else value
    for name in provider.from_params:
        yield from filter(None, [parameters(request.query).get(name, "")])
    for name in provider.from_cookies:
        yield from filter(None, [_cookie(request.headers.get("cookie", ""), name)])


def _cookie(text: str, name: str) -> str:
    try:
        held = SimpleCookie(text)
    except CookieError:
        return ""
    return held[name].value if name in held else ""


def _normal(provider: Any, claims: Mapping[str, Any]) -> Mapping[str, Any]:  # noqa: ANN401 - see above
    """Return the claims with those that are lists of words as lists."""
    words = set(provider.normalize_payload_in_metadata.space_delimited_claims)
    return {
        name: value.split(" ") if name in words and isinstance(value, str) else value for name, value in claims.items()
    }
