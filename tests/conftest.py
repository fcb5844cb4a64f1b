"""Shared by all tests: where CI runs them, none may skip; elsewhere every skip is named at the end."""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.internal.conjecture import providers

from tests import inherited

os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"  # gRPC reads it as it is imported, by the first conftest that does
CI = os.environ.get("CI") == "true"
FURTHER_TRIES = 2
PAUSE_SECONDS = 5
"""Before each further try: what made the machine slow is to have passed."""
MOST_UNSTEADY = 3
"""How many tests of one run may need a further try in CI; more fail the run, whatever the further tries say."""

# How long an example takes, or to make one, depends on who else uses the machine.
settings.register_profile("steady", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=CI)
settings.load_profile("steady")
# Hypothesis also draws the constants of those of our modules that the process has imported: what a test tries in CI
# would depend on the tests before it, and what failed there would pass alone.
providers._get_local_constants = lambda: providers._local_constants  # noqa: SLF001 - nothing else turns it off


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--update-golden``."""
    parser.addoption("--update-golden", action="store_true", help="write the outputs of tests/golden anew")


def pytest_configure(config: pytest.Config) -> None:
    """Let a test that fails in CI try twice more, alone among thousands; it is named with its failures at the end.

    Elsewhere the first failure counts: there somebody looks at it.
    """
    if CI and config.option.reruns is None:
        config.option.reruns, config.option.reruns_delay = FURTHER_TRIES, PAUSE_SECONDS


def pytest_sessionstart() -> None:
    """Forget what the shell made of this process; only now, so that pytest's own output is what the user set it to."""
    try:
        inherited.settle()
    except inherited.UnfitError as error:
        pytest.exit(str(error), returncode=pytest.ExitCode.USAGE_ERROR)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skip into a failure where nothing may be missing; expected failures are not skips."""
    report = yield
    if CI and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, and CI=true allows no skip: {report.longrepr}"
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a run in which many tests were unsteady: that is no accident of a busy machine."""
    terminalreporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if terminalreporter is None:
        return
    if len(_unsteady(terminalreporter)) > MOST_UNSTEADY and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _unsteady(terminalreporter: pytest.TerminalReporter) -> dict[str, list[pytest.TestReport]]:
    """Return the failed tries of each test that got a further one."""
    tries: dict[str, list[pytest.TestReport]] = {}
    for report in terminalreporter.stats.get("rerun", []):
        tries.setdefault(report.nodeid, []).append(report)
    return tries


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say loudly how much was not tested, and what did not pass at once."""
    if unsteady := _unsteady(terminalreporter):
        most = "" if len(unsteady) <= MOST_UNSTEADY else f"; more than {MOST_UNSTEADY} fail the run"
        terminalreporter.section(
            f"{len(unsteady)} TESTS UNSTEADY, they failed at first: mend them{most}", sep="!", yellow=True, bold=True
        )
        for nodeid, tries in unsteady.items():
            for report in tries:
                terminalreporter.line(f"UNSTEADY {nodeid} ({report.when})")
                terminalreporter.line(report.longreprtext)
    skipped = len(terminalreporter.stats.get("skipped", []))
    if skipped:
        terminalreporter.section(
            f"{skipped} TESTS SKIPPED, what they cover was not tested", sep="!", red=True, bold=True
        )
