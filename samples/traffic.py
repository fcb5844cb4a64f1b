"""Sends requests into the sample mesh and says whether each answer is what the routes promise."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import yaml

CANARY_ROUTE = "canary"
SIGMAS = 4.5  # a fair coin leaves this range once in 150,000 runs
_CONCURRENT = 8


@dataclass(frozen=True, slots=True)
class Entrance:
    """A way into the mesh: ``url`` without a path, and the forward proxy or ``Host`` header that leads there."""

    title: str
    url: str
    proxy: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer: its status, the version that gave it and the path that version saw; empty for Envoy's own answers."""

    status: int
    version: str = ""
    path: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one expectation: ``problem`` is empty when it held."""

    request: str
    count: int
    seen: str
    why: str
    problem: str = ""


async def send(entrance: Entrance, path: str, headers: Mapping[str, str], count: int) -> list[Answer]:
    """Send ``count`` requests, a few at a time. Raises ``aiohttp.ClientError`` when the entrance is not there."""
    limit = asyncio.Semaphore(_CONCURRENT)

    async def one(session: aiohttp.ClientSession) -> Answer:
        async with limit, session.get(entrance.url + path, proxy=entrance.proxy) as response:
            if response.content_type != "application/json":
                return Answer(response.status)
            body = await response.json()
            return Answer(response.status, body["version"], body["path"])

    async with aiohttp.ClientSession(headers={**entrance.headers, **headers}) as session:
        return list(await asyncio.gather(*(one(session) for _ in range(count))))


def objects(config_dir: Path) -> Iterator[Mapping[str, Any]]:
    """Yield every object of a directory of YAML files."""
    for path in sorted(config_dir.glob("*.yaml")):
        yield from (document for document in yaml.safe_load_all(path.read_text(encoding="utf-8")) if document)


def canary_weights(config_dir: Path) -> dict[str, int]:
    """Return the weights of the route ``canary`` by subset, as the file says now.

    Raises ``ValueError`` when there is no such route, and what reading YAML raises while the file is half written.
    """
    for document in objects(config_dir):
        if document["kind"] != "VirtualService":
            continue
        for route in document["spec"]["http"]:
            if route.get("name") == CANARY_ROUTE:
                return {to["destination"]["subset"]: int(to.get("weight", 0)) for to in route["route"]}
    raise ValueError(f"no route named {CANARY_ROUTE} in {config_dir}")


def shares(weights: Mapping[str, int]) -> str:
    """Return weights as a short text: ``90 v1 / 10 v2``."""
    return " / ".join(f"{weight} {version}" for version, weight in weights.items())


def split(answers: Sequence[Answer]) -> str:
    """Return who answered how often, as a short text: ``v1 181, v2 19``."""
    counts = Counter(answer.version or f"status {answer.status}" for answer in answers)
    return ", ".join(f"{who} {count}" for who, count in sorted(counts.items()))


def weights_problem(answers: Sequence[Answer], weights: Mapping[str, int]) -> str:
    """Return what is wrong when these answers cannot come from these weights, else nothing."""
    total = sum(weights.values()) or 1
    unexpected = [answer for answer in answers if answer.status != 200 or answer.version not in weights]  # noqa: PLR2004
    if unexpected:
        return f"{len(unexpected)} unexpected answers, the first {unexpected[0]}"
    for version, weight in weights.items():
        share = weight / total
        count = sum(answer.version == version for answer in answers)
        tolerance = SIGMAS * math.sqrt(len(answers) * share * (1 - share))
        if abs(count - len(answers) * share) > tolerance:
            return f"{count} of {len(answers)} from {version}, outside {len(answers) * share:.0f} +- {tolerance:.0f}"
    return ""


async def outcomes(entrance: Entrance, config_dir: Path, count: int) -> list[Outcome]:
    """Try every route of the sample through one entrance."""
    weights = canary_weights(config_dir)
    mixed = await send(entrance, "/", {}, count)
    testers = await send(entrance, "/", {"canary": "always"}, 20)
    broken = await send(entrance, "/broken", {}, 20)
    moved = await send(entrance, "/old/page", {}, 20)
    return [
        Outcome("GET /", len(mixed), split(mixed), f"route canary: {shares(weights)}", weights_problem(mixed, weights)),
        Outcome(
            "GET / (canary: always)",
            len(testers),
            split(testers),
            "route testers: this header goes to v2",
            _problem(testers, Answer(200, "v2", "/")),
        ),
        Outcome(
            "GET /broken",
            len(broken),
            split(broken),
            "route broken: every request is aborted, no version sees it",
            _problem(broken, Answer(418)),
        ),
        Outcome(
            "GET /old/page",
            len(moved),
            f"{split(moved)}, which saw {', '.join(sorted({answer.path for answer in moved})) or 'nothing'}",
            "route moved: /old/ is rewritten to /new/",
            _problem(moved, Answer(200, "v1", "/new/page")),
        ),
    ]


def _problem(answers: Sequence[Answer], expected: Answer) -> str:
    others = [answer for answer in answers if answer != expected]
    return f"{len(others)} of {len(answers)} were not {expected}, the first {others[0]}" if others else ""
