"""What stands for a RequestAuthentication that cannot be used: what was to check tokens refuses them."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.apis.closing.tokens import stand_in
from controlplane.apis.parse import parse_spec
from controlplane.apis.request_authentication import JWTRule
from controlplane.apis.validation.report import Subject
from controlplane.documents.key_sets import key_set_problem

GOOD: dict[str, Any] = {"issuer": "good", "jwksUri": "https://keys.test"}
WEB: dict[str, Any] = {"selector": {"matchLabels": {"app": "web"}}}


def believes(rule: JWTRule) -> bool:
    return rule.jwks is None or not key_set_problem(rule.jwks)


@pytest.mark.parametrize(
    "rule",
    [
        {"issuer": "bad", "jwks": "{}"},
        {"issuer": "bad", "jwksUri": "ftp://keys.test"},
        {"issuer": "bad", "audience": ["shop"]},
        {"issuer": "bad", "audiences": [5]},
        {"issuer": "bad", "jwks": "x", "jwksUri": "https://keys.test"},
    ],
)
def test_a_wrong_rule_believes_nobody(rule: dict[str, Any]) -> None:
    """Tokens are found where the rule says, and headers made of claims are not left to clients; others stay."""
    places = {
        "fromHeaders": [{"name": "x-token", "prefix": "Jwt "}, {"name": ""}],
        "fromParams": ["token", ""],
        "fromCookies": ["session"],
        "outputClaimToHeaders": [{"header": "x-user", "claim": "sub"}, {"header": "a b", "claim": "sub"}],
        "outputPayloadToHeader": "x-payload",
    }
    spec = {**WEB, "jwtRules": [GOOD, {**rule, **places}]}
    assert parse_spec("RequestAuthentication", spec, Subject("shop", "a")).model is None
    found = stand_in(spec)
    assert found.selector is not None
    assert found.selector.match_labels == {"app": "web"}
    good, bad = found.jwt_rules
    assert good == JWTRule.model_validate(GOOD)
    assert (bad.issuer, believes(bad), bad.jwks_uri) == ("bad", False, None)
    assert [(each.name, each.prefix) for each in bad.from_headers] == [("x-token", "Jwt ")]
    assert (bad.from_params, bad.from_cookies) == (("token",), ("session",))
    assert [(each.header, each.claim) for each in bad.output_claim_to_headers] == [("x-user", "sub")]
    assert bad.output_payload_to_header == "x-payload"


@pytest.mark.parametrize("rule", [None, "bad", [], {"issuer": ""}, {"issuers": ["bad"]}, {"jwks": "{}"}])
def test_whose_tokens_they_are_cannot_be_read(rule: Any) -> None:
    """Then it is any issuer's; a token that the other rule believes is good all the same."""
    good, bad = stand_in({"jwtRules": [GOOD, rule]}).jwt_rules
    assert (bad.issuer, believes(bad), good.issuer) == (None, False, "good")


@pytest.mark.parametrize(
    "whom",
    [
        {"selector": {"matchLabels": {"app": "*"}}},
        {"selector": {"matchLabel": {"app": "web"}}},
        {"selectr": WEB["selector"]},
        {**WEB, "targetRef": {"kind": "Gateway", "group": "gateway.networking.k8s.io", "name": "a"}},
    ],
)
def test_for_whom_it_is_cannot_be_read(whom: dict[str, Any]) -> None:
    """It is for its namespace, where others might believe a token of its issuer."""
    spec = {**whom, "jwtRules": [GOOD]}
    assert parse_spec("RequestAuthentication", spec, Subject("shop", "a")).model is None
    found = stand_in(spec)
    assert (found.selector, found.target_ref) == (None, None)
    assert [(rule.issuer, believes(rule)) for rule in found.jwt_rules] == [("good", False)]


@pytest.mark.parametrize("raw", ["text", [], {"jwtRules": {}}, {"jwtRule": [GOOD]}, {"jwtRules": [GOOD] * 5000}])
def test_rules_that_cannot_be_read(raw: Any) -> None:
    assert [(rule.issuer, believes(rule)) for rule in stand_in(raw).jwt_rules] == [(None, False)]


def test_without_rules_there_is_nothing_to_refuse() -> None:
    assert stand_in(None).jwt_rules == ()
    assert stand_in({"selector": {"matchLabels": {"app": "*"}}}).jwt_rules == ()
