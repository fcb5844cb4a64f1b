"""What takes long is told of while it lasts, soon on a terminal and seldom elsewhere."""

from __future__ import annotations

import io
import sys

import pytest

from controlplane.cli import output
from controlplane.cli.output import Slowness, told_if_slow
from tests.patience import wait_until


class Terminal(io.StringIO):
    """A stream that somebody looks at."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("stream", "name"), [(Terminal(), "ON_TERMINAL"), (io.StringIO(), "IN_CI")])
def test_what_is_slow_is_told_again_and_again(stream: io.StringIO, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(output, name, Slowness(0.0, 0.01))
    done = iter(range(1000))
    with told_if_slow(lambda: f"{next(done)} done"):
        wait_until(lambda: stream.getvalue().count("\n") > 1)
    first, second, *_ = stream.getvalue().splitlines()
    assert (first.partition(" (")[0], second.partition(" (")[0]) == ("0 done", "1 done")


def test_what_is_done_before_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    for stream in (Terminal(), io.StringIO()):
        monkeypatch.setattr(sys, "stderr", stream)
        with told_if_slow("at work", Slowness(3_600.0, 3_600.0)):
            pass
        assert stream.getvalue() == ""
