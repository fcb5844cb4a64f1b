"""Places of questions that a copy of the process answers."""

from __future__ import annotations

import asyncio

import pytest

from controlplane.compiler.compiler import Compiler
from controlplane.registry.store import Registry
from controlplane.simulate.questions import UnansweredError, WrongQuestionError
from controlplane.wiring.questions import Around, Questions


def questions() -> Questions:
    around = Around(dict, lambda _: None, tuple, lambda changes: changes)
    return Questions(Compiler(Registry()), around)


async def take(piece: bytes) -> None:
    raise AssertionError(piece)


async def test_a_question_is_read_once_it_has_a_place() -> None:
    asked, reading, stop = questions(), asyncio.Semaphore(0), asyncio.Event()

    async def read() -> bytes:
        reading.release()
        await stop.wait()
        raise ConnectionResetError

    held = [asyncio.create_task(asked.plan(read, take)) for _ in range(4)]
    for _ in held:
        await reading.acquire()
    with pytest.raises(UnansweredError, match="would be the fifth"):
        await asked.plan(read, take)
    assert reading.locked(), "the fifth was not read"
    stop.set()
    for each in await asyncio.gather(*held, return_exceptions=True):
        assert isinstance(each, ConnectionResetError)

    async def wrong() -> bytes:
        return b'{"explain": "nonsense"}'

    with pytest.raises(WrongQuestionError):  # the places were given back
        await asked.plan(wrong, take)


@pytest.mark.parametrize("request_", ["1", '"x"', "[1]", "[[1]]", "null", '{"a": 1}'])
async def test_a_request_that_is_no_list_of_pairs_is_no_fault_of_ours(request_: str) -> None:
    async def read() -> bytes:
        return f'{{"held": {{}}, "request": {request_}}}'.encode()

    with pytest.raises(WrongQuestionError, match="request: must be a list of pairs"):
        await questions().plan(read, take)
