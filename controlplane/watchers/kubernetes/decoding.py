"""What an API server sent, from bytes to JSON; much of it in steps, between which others get their turn."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from controlplane.documents.json_reader import decoded, json_pruned
from controlplane.documents.json_steps import json_steps

LARGE_BYTES = 64 * 1024
"""Size of a text that takes longer than half a millisecond to decode, or of an object that takes long to read."""
LARGE_PAGE_BYTES = 1 << 20
"""Size of a page of which single objects may be large."""
_OF_EVENT, _OF_PAGE, _OF_LARGE_PAGE = 4, 2, 5
"""Containers in which those values lie that are decoded at one go: of a list in a spec, or whole objects of a page."""

Breathe = Callable[[], Awaitable[None]]


async def event_value(text: bytes, breathe: Breathe) -> Any:  # noqa: ANN401 - whatever the server sent
    """Decode a line of a watch; see ``page_value``."""
    return await _value(text, _OF_EVENT, breathe)


async def page_value(text: bytes, breathe: Breathe) -> Any:  # noqa: ANN401 - whatever the server sent
    """Decode a page of a list as ``json_pruned`` does; ``breathe`` is awaited after each step, if there are any.

    Raises:
        UnreadableError: it is no JSON.
    """
    return await _value(text, _OF_LARGE_PAGE if len(text) > LARGE_PAGE_BYTES else _OF_PAGE, breathe)


async def _value(text: bytes, levels: int, breathe: Breathe) -> Any:  # noqa: ANN401 - as above
    if len(text) <= LARGE_BYTES:
        return json_pruned(text)
    try:
        steps = json_steps(decoded(text), levels)
        while True:
            try:
                next(steps)
            except StopIteration as end:
                return end.value
            await breathe()
    except (ValueError, RecursionError):  # it is no JSON, or nested too deep: looked at as a whole
        return await asyncio.to_thread(json_pruned, text)
