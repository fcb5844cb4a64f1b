"""Asks all replicas of a control plane, and joins what they answer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from controlplane.cli.asking.where import Replica
from controlplane.cli.fetch import Unanswered, Wrong
from controlplane.cli.output import print_aside

Json = dict[str, Any]
T = TypeVar("T")


def of_all(replicas: Sequence[Replica], ask: Callable[[Replica], T]) -> list[tuple[Replica, T]]:
    """Return what each replica answers; who does not is told of on standard error.

    Raises:
        Unanswered: none answers. ``Wrong``: the question is, all that answer say.
    """
    found: list[tuple[Replica, T]] = []
    failed: list[tuple[Replica, Unanswered]] = []
    with ThreadPoolExecutor(max(1, len(replicas))) as threads:
        asked = [(each, threads.submit(ask, each)) for each in replicas]
    for replica, answer in asked:
        try:
            found.append((replica, answer.result()))
        except Unanswered as error:
            failed.append((replica, error))
    if not found:
        raise next((each for _, each in failed if isinstance(each, Wrong)), failed[0][1])
    for replica, problem in failed:
        if not isinstance(problem, Wrong):
            print_aside(f"Warning: {replica.name} did not answer, and its proxies are not counted: {problem}")
    return found


def of_one(replicas: Sequence[Replica], ask: Callable[[Replica], T], suits: Callable[[T], bool] = bool) -> T:
    """Return the answer of the first replica whose answer suits, else the first answer; raises as ``of_all`` does."""
    found = [answer for _, answer in of_all(replicas, ask)]
    return next(filter(suits, found), found[0])


def texts_of_all(replicas: Sequence[Replica], tell: Callable[[Replica], str]) -> str:
    """Return what each replica has to tell; what several say is told once, with who says it where not all do."""
    told: dict[str, list[str]] = {}
    for replica, text in of_all(replicas, tell):
        if text:
            told.setdefault(text, []).append(replica.name)
    paragraphs = [
        text if len(names) == len(replicas) else f"{', '.join(names)}:\n{text}" for text, names in told.items()
    ]
    return "\n\n".join(paragraphs)


def is_connected(answer: Mapping[str, Any]) -> bool:
    """Whether the proxy that a request was explained for is connected to who answered."""
    return bool(answer["proxy"].get("connected"))


def joined_plans(answers: Sequence[Json]) -> Json:
    """Return the plans of several replicas, each for the proxies that are connected to it, as one."""
    first = answers[0]
    problems = _problems(answers, "problems")
    errors = sum(each["level"] == "Error" for each in problems) + len(first["refused"])
    return {
        **first,
        "proxyCount": sum(each["proxyCount"] for each in answers),
        "objects": [_object(list(held)) for held in zip(*(each["objects"] for each in answers), strict=False)],
        "classes": [group for each in answers for group in each["classes"]],
        "totals": _totals(answers),
        "problems": problems,
        "solved": _problems(answers, "solved"),
        "errors": errors,
        "warnings": sum(each["level"] != "Error" for each in problems) + len(first["repeated"]),
        "requests": [_request(list(held)) for held in zip(*(each["requests"] for each in answers), strict=True)],
    }


def _object(held: Sequence[Json]) -> Json:
    effects = [each["effect"] for each in held]
    return {**held[0], "effect": _effect(effects) if None not in effects else None}


def _effect(effects: Iterable[Json]) -> Json:
    """Join what an object does to the proxies of each replica; resources of one name are the same everywhere."""
    found: Json = {"proxyCount": 0, "sidecars": 0, "gateways": [], "resources": {}}
    for each in effects:
        found["proxyCount"] += each["proxyCount"]
        found["sidecars"] += each["sidecars"]
        found["gateways"] = sorted({*found["gateways"], *each["gateways"]})
        for service, counts in each["resources"].items():
            held = found["resources"].setdefault(service, {})
            for change, count in counts.items():
                held[change] = max(held.get(change, 0), count)
    return found


def _totals(answers: Sequence[Json]) -> Json:
    resources: dict[str, dict[str, set[str]]] = {}
    for group in (group for each in answers for group in each["classes"]):
        for each in group["resources"]:
            resources.setdefault(each["type"], {}).setdefault(each["change"], set()).add(each["name"])
    held = [each["totals"] for each in answers]
    return {
        "proxies": sum(each["proxies"] for each in held),
        "resources": {type_: {change: len(names) for change, names in of.items()} for type_, of in resources.items()},
        "bytes": _sums(each["bytes"] for each in held),
        "drained": _sums(each["drained"] for each in held),
    }


def _sums(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    found: dict[str, int] = {}
    for each in counts:
        for name, number in each.items():
            found[name] = found.get(name, 0) + number
    return found


def _problems(answers: Iterable[Json], name: str) -> list[Json]:
    """Join problems: what several say of the same is one, at the proxies of all."""
    found: dict[str, Json] = {}
    for each in (problem for answer in answers for problem in answer[name]):
        mark = repr([each[part] for part in ("code", "object", "path", "reason")])
        held = found.setdefault(mark, {**each, "proxies": 0})
        held["proxies"] += each.get("proxies", 0)
    return list(found.values())


def _request(held: Sequence[Json | None]) -> Json | None:
    """Return the answer of who has the proxy connected, else the first that is one."""
    changed = [each for each in held if each is not None]
    known = [each for each in changed if "proxy" in each["before"] and is_connected(each["before"])]
    return next(iter(known or changed), None)


def joined_objects(answers: Sequence[Json]) -> Json:
    """Return what several replicas say of one object, each for the proxies that are connected to it, as one."""
    first = answers[0]
    effect = _effect(each["effect"] for each in answers)
    reasons = dict.fromkeys(reason for each in answers for reason in each["reasons"])
    if len(reasons) > 1:
        reasons.pop("no proxy is connected", None)
    return {
        **first,
        "proxyCount": sum(each["proxyCount"] for each in answers),
        "effect": effect,
        "rules": [
            {**held[0], "inUse": any(each["inUse"] for each in held)}
            for held in zip(*(each["rules"] for each in answers), strict=False)
        ],
        "classes": [group for each in answers for group in each["classes"]],
        "problems": _problems(answers, "problems"),
        "overrides": _problems(answers, "overrides"),
        "reasons": [] if effect["proxyCount"] else list(reasons),
        "delivery": _delivery([each["delivery"] for each in answers if each["delivery"] is not None]),
    }


def _delivery(held: Sequence[Json]) -> Json | None:
    if not held:
        return None
    states: dict[str, dict[str, int]] = {}
    for each in held:
        for service, counts in each["states"].items():
            states[service] = _sums((states.get(service, {}), counts))
    return {
        "states": states,
        "refusals": [refusal for each in held for refusal in each["refusals"]],
        "refusalCount": sum(each["refusalCount"] for each in held),
    }
