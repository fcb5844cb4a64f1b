"""The list of passing cases is held, and only grows. The runner here is a few lines that write given results."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.conformance import check

pytestmark = pytest.mark.slow

RUNNER = """
import json, pathlib, re, sys
options = dict(zip(sys.argv[1::2], sys.argv[2::2]))
here = pathlib.Path(__file__).parent
round = len(list(here.glob("round*")))
(here / f"round{round}").touch()
passing = (here / f"pass{round}").read_text().split() if (here / f"pass{round}").exists() else []
cases = [name for name in ("a", "b", "c", "extra") if re.search(options["--only"], name + ".yaml")]
refused = (here / "refused").read_text().split() if (here / "refused").exists() else []
if round == 0 and (here / "refused-at-first").exists():
    refused += (here / "refused-at-first").read_text().split()
results = [
    {"case": name, "optional": name == "extra", "exact": name in passing, "behaviour": name in passing,
     "items": [{"kind": "call", "reasons": []}, {"kind": "envoy", "reasons": ["bad"] * (name in refused)}]}
    for name in cases
]
pathlib.Path(options["--json"]).write_text(json.dumps(results))
"""


@pytest.fixture
def cases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A runner whose n-th run passes the cases named in the file ``pass<n>``; nothing is written to the checkout."""
    (tmp_path / "run.py").write_text(RUNNER)
    monkeypatch.setattr(check, "TOP", tmp_path)
    monkeypatch.setattr(check, "RESULTS", tmp_path / "build" / "results.json")
    monkeypatch.setattr(check, "LOG", tmp_path / "build" / "log")
    return tmp_path


def run(cases: Path, listed: str, passes: list[str], *options: str) -> tuple[int, str]:
    (cases / "passing.txt").write_text(listed)
    for number, names in enumerate(passes):
        (cases / f"pass{number}").write_text(names)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(check, "PASSING", cases / "passing.txt")
        patch.setattr(check.read_passing, "__defaults__", (cases / "passing.txt",))
        patch.setattr(check.write_passing, "__defaults__", (cases / "passing.txt",))
        status = check.main(["--cases", str(cases), *options])
    return status, (cases / "passing.txt").read_text()


@pytest.mark.parametrize(
    ("listed", "passes", "options", "status", "after"),
    [
        pytest.param("a\nb\n", ["a b"], [], 0, "a\nb\n", id="all-pass"),
        pytest.param("a\nb\n", ["a", ""], [], 1, "a\nb\n", id="one-lost"),
        pytest.param("a\nb\n", ["a", "b"], [], 0, "a\nb\n", id="passes-alone"),
        pytest.param("a\nb\n", ["a", "", "b"], [], 0, "a\nb\n", id="passes-at-the-third-try"),
        pytest.param("a\nb\n", ["a", "", "", "b"], [], 1, "a\nb\n", id="there-is-no-fourth"),
        pytest.param("a\n", ["a c extra"], [], 0, "a\n", id="new-is-not-written-unasked"),
        pytest.param("b\n", ["a c extra", ""], ["--update"], 1, "a\nb\nc\n", id="update-adds-and-keeps"),
        pytest.param("a\nb\n", ["b"], ["--only", "^b"], 0, "a\nb\n", id="only-some"),
        pytest.param("gone\n", ["a", ""], [], 1, "gone\n", id="case-vanished"),
    ],
)
def test_list(cases: Path, listed: str, passes: list[str], options: list[str], status: int, after: str) -> None:
    assert run(cases, listed, passes, *options) == (status, after)


@pytest.mark.parametrize("refused", ["c", "extra"], ids=["not-in-the-list", "not-required"])
def test_no_snapshot_may_be_refused(cases: Path, capsys: pytest.CaptureFixture[str], refused: str) -> None:
    (cases / "refused").write_text(refused)
    assert run(cases, "a\n", ["a"]) == (1, "a\n")
    said = capsys.readouterr().out
    assert "takes 3 of 4 snapshots" in said
    assert f"refuses the snapshot of {refused};" in said


def test_a_snapshot_that_is_taken_at_the_second_try_is_taken(cases: Path) -> None:
    (cases / "refused-at-first").write_text("c")
    assert run(cases, "a\n", ["a"]) == (0, "a\n")


TAKEN = check.Results(exact=frozenset("a"), unjudged=frozenset("a"))
REFUSED = check.Results(exact=frozenset(), failed=frozenset("a"), refused=frozenset("a"))
CLOSED = "unable to open file '/var/log/access.log': Permission denied"


@pytest.mark.parametrize(
    ("user", "reason", "results"),
    [
        pytest.param(1000, CLOSED, TAKEN, id="ordinary-user"),
        pytest.param(0, CLOSED, REFUSED, id="root-may-open-all"),
        pytest.param(1000, "unknown cluster 'a'", REFUSED, id="another-reason"),
    ],
)
def test_logs_that_only_root_may_write_to_are_judged_as_root_alone(
    monkeypatch: pytest.MonkeyPatch, user: int, reason: str, results: check.Results
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: user)
    call = {"kind": "call", "optional": False, "reasons": [], "behaviour_reasons": []}
    envoy = {"kind": "envoy", "optional": False, "reasons": [reason], "behaviour_reasons": [reason]}
    case = {"case": "a", "optional": False, "error": None, "exact": False, "behaviour": False, "items": [call, envoy]}
    assert check.Results.of([case]) == results


@pytest.mark.parametrize(("ci", "status"), [("true", 1), ("", 0)])
def test_no_cases(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], ci: str, status: int
) -> None:
    monkeypatch.setenv("CI", ci)
    assert check.main(["--cases", str(tmp_path)]) == status
    assert "SKIPPED" in capsys.readouterr().out


def test_a_runner_without_results_is_an_error(cases: Path) -> None:
    (cases / "run.py").write_text("raise SystemExit('broken runner')")
    with pytest.raises(RuntimeError, match="broken runner"):
        run(cases, "", [])


TAKEN_OUT = {"rnd-ef-003", "rnd-ef-008", "rnd-ef-050", "rnd-ef-075"}
"""Cases of patches that Envoy refuses: a filter behind the router, a cluster type that cannot balance so."""


def test_the_list_only_grows() -> None:
    """No version of the list that was ever committed has a case that it lacks now, but for those above."""
    path = check.PASSING.relative_to(check.TOP)

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(check.TOP), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    now = check.read_passing()
    for commit in git("log", "--format=%h", "--", str(path)).split():
        before = set(git("show", f"{commit}:{path}").split())
        assert not before - now - TAKEN_OUT, f"listed at {commit}, and no longer"
