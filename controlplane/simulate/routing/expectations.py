"""An answer held against what a test expects of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from controlplane.simulate.routing.cases import Wanted

Json = Mapping[str, Any]

_REACHES = ("service", "subset", "weights", "clusters", "cluster")
"""What a test names of a request that arrives."""
_DENYING = frozenset({"denied", "unauthenticated"})


def differences(wanted: Wanted, answer: Json) -> Iterator[str]:
    """Yield a line for each thing that is named and is another.

    A test that names where a request goes, and no outcome, wants it to arrive: it fails where the request does.
    """
    stated = wanted.model_dump(exclude_unset=True)
    for name, value in stated.items():
        found = _READ[name](answer, value)
        if not _equal(name, value, found):
            yield f"{name}: expected {_shown(value)}, got {_shown(found)}"
    if answer["fails"] and any(name in stated for name in _REACHES) and "outcome" not in stated:
        yield f"it was to arrive, and fails: {answer['result']}"
    elif answer["fails"] and not stated.keys() & {"status", "denied_by", "outcome"}:
        yield f"it fails: {answer['result']}"


def _equal(name: str, wanted: object, found: object) -> bool:
    if name == "service":
        return isinstance(found, list) and bool(found) and all(_is_service(str(wanted), each) for each in found)
    if name in {"weights", "clusters", "by_locality"}:
        return isinstance(wanted, dict) and _same_shares(wanted, found)
    if name == "timeout":
        return str(wanted).replace(" ", "") == found
    return wanted == found


def _same_shares(wanted: Mapping[str, float], found: object) -> bool:
    if not isinstance(found, dict) or len(wanted) != len(found):
        return False
    return all(
        any(_is_service(name, other) and abs(share - part) < 1 for other, part in found.items())
        for name, share in wanted.items()
    )


def _is_service(stated: str, found: str) -> bool:
    """Whether a host, perhaps with ``/subset`` behind it, is the one that is meant by its beginning."""
    host, _, subset = stated.partition("/")
    whole, _, own = found.partition("/")
    return subset == own and (whole == host or whole.startswith(f"{host}."))


def _destinations(answer: Json) -> list[Json]:
    held: list[Json] = answer["outcome"]["destinations"]
    return held


def _only(values: list[Any]) -> Any:  # noqa: ANN401 - a JSON value
    """Return the value that all have, else all of them."""
    return values[0] if values and all(each == values[0] for each in values) else values or None


def _shares(answer: Json, names: Callable[[Json], str]) -> dict[str, float]:
    found: dict[str, float] = {}
    for each in _destinations(answer):
        found[names(each)] = found.get(names(each), 0.0) + each["percent"]
    return found


def _weights(answer: Json, wanted: Any) -> dict[str, float]:  # noqa: ANN401 - of the test
    subsets = any("/" in name for name in wanted)
    return _shares(answer, lambda each: f"{each['service']}/{each['subset']}" if subsets else str(each["service"]))


def _endpoints(answer: Json) -> list[str]:
    return sorted(place["address"] for each in _destinations(answer) for place in each["endpoints"])


def _by_priority(answer: Json) -> list[list[str]]:
    places = [place for each in _destinations(answer)[:1] for place in each["endpoints"]]
    return [
        sorted(place["address"] for place in places if place["priority"] == priority)
        for priority in sorted({place["priority"] for place in places})
    ]


def _by_locality(answer: Json) -> dict[str, float]:
    found: dict[str, float] = {}
    for place in (place for each in _destinations(answer)[:1] for place in each["endpoints"]):
        found[place["locality"]] = found.get(place["locality"], 0.0) + place["percent"]
    return found


def _failures(answer: Json) -> Iterator[Json]:
    """Yield the failures in the caller's proxy and at the servers."""
    for outcome in (answer["outcome"], *(server["outcome"] for server in answer["servers"])):
        if "failure" in outcome:
            yield outcome["failure"]
    for each in _destinations(answer):
        if "failure" in each:
            yield each["failure"]


def _status(answer: Json) -> int | None:
    if answer["outcome"]["status"] and not _destinations(answer):
        return int(answer["outcome"]["status"])
    failure = next(_failures(answer), None)
    return int(failure["status"]) if failure is not None else None


def _denied_by(answer: Json) -> str | None:
    for failure in _failures(answer):
        if failure["fate"] in _DENYING and (source := failure.get("source")):
            return f"{source['kind']}/{source['namespace']}/{source['name']}"
    return None


def _fate(answer: Json) -> str:
    failure = next(_failures(answer), None)
    return str(failure["fate"] if failure is not None else answer["outcome"]["fate"])


def _path(answer: Json) -> str:
    outcome = answer["outcome"]
    return urlsplit(outcome["location"]).path if outcome["location"] else str(outcome["path"])


def _timeout(answer: Json) -> str:
    seconds = answer["outcome"]["timeout"]
    return f"{seconds:g}s" if seconds else "none"


def _redirect(answer: Json) -> int | None:
    outcome = answer["outcome"]
    return int(outcome["status"]) if outcome["fate"] == "redirect" else None


_READ: Mapping[str, Callable[[Json, Any], Any]] = {
    "service": lambda answer, _: [each["service"] for each in _destinations(answer)],
    "subset": lambda answer, _: _only([each["subset"] for each in _destinations(answer)]),
    "route": lambda answer, _: answer["outcome"]["route"],
    "weights": _weights,
    "clusters": lambda answer, _: _shares(answer, lambda each: str(each["cluster"])),
    "cluster": lambda answer, _: _only([each["cluster"] for each in _destinations(answer)]),
    "endpoints": lambda answer, _: _endpoints(answer),
    "by_priority": lambda answer, _: _by_priority(answer),
    "by_locality": lambda answer, _: _by_locality(answer),
    "timeout": lambda answer, _: _timeout(answer),
    "attempts": lambda answer, _: answer["outcome"]["attempts"],
    "mirrors": lambda answer, _: answer["outcome"]["mirrors"],
    "path": lambda answer, _: _path(answer),
    "host": lambda answer, _: _only([each["host"] for each in _destinations(answer)]),
    "server_name": lambda answer, _: _only([each["serverName"] for each in _destinations(answer)]) or None,
    "status": lambda answer, _: _status(answer),
    "redirect": lambda answer, _: _redirect(answer),
    "location": lambda answer, _: answer["outcome"]["location"],
    "denied_by": lambda answer, _: _denied_by(answer),
    "outcome": lambda answer, _: _fate(answer),
}


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {share:g}" for name, share in value.items()) or "nothing"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "nothing"
    return "nothing" if value in {None, ""} else str(value)
