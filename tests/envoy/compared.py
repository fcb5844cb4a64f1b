"""A simulated outcome held against what a real Envoy did with the same call."""

from __future__ import annotations

from controlplane.simulate.call import Call, Destination, Fate, Outcome
from tests.envoy.replay import Happened

_ORIGINAL = "127.255.0.1"  # where the replay leads clusters without endpoints of their own


def difference(call: Call, outcome: Outcome, happened: Happened) -> str:
    """Return how they differ; empty where what Envoy did is one of the things that were foretold."""
    problems = [_answer(call, outcome, happened), _route(outcome, happened), _cluster(outcome, happened)]
    return "; ".join(filter(None, problems))


def _answer(call: Call, outcome: Outcome, happened: Happened) -> str:
    if outcome.chance and outcome.chance < 1 and happened.status == outcome.fault_status:
        return ""
    if not call.http:
        return ""  # bytes: the log alone tells where they went
    if outcome.destinations and outcome.fate is not Fate.BLACKHOLE:
        return _sent(call, outcome, happened)
    wanted = outcome.failure.status if outcome.failure is not None else outcome.status
    if happened.status != wanted:
        return f"status {happened.status}, and {wanted} was foretold"
    if outcome.location and happened.location != outcome.location:
        return f"location {happened.location}, and {outcome.location} was foretold"
    return ""


def _sent(call: Call, outcome: Outcome, happened: Happened) -> str:
    if happened.seen is None:
        statuses = {each.failure.status for each in outcome.destinations if each.failure is not None}
        if happened.status in statuses:
            return ""
        return f"status {happened.status} and no backend, and {sorted(statuses) or 'a backend'} was foretold"
    cluster = _logged_cluster(happened)
    for each in outcome.destinations:
        if each.failure is None and _arrived(call, each, happened):
            return ""
    told = [
        (each.cluster, each.host, each.path, [place.address for place in each.used]) for each in outcome.destinations
    ]
    return f"the backend saw {happened.seen} of {cluster}, and {told} was foretold"


def _arrived(call: Call, to: Destination, happened: Happened) -> bool:
    seen = happened.seen or {}
    if seen["path"] != (to.path or call.path) or seen["host"] != (to.host or call.host):
        return False
    at = str(seen["at"])
    return at.startswith(_ORIGINAL) or at in {place.address for place in to.used}


def _logged_cluster(happened: Happened) -> str:
    return str(happened.logged.get("cluster") or "").removesuffix(";")


def _route(outcome: Outcome, happened: Happened) -> str:
    logged = happened.logged.get("route") or ""
    if "route" not in happened.logged or happened.status == 400:
        return ""
    return f"route {logged!r}, and {outcome.route!r} was foretold" if logged != outcome.route else ""


def _cluster(outcome: Outcome, happened: Happened) -> str:
    logged = _logged_cluster(happened)
    if not logged:
        return ""
    names = {each.cluster.removeprefix("Inbound") for each in outcome.destinations}  # statistics know it without
    if outcome.chance:
        return ""
    return f"cluster {logged}, and {sorted(names)} was foretold" if names and logged not in names else ""
