"""What stands for an AuthorizationPolicy that cannot be used: it refuses at least what the policy was to refuse."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from controlplane.apis.authorization_policy import Action, AuthorizationPolicy, Rule
from controlplane.apis.closing.reading import readable, stated_fields

if TYPE_CHECKING:
    from collections.abc import Mapping

_KIND = "AuthorizationPolicy"
_MOST_RULES = 512
_FOR_WHOM = ("selector", "target_ref", "target_refs")
_NOTHING: AuthorizationPolicy = AuthorizationPolicy()


def stand_in(raw: object) -> AuthorizationPolicy:
    """Return what is in force in the place of a policy whose ``spec`` cannot be used as it is.

    A rule that is wrong is left out where it would allow, and matches everything where it would deny. Without a known
    action, and beside a field that nobody knows, nothing is allowed. Where it cannot be read whom the policy is for,
    it is for its whole namespace, and allows nothing there.
    """
    spec, others = stated_fields(AuthorizationPolicy, raw)
    whom = _policy({name: spec[name] for name in _FOR_WHOM if name in spec})
    action = spec.get("action", Action.ALLOW)
    if (
        not isinstance(action, str)
        or action not in set(Action)
        or (action == Action.ALLOW and (whom is None or others))
    ):
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
    return readable(_KIND, AuthorizationPolicy, spec)
