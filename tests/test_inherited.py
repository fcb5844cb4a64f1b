"""The tests themselves do not depend on the shell that starts them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import inherited
from tests.patience import PATIENCE_SECONDS

TOP = Path(__file__).parents[1]
SHELL = """
trap '' INT TERM CHLD
umask 077
ulimit -Sn 200
exec "$@"
"""
PROXY = "http://127.0.0.1:9"
VARIABLES = {
    "http_proxy": PROXY,
    "HTTPS_PROXY": PROXY,
    "grpc_proxy": PROXY,
    "NO_COLOR": "1",
    "TERM": "dumb",
    "COLUMNS": "20",
    "LC_ALL": "C",
    "TZ": "Asia/Kathmandu",
    "KUBECONFIG": "/nonexistent",
    "CONTROLPLANE_XDS_PORT": "99999",
    "PYTHONWARNINGS": "error",
}
EXAMPLES = (
    "tests/cli/test_status.py::test_watch_refreshes_until_it_is_interrupted",
    "tests/cli/test_settings.py::test_without_options_the_defaults_hold",
    "tests/ads/test_server.py::test_not_ready",
)
PROBE = f"""
import os, signal, subprocess, sys
from tests import inherited
inherited.settle()
os.kill(os.getpid(), signal.SIGINT) # this process goes on to ignore it
subprocess.run([sys.executable, "-c", '''
import os, resource, signal
print([signal.getsignal(number).name for number in (signal.SIGTERM, signal.SIGCHLD)], signal.getsignal(signal.SIGINT))
print(oct(os.umask(0)), resource.getrlimit(resource.RLIMIT_NOFILE)[0])
print(sorted(set(os.environ) & set({list(VARIABLES)})))
'''], check=True)
"""


def test_a_child_finds_nothing_of_what_the_shell_did() -> None:
    result = _started_badly("-c", PROBE)
    assert result.stderr == ""
    assert result.stdout.splitlines() == [
        "['SIG_DFL', 'SIG_DFL'] <built-in function default_int_handler>",
        f"0o22 {inherited.DESCRIPTORS}",
        "[]",
    ]


def test_tests_pass_however_they_are_started() -> None:
    result = _started_badly("-m", "pytest", "-q", "-p", "no:cacheprovider", *EXAMPLES)
    assert result.returncode == 0, result.stdout
    assert f"{len(EXAMPLES)} passed" in result.stdout


@pytest.mark.parametrize(
    ("start", "sentence"),
    [
        pytest.param(["env", "PYTHONUTF8=0", "PYTHONCOERCECLOCALE=0"], "set PYTHONUTF8=1", id="locale"),
        pytest.param(["sh", "-c", 'ulimit -n 500; exec "$@"', "sh"], "`ulimit -Hn` is 500", id="open-files"),
    ],
)
def test_what_would_fail_for_another_reason_is_not_begun(start: list[str], sentence: str) -> None:
    command = [*start, sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", EXAMPLES[1]]
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C"}
    result = subprocess.run(command, cwd=TOP, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == pytest.ExitCode.USAGE_ERROR
    assert sentence in result.stdout
    assert "passed" not in result.stdout


def _started_badly(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python as a shell might that does not mean well, with little but PATH in its environment."""
    return subprocess.run(
        ["sh", "-c", SHELL, "sh", sys.executable, *arguments],
        cwd=TOP,
        env={"PATH": os.environ["PATH"], **VARIABLES},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_SECONDS,
    )
