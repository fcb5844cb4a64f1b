"""What a program that makes rules does not do is said in one kind of error."""

from __future__ import annotations

from pathlib import Path

import pytest

from controlplane.agent.interception.apply import ApplyError, carry_out
from controlplane.agent.interception.command_line import Request
from controlplane.agent.interception.options import Host, Options


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have iptables be a program that says yes to all: nothing is changed on this machine."""
    program = tmp_path / "iptables"
    program.write_text("#!/bin/sh\nexit 0\n")
    program.chmod(0o755)
    (tmp_path / "iptables-restore").symlink_to(program)
    monkeypatch.setenv("PATH", str(tmp_path))


@pytest.mark.parametrize("cleanup", [False, True], ids=["make", "take-away"])
@pytest.mark.parametrize(
    ("interface", "words"), [("1" * 200_000, "Argument list too long"), ("eth0\0", "embedded null byte")]
)
@pytest.mark.usefixtures("programs")
def test_what_cannot_be_an_argument_is_said(interface: str, words: str, *, cleanup: bool) -> None:
    options = Options(excluded_interfaces=(interface,))  # nobody has checked them
    with pytest.raises(ApplyError, match=rf"^iptables: .*{words}"):
        carry_out(Request(options, cleanup=cleanup), Host(), lambda _: None)


def test_a_program_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ApplyError, match=r"^iptables: .*No such file or directory"):
        carry_out(Request(Options()), Host(), lambda _: None)
