"""What else is told of an object that is only tried (``--dry-run=server``): warnings, never a refusal, and in time.

Whoever reaches the webhooks' port can try objects, and advice is costly. So one object is advised on at a time, and not
too often; of the others it is said that they were not looked at.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import re2
import structlog

from controlplane.documents.json_reader import json_value
from controlplane.webhooks.review import Request, request_of

log = structlog.get_logger(__name__)

Advise = Callable[[Request], Awaitable[tuple[str, ...]]]
"""Returns sentences about an object that would be written."""
SECONDS = 4.0
"""How long advice may take; an API server waits ten seconds for the whole review."""
MOST_AT_ONCE = 30
"""Objects that are advised on without a pause after a quiet time; then one each second."""
LARGEST = 256 << 10
"""Bytes of a review that is read here for advice: larger ones hold up all proxies, from a thread too."""
_TRIED = re2.compile(rb'"dryRun"\s*:\s*true')
LATE = "what it would change is not known: that takes too long now"
BUSY = "what it would change is not known: too many objects are tried now; `controlplane plan -f FILE` tells"

TOO_LARGE = "what it would change is not known: it is too large to be tried here; `controlplane plan -f FILE` tells"


class Advisor:
    """Asks for advice, at a bounded cost."""

    def __init__(self, advise: Advise, seconds: float = SECONDS) -> None:
        self._advise = advise
        self._seconds = seconds
        self._asking = False
        self._spent_until = 0.0

    async def add(self, answered: dict[str, Any], body: bytes) -> None:
        """Add warnings to the answer of a review of an object that is only tried, and that is not refused."""
        response = answered["response"]
        if not response["allowed"] or _TRIED.search(body) is None:
            return
        if len(body) > LARGEST:
            told: tuple[str, ...] = (TOO_LARGE,)
        else:
            told = await self._told(body) if self._may() else (BUSY,)
        if told:
            response["warnings"] = [*response.get("warnings", ()), *told]

    def _may(self) -> bool:
        """Whether another object may be advised on; it counts then."""
        now = asyncio.get_running_loop().time()
        if self._asking or self._spent_until - now > MOST_AT_ONCE - 1:
            return False
        self._spent_until = max(self._spent_until, now) + 1
        return True

    async def _told(self, body: bytes) -> tuple[str, ...]:
        self._asking = True
        try:
            request = request_of(await asyncio.to_thread(json_value, body))
            if not request.dry_run or request.object is None or request.operation not in {"CREATE", "UPDATE"}:
                return ()
            async with asyncio.timeout(self._seconds):
                return await self._advise(request)
        except TimeoutError:
            return (LATE,)
        except Exception:  # our bug: the object is as good or bad without it
            log.exception("webhooks.advice_failed")
            return ()
        finally:
            self._asking = False
