"""Tells of an object that is only tried what a plan says of it."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable

from controlplane.documents.json_reader import json_value
from controlplane.webhooks.review import Request
from controlplane.webhooks.validation import complete
from controlplane.wiring.forking import Take

Plan = Callable[[Callable[[], Awaitable[bytes]], Take], Awaitable[None]]


async def planned(plan: Plan, request: Request) -> tuple[str, ...]:
    """Return the short form of the plan of one object, or why there is none.

    It is made where the plan is: a whole plan may have millions of lines, which nobody reads here.
    """
    from controlplane.simulate.questions import UnansweredError, WrongQuestionError  # noqa: PLC0415 - for few

    if request.object is None:
        return ()
    pieces: list[bytes] = []

    async def question() -> bytes:
        asked = {"objects": [{"value": complete(request.object or {}, request)}]}
        return json.dumps({"short": asked}).encode()

    async def take(piece: bytes) -> None:
        pieces.append(piece)

    try:
        await plan(question, take)
    except (WrongQuestionError, UnansweredError) as error:
        return (f"plan: not made, {error}",)
    return tuple(json_value(b"".join(pieces)))
