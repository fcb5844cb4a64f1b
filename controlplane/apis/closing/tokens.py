"""What stands for a RequestAuthentication that cannot be used: tokens that it was to check are refused.

Without the policy such a token would reach the application unchecked, and so would headers that a client wrote itself
in the place of those that are made of claims.
"""

from __future__ import annotations

from typing import Any

from controlplane.apis.closing.reading import readable, stated_fields
from controlplane.apis.request_authentication import JWTRule, RequestAuthentication

_KIND = "RequestAuthentication"
_MOST = 512
"""How many rules, and parts of one, are looked at one by one."""
_FOR_WHOM = ("selector", "target_ref", "target_refs")
_NO_KEYS = '{"keys": []}'
_LISTS = ("from_headers", "from_params", "from_cookies", "output_claim_to_headers")
_TEXTS = ("issuer", "output_payload_to_header")


def stand_in(raw: object) -> RequestAuthentication:
    """Return what is in force in the place of a policy whose ``spec`` cannot be used as it is.

    A rule that is wrong believes no token: it keeps its issuer, the places of its tokens and the headers it writes as
    far as they can be read. Where it cannot be read whom the policy is for, it is for its whole namespace, and no rule
    believes a token there.
    """
    spec, others = stated_fields(RequestAuthentication, raw)
    stated = {name: spec[name] for name in _FOR_WHOM if name in spec}
    whom = _policy(stated)
    known = whom is not None and (bool(stated) or not others)
    rules = spec.get("jwt_rules", [None] if others else [])
    if not isinstance(rules, list) or len(rules) > _MOST:
        rules = [None]
    found = tuple((_rule(each) if known else None) or _closed(each) for each in rules)
    return (whom or RequestAuthentication()).model_copy(update={"jwt_rules": found})


def _rule(stated: object) -> JWTRule | None:
    policy = _policy({"jwtRules": [stated]})
    return policy.jwt_rules[0] if policy is not None and policy.jwt_rules else None


def _closed(stated: object) -> JWTRule:
    """Return a rule that finds the same tokens, and believes none."""
    fields, _ = stated_fields(JWTRule, stated)
    kept: dict[str, Any] = {name: fields[name] for name in _TEXTS if name in fields and _reads({name: fields[name]})}
    for name in _LISTS:
        listed = fields.get(name)
        parts = listed if isinstance(listed, list) and len(listed) <= _MOST else []
        kept[name] = parts if _reads({name: parts}) else [each for each in parts if _reads({name: [each]})]
    rule = _rule({"issuer": "any", **kept}) or JWTRule()
    return rule.model_copy(update={"issuer": rule.issuer if "issuer" in kept else None, "jwks": _NO_KEYS})


def _reads(fields: dict[str, Any]) -> bool:
    return _rule({"issuer": "any", **fields}) is not None


def _policy(spec: dict[str, Any]) -> RequestAuthentication | None:
    return readable(_KIND, RequestAuthentication, spec)
