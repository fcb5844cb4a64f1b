"""Logs that nobody can write or reads."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

from controlplane.logs.sink import Sink
from tests.patience import PATIENCE_SECONDS, wait_until

LINE = json.dumps({"event": "x.said", "text": "y" * 980}) + "\n"


def test_nobody_reads_the_pipe() -> None:
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as stream, os.fdopen(reading, "rb", buffering=0) as reader:
        sink = Sink(stream, most_bytes=100_000)
        thread = threading.Thread(target=lambda: [sink.write(LINE) for _ in range(2000)], daemon=True)
        thread.start()
        thread.join(PATIENCE_SECONDS)
        assert not thread.is_alive()
        dropped = sink.dropped
        assert dropped > 1500
        sink.drain(0.01)  # the end of the program does not wait for it
        text = b""
        while b"logs.dropped" not in text:
            text += reader.read(65536)
            sink.write(LINE)
        told = next(json.loads(line) for line in text.splitlines() if b"logs.dropped" in line)
        assert told["lines"] >= dropped
        kept = [line for line in text.splitlines(keepends=True) if b"x.said" in line and line.endswith(b"\n")]
        assert {line.decode() for line in kept} == {LINE}


def test_the_pipe_is_broken() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as stream:
        sink = Sink(stream)
        for _ in range(10):
            sink.write(LINE)
        wait_until(lambda: sink.dropped == 10)


def test_the_disk_is_full() -> None:
    with Path("/dev/full").open("w", encoding="utf-8") as stream:
        sink = Sink(stream)
        sink.write(LINE)
        wait_until(lambda: sink.dropped == 1)


def test_lines_come_in_order_and_are_there_after_the_end(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with path.open("w") as stream:
        sink = Sink(stream)
        for number in range(5000):
            sink.write(f"{number}\n")
        sink.drain()
    assert path.read_text().splitlines() == [str(number) for number in range(5000)]


def test_a_stream_that_is_closed(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as stream:
        pass
    Sink(stream).write("nothing\n")
