"""What else is told of an object that is only tried (``--dry-run=server``): warnings, never a refusal, and in time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import structlog

from controlplane.documents.json_reader import json_value
from controlplane.webhooks.review import Request, request_of

log = structlog.get_logger(__name__)

Advise = Callable[[Request], Awaitable[tuple[str, ...]]]
"""Returns sentences about an object that would be written."""
SECONDS = 4.0
"""How long advice may take; an API server waits ten seconds for the whole review."""
_TRIED = b'"dryRun"'
LATE = "what it would change is not known: that takes too long now"


async def with_advice(answered: dict[str, Any], body: bytes, advise: Advise, seconds: float = SECONDS) -> None:
    """Add warnings to the answer of a review of an object that is only tried, and that is not refused."""
    response = answered["response"]
    if not response["allowed"] or _TRIED not in body:
        return
    request = request_of(await asyncio.to_thread(json_value, body))
    if not request.dry_run or request.object is None or request.operation not in {"CREATE", "UPDATE"}:
        return
    try:
        async with asyncio.timeout(seconds):
            told = await advise(request)
    except TimeoutError:
        told = (LATE,)
    except Exception:  # our bug: the object is as good or bad without it
        log.exception("webhooks.advice_failed")
        return
    if told:
        response["warnings"] = [*response.get("warnings", ()), *told]
