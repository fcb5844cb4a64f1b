"""What stands for a policy that cannot be used: it never lets in more than the policy would have."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.apis.authorization_policy import Rule
from controlplane.apis.closing.authorization import stand_in
from controlplane.apis.parse import parse_spec
from controlplane.apis.validation.report import Subject

GOOD: dict[str, Any] = {"to": [{"operation": {"methods": ["GET"]}}]}
SELECTOR: dict[str, Any] = {"matchLabels": {"app": "web"}}
BAD: dict[str, Any] = {
    "unknown-field": {"to": [{"operation": {"methods": ["GET"], "path": ["/x"]}}]},
    "unknown-field-alone": {"from": [{"source": {"namespace": ["x"]}}]},
    "nothing-said": {"from": [{"source": {}}]},
    "no-operation": {"to": [{}]},
    "empty-lists": {"from": [{"source": {"namespaces": []}}]},
    "a-number": {"from": [{"source": {"namespaces": ["x", 5]}}]},
    "no-list": {"from": {"source": {"namespaces": ["x"]}}},
    "range-of-ports": {"to": [{"operation": {"ports": ["80-90"]}}]},
    "empty-text": {"to": [{"operation": {"paths": [""]}}]},
    "no-address": {"from": [{"source": {"ipBlocks": ["10.0.0.0/40"]}}]},
    "mask": {"from": [{"source": {"ipBlocks": ["10.0.0.0/255.0.0.0"]}}]},
    "zone": {"from": [{"source": {"ipBlocks": ["fe80::1%eth0"]}}]},
    "template": {"to": [{"operation": {"paths": ["/{**}/{*}"]}}]},
    "no-attribute": {"when": [{"key": "source.color", "values": ["red"]}]},
    "no-values": {"when": [{"key": "source.namespace"}]},
    "empty-value": {"when": [{"key": "request.headers[x]", "values": [""]}]},
    "no-bracket": {"when": [{"key": "request.headers", "values": ["x"]}]},
    "accounts-and-namespaces": {"from": [{"source": {"serviceAccounts": ["a"], "namespaces": ["b"]}}]},
    "null": None,
    "text": "GET",
}
"""Rules of which something is wrong."""


@pytest.mark.parametrize("rule", BAD.values(), ids=BAD)
def test_a_wrong_rule(rule: Any) -> None:
    """Where it would allow it is left out, elsewhere it matches everything; the rules beside it stay."""
    for action in ("ALLOW", "DENY", "AUDIT", "CUSTOM"):
        provider = {"provider": {"name": "x"}} if action == "CUSTOM" else {}
        spec = {"action": action, "rules": [rule, GOOD], "selector": SELECTOR, **provider}
        found = stand_in(spec)
        assert found.action == action
        assert found.selector is not None
        assert found.selector.match_labels == {"app": "web"}
        good = Rule.model_validate(GOOD)
        if action == "ALLOW":
            assert parse_spec("AuthorizationPolicy", spec, Subject("shop", "a")).model is None
            assert found.rules == (good,)
        else:
            assert found.rules in {(Rule(), good), (good, good)}  # the second: what nobody knows was left out


@pytest.mark.parametrize(
    "raw", [None, "text", [], {"action": "Allow", "rules": [{}]}, {"action": ["DENY"]}, {"action": ""}]
)
def test_what_is_no_policy_allows_nothing(raw: Any) -> None:
    found = stand_in(raw)
    assert (found.action, found.rules, found.selector) == ("ALLOW", (), None)


@pytest.mark.parametrize("rules", [None, [], "text", {}, [{}] * 513])
def test_rules_that_are_none(rules: Any) -> None:
    assert stand_in({"rules": rules}).rules == ()
    assert stand_in({"action": "DENY", "rules": rules}).rules == (Rule(),)


FOR_NOBODY_KNOWN: list[dict[str, Any]] = [
    {"selector": {"matchLabels": {"app": "*"}}},
    {"selector": {"app": "web"}},
    {"selector": "web"},
    {"selector": SELECTOR, "targetRef": {"kind": "Gateway", "group": "gateway.networking.k8s.io", "name": "a"}},
    {"targetRefs": [{"kind": "Pod", "name": "a"}]},
]


@pytest.mark.parametrize("whom", FOR_NOBODY_KNOWN)
def test_for_whom_it_is_cannot_be_read(whom: dict[str, Any]) -> None:
    """It is for its namespace, where it denies what it denies and allows nothing: others might be let in by it."""
    allowing, denying = stand_in({**whom, "rules": [{}]}), stand_in({**whom, "action": "DENY", "rules": [GOOD]})
    assert (allowing.rules, allowing.selector, allowing.target_refs) == ((), None, ())
    assert len(denying.rules) == 1
    assert denying.target_refs == ()
    assert denying.selector is None or not denying.selector.match_labels


def test_a_provider_that_is_none_is_nobodys() -> None:
    """Whom a policy asks that nobody can ask denies what it matches."""
    for provider in (None, "guard", {"name": ""}, {"name": 5}):
        found = stand_in({"action": "CUSTOM", "provider": provider, "rules": [GOOD]})
        assert found.provider is None or not found.provider.name
        assert len(found.rules) == 1


def test_unknown_fields_of_a_denial_are_left_out() -> None:
    """It denies more without them; what is allowed would be more, too."""
    spec = {"action": "DENY", "rules": [BAD["unknown-field"]], "where": "mesh"}
    assert parse_spec("AuthorizationPolicy", spec, Subject("shop", "a")).model is not None
    assert parse_spec("AuthorizationPolicy", {**spec, "action": "ALLOW"}, Subject("shop", "a")).model is None


@pytest.mark.parametrize("field", ["actions", "selectors", "targetReferences", "rule"])
def test_an_unknown_field_beside_what_is_allowed(field: str) -> None:
    """It may say that it is no ALLOW, or for whom: nothing is allowed, to whom is known."""
    spec = {field: "DENY", "rules": [GOOD], "selector": SELECTOR}
    problems = parse_spec("AuthorizationPolicy", spec, Subject("shop", "a")).problems
    assert [str(each) for each in problems] == [f"spec.{field}: unknown field"]
    found = stand_in(spec)
    assert (found.action, found.rules) == ("ALLOW", ())
    assert found.selector is not None
    assert found.selector.match_labels == {"app": "web"}
