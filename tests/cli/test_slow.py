"""What takes long is told of on a terminal, and nowhere else."""

from __future__ import annotations

import io
import sys

import pytest

from controlplane.cli.output import told_if_slow
from tests.patience import wait_until


class Terminal(io.StringIO):
    """A stream that somebody looks at."""

    def isatty(self) -> bool:
        return True


def test_what_is_slow_is_told_while_it_lasts(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    with told_if_slow("at work", after=0.0):
        wait_until(lambda: screen.getvalue() == "at work\n")


def test_what_is_done_before_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    screen, file = Terminal(), io.StringIO()
    monkeypatch.setattr(sys, "stderr", screen)
    with told_if_slow("at work", after=3_600.0):
        pass
    monkeypatch.setattr(sys, "stderr", file)
    with told_if_slow("at work", after=0.0):
        pass
    assert (screen.getvalue(), file.getvalue()) == ("", "")
