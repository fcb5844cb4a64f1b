"""Much that an API server sends is decoded in steps, and means the same."""

from __future__ import annotations

import json

import pytest

from controlplane.documents.limits import UnreadableError
from controlplane.watchers.kubernetes.decoding import LARGE_BYTES, LARGE_PAGE_BYTES, event_value, page_value

ROUTES = [{"route": [{"destination": {"host": f"web-{number}"}}]} for number in range(8_000)]
LARGE = {"metadata": {"name": "web"}, "spec": {"hosts": ["a"], "http": ROUTES}}


class Breaths:
    def __init__(self) -> None:
        self.count = 0

    async def __call__(self) -> None:
        self.count += 1


async def test_others_get_a_turn_between_the_parts_of_a_large_object() -> None:
    breathe, event = Breaths(), {"type": "ADDED", "object": LARGE}
    assert await event_value(json.dumps(event).encode(), breathe) == event
    assert breathe.count > len(ROUTES)


@pytest.mark.parametrize("objects", [[{"a": ["x" * 100]}] * 2_000, [LARGE] * 3], ids=["many", "large"])
async def test_others_get_a_turn_between_the_objects_of_a_page(objects: list[object]) -> None:
    breathe, page = Breaths(), {"metadata": {"resourceVersion": "7"}, "items": objects}
    text = json.dumps(page).encode()
    assert (len(text) > LARGE_PAGE_BYTES) == (objects[0] == LARGE)
    assert await page_value(text, breathe) == page
    assert breathe.count > (3 * len(ROUTES) if objects[0] == LARGE else len(objects))


async def test_what_is_small_is_decoded_at_once() -> None:
    breathe = Breaths()
    assert await page_value(b'{"items": [1, 2]}', breathe) == {"items": [1, 2]}
    assert breathe.count == 0


async def test_what_is_too_deep_is_left_out_and_what_is_no_json_is_told() -> None:
    deep, breathe = "[" * 100_000 + "]" * 100_000, Breaths()
    good = '{"metadata": {"name": "good"}}'
    found = await page_value(f'{{"items": [{good}, {{"deep": {deep}}}, {good}]}}'.encode(), breathe)
    assert (found["items"][0], found["items"][2], len(found["items"])) == (json.loads(good), json.loads(good), 3)
    for text in (b'{"items": [' + b"1," * LARGE_BYTES, b"\xff" * 2 * LARGE_BYTES):
        with pytest.raises(UnreadableError):
            await page_value(text, breathe)
