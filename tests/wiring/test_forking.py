"""Copies of a process that answer a question."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest
import structlog
from structlog.testing import capture_logs

from controlplane.wiring.forking import CopyFailedError, Limits, Take, answer, fork

GENEROUS = Limits(seconds=60)


def for_ever() -> bytes:
    signal.pause()
    return b""


async def asked(work: Callable[[], bytes], limits: Limits = GENEROUS) -> bytes:
    told = bytearray()
    await answer(fork(work, limits), limits, taking(told))
    return bytes(told)


def taking(told: bytearray) -> Take:
    async def take(piece: bytes) -> None:
        told.extend(piece)

    return take


async def test_a_copy_knows_what_is_known_and_changes_nothing_of_it() -> None:
    held = ["here"]

    def work() -> bytes:
        held.append("in the copy")
        return f"{held} {os.getpid()}".encode()

    told = (await asked(work)).decode()
    assert told.startswith("['here', 'in the copy']")
    assert str(os.getpid()) not in told
    assert held == ["here"]


async def test_a_long_answer_comes_whole() -> None:
    assert await asked(lambda: b"x" * 10_000_000) == b"x" * 10_000_000


async def test_a_copy_has_a_loop_of_its_own() -> None:
    async def later() -> bytes:
        await asyncio.sleep(0.01)
        return b"done"

    assert await asked(lambda: asyncio.run(later())) == b"done"


async def test_a_copy_logs_nothing() -> None:
    """What is logged of a trial did not happen, and a thread that is not in the copy may hold the lock of a log."""
    with capture_logs() as entries:

        def work() -> bytes:
            structlog.get_logger("of a copy").error("wiring.nothing")
            return str(len(entries)).encode()

        assert await asked(work) == b"0"
        structlog.get_logger("of ours").error("wiring.something")
        assert len(entries) == 1


async def test_a_copy_that_takes_too_long_is_given_up() -> None:
    with pytest.raises(CopyFailedError, match=r"took longer than 0\.1 s"):
        await asked(for_ever, Limits(seconds=0.1))


async def test_a_copy_that_takes_too_much_memory_is_given_up() -> None:
    def work() -> bytes:
        held = []
        while True:
            held.append(bytes(1024 * 1024))
            time.sleep(0.001)  # the watch comes to its turn

    with pytest.raises(CopyFailedError, match="took more than 20 MB"):
        await asked(work, Limits(seconds=60, added_bytes=20 * 1024 * 1024))


async def test_a_copy_that_fails_says_why() -> None:
    with pytest.raises(CopyFailedError, match="ZeroDivisionError"):
        await asked(lambda: bytes(1 // 0))


async def test_a_copy_of_a_process_that_used_grpc_lives() -> None:
    """A channel that was closed leaves gRPC's threads to be started again in copies, if gRPC is let."""
    channel = grpc.insecure_channel("127.0.0.1:1")
    with pytest.raises(grpc.RpcError):
        channel.unary_unary("/a/b", bytes, bytes)(b"", timeout=0.1)
    for _ in range(10):
        with pytest.raises(CopyFailedError, match="ZeroDivisionError"):
            await asked(lambda: bytes(1 // 0))
    channel.close()


async def test_a_copy_ends_with_the_process_that_asked() -> None:
    """Nobody else is there to end it."""
    code = (
        "import os, signal; from controlplane.wiring.forking import Limits, fork; "
        "print(fork(signal.pause, Limits()).pid, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE)
    told, _ = await process.communicate()
    async with asyncio.timeout(60):
        while running(int(told)):
            await asyncio.sleep(0.01)


def running(pid: int) -> bool:
    """Tell whether a process is there; one that nobody has waited for is not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def test_a_copy_that_is_killed_is_told() -> None:
    def work() -> bytes:
        os.kill(os.getpid(), signal.SIGKILL)
        return b""

    with pytest.raises(CopyFailedError, match="ended without an answer"):
        await asked(work)


async def test_no_copy_is_left() -> None:
    """Neither as a process nor as one that nobody has waited for, whoever gives up on the answer."""
    copy = fork(for_ever, GENEROUS)
    waiting = asyncio.create_task(answer(copy, GENEROUS, taking(bytearray())))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    async with asyncio.timeout(30):
        while os.path.exists(f"/proc/{copy.pid}"):  # noqa: ASYNC240, PTH110 - of the kernel, at once
            await asyncio.sleep(0.01)


async def test_a_copy_holds_no_file_of_ours() -> None:
    """A port must be free once we end, and a peer must see that we closed its connection."""
    read, write = os.pipe()
    copy = fork(for_ever, Limits(seconds=60))
    waiting = asyncio.create_task(answer(copy, GENEROUS, taking(bytearray())))
    os.close(write)
    async with asyncio.timeout(30):
        assert await asyncio.to_thread(os.read, read, 1) == b"", "nobody can write any more"
    os.close(read)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)


async def test_an_answer_is_given_in_pieces_and_others_get_their_turn_in_between() -> None:
    turns, pieces = 0, list[tuple[int, int]]()

    async def take(piece: bytes) -> None:
        pieces.append((len(piece), turns))

    asking = asyncio.create_task(answer(fork(lambda: b"x" * 10_000_000, GENEROUS), GENEROUS, take))
    while not asking.done():
        turns += 1
        await asyncio.sleep(0)
    await asking
    assert sum(size for size, _ in pieces) == 10_000_000
    assert max(size for size, _ in pieces) <= 1 << 16
    assert len({turn for _, turn in pieces}) == len(pieces), "one in each turn"


async def test_an_answer_that_nobody_takes_is_given_up() -> None:
    async def take(_piece: bytes) -> None:
        await asyncio.Event().wait()

    limits = Limits(seconds=0.5)
    with pytest.raises(CopyFailedError, match=r"took longer than 0\.5 s"):
        await answer(fork(lambda: b"x" * 10_000_000, limits), limits, take)


async def test_an_answer_of_which_the_end_is_missing_is_none() -> None:
    copy, told = fork(lambda: b"x" * 10_000_000, GENEROUS), list[bytes]()

    async def take(piece: bytes) -> None:
        if not told:
            os.kill(copy.pid, signal.SIGKILL)
        told.append(piece)

    with pytest.raises(CopyFailedError, match="ended without an answer"):
        await answer(copy, GENEROUS, take)
    assert told
