"""What stands for an AuthorizationPolicy that cannot be used: it refuses at least what the policy was to refuse.

A policy that is not there leaves its workloads open, so one that cannot be read may not count as if it were not there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from controlplane.apis.authorization_policy import Action, AuthorizationPolicy, Rule
from controlplane.apis.parse import parse_spec
from controlplane.apis.validation.report import Subject

if TYPE_CHECKING:
    from collections.abc import Mapping

KIND = "AuthorizationPolicy"
NOTE = (
    "object: a good version of before stays in force; without one, rules that are wrong allow nothing or, with another"
    " action than ALLOW, match everything"
)
"""What is told beside the problems of such a policy."""
_MOST_RULES = 512
_FOR_WHOM = ("selector", "targetRef", "targetRefs")
_NOBODY = Subject("default", "policy")
_NOTHING: AuthorizationPolicy = AuthorizationPolicy()


def stand_in(raw: object) -> AuthorizationPolicy:
    """Return what is in force in the place of a policy whose ``spec`` cannot be used as it is.

    A rule that is wrong is left out where it would allow, and matches everything where it would deny. Without a known
    action nothing is allowed. Where it cannot be read whom the policy is for, it is for its whole namespace, and allows
    nothing there.
    """
    spec: Mapping[str, Any] = raw if isinstance(raw, dict) else {}
    whom = _policy({name: spec[name] for name in _FOR_WHOM if name in spec})
    action = spec.get("action", Action.ALLOW)
    if not isinstance(action, str) or action not in set(Action) or (whom is None and action == Action.ALLOW):
        return whom or _NOTHING
    provider = _policy({"action": Action.CUSTOM.value, "rules": [{}], "provider": spec.get("provider")})
    stated = {
        "action": Action(action),
        "rules": _rules(spec.get("rules"), Action(action)),
        "provider": provider.provider if provider is not None and action == Action.CUSTOM else None,
    }
    return (whom or _NOTHING).model_copy(update=stated)


def _rules(stated: object, action: Action) -> tuple[Rule, ...]:
    instead = () if action is Action.ALLOW else (Rule(),)
    if not isinstance(stated, list) or not stated or len(stated) > _MOST_RULES:
        return instead
    found: list[Rule] = []
    for each in stated:
        alone = {"action": action.value, "rules": [each], **({"provider": {"name": "x"}} if action == "CUSTOM" else {})}
        policy = _policy(alone)
        found.extend(policy.rules if policy is not None else instead)
    return tuple(found)


def _policy(spec: Mapping[str, Any]) -> AuthorizationPolicy | None:
    """Return what a few fields of a policy say; ``None`` where something is wrong with them."""
    model = parse_spec(KIND, spec, _NOBODY).model
    return model if isinstance(model, AuthorizationPolicy) else None
