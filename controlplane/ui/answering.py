"""What a copy of the control plane finds out: who uses an object, or what a change would do."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from controlplane.admin.sources import AdminSources
from controlplane.documents.json_reader import json_value

LONGEST = 100_000
"""Bytes of an answer that is shown: it is read in one step, and more would hold the loop for too long."""

Answer = Mapping[str, Any]


async def answer_of_copy(sources: AdminSources, question: Mapping[str, Any]) -> tuple[Answer | None, str]:
    """Return the answer to a question, see ``plan.question`` and ``plan.of_object``; or why there is none."""
    from controlplane.simulate.questions import UnansweredError, WrongQuestionError  # noqa: PLC0415 - see ``forms``

    held = bytearray()

    async def read() -> bytes:
        return json.dumps(question).encode()

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
        return None, "The answer is so long that it is not shown here; the API has it, and the command prints it."
    answer: Answer = json_value(bytes(held))
    return answer, ""
