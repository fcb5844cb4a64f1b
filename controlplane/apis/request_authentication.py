"""RequestAuthentication: which JSON web tokens of requests are believed."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, Field

from controlplane.apis.common import (
    ONE_TARGET,
    ApiModel,
    Bool,
    NonEmpty,
    PolicyTargetReference,
    PositiveDuration,
    TargetReferences,
    WorkloadSelector,
    at_most_one,
)
from controlplane.apis.urls import NotAURLError, scheme_of


def _web_address(value: str) -> str:
    message = "url must have scheme http:// or https://"
    try:
        scheme = scheme_of(value)
    except NotAURLError as error:
        raise ValueError(f"{message}, and be a URL: it {error}") from None
    if scheme not in {"http", "https"}:
        raise ValueError(message)
    return value


class JWTHeader(ApiModel):
    """A header that carries a token, after a prefix such as ``Bearer``."""

    name: NonEmpty
    prefix: str = ""


class ClaimToHeader(ApiModel):
    """A claim that is copied into a header of the request."""

    header: Annotated[str, Field(min_length=1, pattern=r"^[-_A-Za-z0-9]+$")]
    claim: NonEmpty


class JWTPresence(StrEnum):
    """Whether a request may come without a token."""

    OPTIONAL = "OPTIONAL"
    REQUIRED = "REQUIRED"


class JWTRule(ApiModel):
    """An issuer, its keys (``jwks`` or where to fetch them) and where its tokens stand.

    ``issuer`` ``None`` takes any issuer, no audience accepts any. No location means the ``Authorization`` header and
    the parameter ``access_token``. ``timeout`` is for fetching keys, ``None`` means 5 s.
    """

    issuer: NonEmpty | None = None
    audiences: tuple[NonEmpty, ...] = ()
    jwks_uri: Annotated[str, Field(min_length=1, max_length=2048), AfterValidator(_web_address)] | None = None
    jwks: str | None = None
    from_headers: tuple[JWTHeader, ...] = ()
    from_params: tuple[NonEmpty, ...] = ()
    from_cookies: tuple[NonEmpty, ...] = ()
    output_payload_to_header: str = ""
    forward_original_token: Bool = False
    output_claim_to_headers: tuple[ClaimToHeader, ...] = ()
    timeout: PositiveDuration | None = None
    space_delimited_claims: Annotated[tuple[NonEmpty, ...], Field(max_length=64)] = ()
    presence: JWTPresence | None = None

    _one = at_most_one("jwks_uri", "jwks", reason="only one of jwks or jwksUri can be set")


class RequestAuthentication(ApiModel):
    """``spec`` of a RequestAuthentication; no selector: the namespace."""

    selector: WorkloadSelector | None = None
    target_ref: PolicyTargetReference | None = None
    target_refs: TargetReferences = ()
    jwt_rules: Annotated[tuple[JWTRule, ...], Field(max_length=4096)] = ()

    _one_target = at_most_one("selector", "target_ref", "target_refs", reason=ONE_TARGET)
