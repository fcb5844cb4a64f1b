"""Who uses an object: what a copy of the control plane finds out by taking it away there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from controlplane.admin.sources import AdminSources
from controlplane.documents.json_reader import json_value

LONGEST = 100_000
"""Bytes of an answer that is shown: it is read in one step, and more would hold the loop for too long."""

Effect = Mapping[str, Any]


async def effect_of(sources: AdminSources, name: str) -> tuple[Effect | None, str]:
    """Return the answer about ``KIND/NAMESPACE/NAME``, see ``plan.of_object``; or why there is none."""
    from controlplane.simulate.questions import UnansweredError, WrongQuestionError  # noqa: PLC0415 - see ``pages``

    held = bytearray()

    async def read() -> bytes:
        return json.dumps({"explain": name}).encode()

    async def take(piece: bytes) -> None:
        if len(held) <= LONGEST:
            held.extend(piece)

    ready, reason = sources.ready()
    if not ready:
        return None, reason
    try:
        await sources.plan(read, take)
    except WrongQuestionError as error:
        return None, str(error)
    except UnansweredError as error:
        return None, f"The answer {error}."
    if len(held) > LONGEST:
        return None, "It makes so much that the answer is not shown here; the API has it."
    answer: Effect = json_value(bytes(held))
    return answer, ""
