"""``controlplane validate``."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.command import ROOT, Result, modules_imported, run
from tests.patience import PATIENCE_SECONDS

GOOD = """\
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: good}
spec: {host: a}
"""
BAD = """\
# a comment
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web, namespace: shop}
spec:
  hosts: [web]
  http:
  - timeout: 0s
    route:
    - destination:
        host: a
        subst: v1
"""
DOUBTFUL = """\
apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: Service
  metadata: {name: web}
- apiVersion: networking.istio.io/v1
  kind: DestinationRule
  metadata: {name: old}
  spec:
    host: a
    trafficPolicy:
      outlierDetection:
        consecutiveErrors: 5
"""
TIMEOUT = "VirtualService shop/web: spec.http[0].timeout: must be a valid duration greater than 1ms (got '0s')"
SUBST = "VirtualService shop/web: spec.http[0].route[0].destination.subst: unknown field"


@pytest.fixture
def mesh(tmp_path: Path) -> Path:
    (tmp_path / "below").mkdir()
    (tmp_path / "good.yaml").write_text(GOOD)
    (tmp_path / "below" / "bad.yml").write_text(f"{GOOD}---\n{BAD}")
    (tmp_path / "below" / "doubtful.json").write_text(DOUBTFUL)
    (tmp_path / "notes.txt").write_text("{")
    (tmp_path / ".hidden.yaml").write_text("{")
    return tmp_path


async def test_a_good_file(mesh: Path) -> None:
    result = await run("validate", "-f", str(mesh / "good.yaml"))
    assert result == Result(0, "", "1 object checked: 0 errors, 0 warnings\n")


async def test_each_problem_has_file_line_object_path_and_value(mesh: Path) -> None:
    bad = mesh / "below" / "bad.yml"
    result = await run("validate", "--filename", str(bad))
    assert (result.code, result.err) == (1, "2 objects checked: 2 errors, 0 warnings\n")
    assert sorted(result.out.splitlines()) == [f"error: {bad}:13: {TIMEOUT}", f"error: {bad}:17: {SUBST}"]


async def test_what_is_no_list_is_told_in_words_of_yaml() -> None:
    text = BAD.replace("[web]", "web").replace("0s", "1s").replace("subst", "subset")
    result = await run("validate", "-f", "-", text=text)
    assert "VirtualService shop/web: spec.hosts: input should be a valid list (got 'web')\n" in result.out
    assert "tuple" not in result.out


async def test_routing_tests_beside_the_samples_are_passed_over() -> None:
    """Those stand in files of their own, below the same directory."""
    result = await run("validate", "-f", str(ROOT / "samples"))
    assert result.code == 0, result.out + result.err
    assert " checked: 0 errors, " in result.err


async def test_content_tells_routing_tests_from_objects(tmp_path: Path) -> None:
    """A file of tests under any name is passed over; one named so that holds objects is read."""
    (tmp_path / "any.yaml").write_text("from: pod/shop/web\ntests: []\n---\n" + GOOD)
    (tmp_path / "mesh.routes.yaml").write_text(GOOD.replace("good", "named"))
    result = await run("validate", "-f", str(tmp_path))
    assert (result.code, result.err) == (0, "2 objects checked: 0 errors, 0 warnings\n"), result.out
    (tmp_path / "any.yaml").write_text("kind: VirtualService\ntests: []\n")
    result = await run("validate", "-f", str(tmp_path))
    assert (result.code, "apiVersion" in result.out) == (1, True), "an object that is wrong is no test"


async def test_warnings_are_no_failure(mesh: Path) -> None:
    (mesh / "doubtful.yaml").write_text(DOUBTFUL)
    result = await run("validate", "-f", str(mesh / "doubtful.yaml"))
    assert (result.code, result.err) == (
        0,
        "1 object checked: 0 errors, 1 warning; not checked: 1 Service\n",
    )
    begin = f"warning: {mesh / 'doubtful.yaml'}:14: DestinationRule default/old: spec.trafficPolicy.outlierDetection"
    assert result.out.startswith(f"{begin}.consecutiveErrors: is deprecated")


async def test_a_directory_with_text_that_is_none(mesh: Path) -> None:
    """Manifests are found below it, hidden files are not; a mistake in one file hides nothing of the others."""
    result = await run("validate", "-f", str(mesh))
    lines = result.out.splitlines()
    assert (result.code, result.err) == (1, "3 objects checked: 3 errors, 0 warnings\n")
    assert any(line.startswith(f"error: {mesh / 'below' / 'doubtful.json'}:1: not readable: ") for line in lines)
    assert any(line.endswith(TIMEOUT) for line in lines)


async def test_json(mesh: Path) -> None:
    result = await run("validate", "-f", str(mesh / "below" / "bad.yml"), "-f", str(mesh / "good.yaml"), "-o", "json")
    got = json.loads(result.out)
    assert (result.code, result.err) == (1, "")
    assert (got["objects"], got["notChecked"], got["warnings"]) == (3, {}, [])
    assert {
        "file": str(mesh / "below" / "bad.yml"),
        "line": 13,
        "kind": "VirtualService",
        "group": "networking.istio.io",
        "namespace": "shop",
        "name": "web",
        "path": "spec.http[0].timeout",
        "reason": "must be a valid duration greater than 1ms (got '0s')",
    } in got["errors"]


def test_standard_input() -> None:
    command = [sys.executable, "-m", "controlplane", "validate", "-f", "-"]
    result = subprocess.run(
        command, input=BAD, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False
    )
    assert result.returncode == 1
    assert sorted(result.stdout.splitlines()) == [f"error: stdin:12: {SUBST}", f"error: stdin:8: {TIMEOUT}"]


SERVICE = "apiVersion: v1\nkind: Service\nmetadata: {name: web}\n"


async def test_kinds_that_are_not_checked_are_named(tmp_path: Path) -> None:
    """Nothing was found wrong with them because nobody looked; the result says so."""
    (tmp_path / "a.yaml").write_text(f"{SERVICE}---\n{SERVICE}---\napiVersion: apps/v1\nkind: Deployment\n")
    result = await run("validate", "-f", str(tmp_path))
    expected = "0 objects checked: 0 errors, 0 warnings; not checked: 1 Deployment, 2 Service\n"
    assert result == Result(0, "", expected)
    told = json.loads((await run("validate", "-f", str(tmp_path), "-o", "json")).out)
    assert (told["objects"], told["notChecked"]) == (0, {"Deployment": 1, "Service": 2})


async def test_a_list_that_holds_no_list_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("apiVersion: v1\nkind: List\nitems: 4\n")
    result = await run("validate", "-f", str(tmp_path))
    assert result.code == 1
    assert result.out == f"error: {tmp_path}/a.yaml:3: items: must be a list of objects, not 4\n"


@pytest.mark.parametrize("content", [None, "", "# nothing\n---\n"], ids=["no-file", "empty", "comment"])
@pytest.mark.parametrize("output", ["text", "json"])
async def test_a_directory_without_manifests_is_no_success(tmp_path: Path, content: str | None, output: str) -> None:
    """A check that looked at the wrong place must not pass."""
    (tmp_path / "notes.txt").write_text(SERVICE)
    if content is not None:
        (tmp_path / "a.yaml").write_text(content)
    result = await run("validate", "-f", str(tmp_path), "-o", output)
    assert (result.code, result.out) == (2, "")
    assert f"no object in {tmp_path}; of a directory, files named *.yaml, *.yml, *.json are read" in result.err


def test_empty_standard_input() -> None:
    command = [sys.executable, "-m", "controlplane", "validate", "-f", "-"]
    result = subprocess.run(
        command, input="", cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False
    )
    assert (result.returncode, result.stdout) == (2, "")
    assert "no object in standard input" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        pytest.param([], "give -f: what is checked", id="no-file"),
        pytest.param(["-f", "/does/not/exist"], "/does/not/exist: No such file or directory", id="missing-file"),
        pytest.param(["-f", "-", "-o", "xml"], "none of text, json", id="format"),
    ],
)
async def test_wrong_usage(arguments: list[str], reason: str) -> None:
    result = await run("validate", *arguments)
    assert (result.code, result.out) == (2, "")
    assert reason in result.err


async def test_needs_no_server() -> None:
    """Nothing of the server is loaded: the command is used where there are only manifests."""
    imported = await modules_imported("validate", "-f", "samples/canary")
    assert "controlplane.apis.validation.reachability" in imported
    assert not {"grpc", "kubernetes", "aiohttp", "google.protobuf"} & imported
