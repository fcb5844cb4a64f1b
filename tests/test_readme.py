"""What the README says is done here: its commands run, its bootstrap connects an Envoy, its targets exist.

The commands run as they stand; only ports are others than the default ones, so that they are free.
"""

from __future__ import annotations

import os
import re
import shlex
import socket
import subprocess
import sys
import tomllib
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from samples.control_plane import free_port
from tests.patience import PATIENCE_SECONDS, wait_until

TOP = Path(__file__).resolve().parents[1]
README = (TOP / "README.md").read_text()
PROGRAM = ".venv/bin/python -m controlplane "
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
COMMANDS = [line for language, text in BLOCKS if language == "sh" for line in text.splitlines()]
ASKING = [command for command in COMMANDS if command.startswith(PROGRAM) and " serve " not in command]
PROSE = README + (TOP / "CONTRIBUTING.md").read_text()
TARGETS = sorted(set(re.findall(r"(?:`|^)make ([a-z-]+)", PROSE, re.MULTILINE)))
LONG_REGEX = r"""
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: regex, namespace: default}
spec: {hosts: [regex.example], resolution: DNS, ports: [{number: 80, name: http, protocol: HTTP}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: regex, namespace: default}
spec:
  hosts: [regex.example]
  http: [{match: [{uri: {regex: '^/api/v1/object/[\w]{32}/action$'}}], directResponse: {status: 204}}]
"""
URL = "http://web/"


def arguments(command: str) -> list[str]:
    """Split a command, with the environment that these tests run in in place of ``.venv``."""
    return shlex.split(command.replace(".venv/bin", str(Path(sys.executable).parent)))


@contextmanager
def running(command: str, env: dict[str, str], cwd: Path, log: Path) -> Iterator[None]:
    with log.open("w", encoding="utf-8") as output:
        process = subprocess.Popen(arguments(command), cwd=cwd, env=env, stdout=output, stderr=output)
    try:
        yield
    finally:
        process.terminate()
        process.wait(PATIENCE_SECONDS)


@pytest.fixture(scope="module")
def proxy_port() -> int:
    """Where the README's Envoy takes requests."""
    return free_port()


@pytest.fixture(scope="module")
def connected(tmp_path_factory: pytest.TempPathFactory, proxy_port: int) -> Iterator[dict[str, str]]:
    """The environment in which the README's control plane and Envoy are found, both running and connected."""
    directory = tmp_path_factory.mktemp("readme")
    xds, monitoring, admin = free_port(), free_port(), free_port()
    env = {
        **os.environ,
        "CONTROLPLANE_XDS_PORT": str(xds),
        "CONTROLPLANE_MONITORING_PORT": str(monitoring),
        "CONTROLPLANE_ADDRESS": f"127.0.0.1:{monitoring}",
        "CONTROLPLANE_ENVOY_ADMIN": f"127.0.0.1:{admin}",
        "PYTHONPATH": str(TOP),
        "NO_COLOR": "1",
    }
    (directory / "samples").symlink_to(TOP / "samples")
    (copy,) = [command for command in COMMANDS if command.startswith("mkdir")]
    subprocess.run(["sh", "-c", copy], cwd=directory, check=True)
    ports = {"15010": xds, "15000": admin, "15080": proxy_port}
    for text in [text for language, text in BLOCKS if language == "yaml"]:
        name = text.splitlines()[0].removeprefix("# ")
        moved = re.sub("|".join(ports), lambda found: str(ports[found[0]]), text)
        (directory / name).write_text(moved)
    (directory / "mesh" / "regex.yaml").write_text(LONG_REGEX)
    (serve,) = [command for command in COMMANDS if " serve " in command]
    (envoy,) = [command for command in COMMANDS if "bin/envoy" in command]
    envoy += " --use-dynamic-base-id --concurrency 1"
    with (
        running(serve, env, directory, directory / "serve.log"),
        running(envoy, env, directory, directory / "envoy.log"),
    ):
        wait_until_synced(env)
        wait_until(lambda: listens(proxy_port), "Envoy listens")
        yield env


def wait_until_synced(env: dict[str, str]) -> str:
    """Return what ``status`` shows once the Envoy has acknowledged all four types."""
    shown = ""

    def synced() -> bool:
        nonlocal shown
        shown = run(f"{PROGRAM}status", env).stdout
        return shown.count("SYNCED") >= 4

    wait_until(synced, lambda: shown)
    return shown


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def run(command: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        arguments(command), cwd=TOP, env=env, capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS
    )


@pytest.mark.parametrize("command", ASKING)
def test_command(connected: dict[str, str], command: str) -> None:
    """Each works while the README's Envoy is connected."""
    result = run(command, connected)
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_envoy_takes_what_it_is_sent(connected: dict[str, str]) -> None:
    shown = wait_until_synced(connected)
    assert "client.default" in shown
    assert shown.count("SYNCED") >= 4, shown
    assert "ERROR" not in shown, shown


def test_a_request_through_the_envoy_reaches_for_the_endpoints(connected: dict[str, str], proxy_port: int) -> None:
    wait_until_synced(connected)
    assert f"curl -x 127.0.0.1:15080 {URL}" in README
    through = urllib.request.build_opener(urllib.request.ProxyHandler({"http": f"http://127.0.0.1:{proxy_port}"}))
    with pytest.raises(urllib.error.HTTPError) as answer:
        through.open(URL, timeout=PATIENCE_SECONDS)
    with answer.value as response:
        assert response.code == 503, "nothing listens there"


def test_the_envoy_takes_regular_expressions_of_any_allowed_size(connected: dict[str, str], proxy_port: int) -> None:
    wait_until_synced(connected)
    through = urllib.request.build_opener(urllib.request.ProxyHandler({"http": f"http://127.0.0.1:{proxy_port}"}))
    with through.open(f"http://regex.example/api/v1/object/{'a' * 32}/action", timeout=PATIENCE_SECONDS) as response:
        assert response.status == 204


@pytest.mark.parametrize("target", TARGETS)
def test_target_exists(target: str) -> None:
    """``make -n`` fails for a target that there is no rule for."""
    subprocess.run(["make", "-n", target], cwd=TOP, check=True, capture_output=True)


def test_two_commands_are_all() -> None:
    assert {"make run", "make test"} <= set(COMMANDS)


def test_help_lists_the_targets() -> None:
    """Also those that the README does not name."""
    listed = subprocess.run(["make", "help"], cwd=TOP, check=True, capture_output=True, text=True).stdout
    targets = {line.split()[0] for line in listed.splitlines()}
    assert {"run", "test", "test-unit", "test-envoy", "test-conformance", "lint", "bench", "install"} <= targets


def test_package_table_is_complete() -> None:
    """Each package and module of the program has a row in CONTRIBUTING.md, once."""
    text = (TOP / "CONTRIBUTING.md").read_text().partition("## What the import table means")[0]
    rows = re.findall(r"^\| (`.+?`) \|", text, re.MULTILINE)
    named = re.findall(r"`(\w+)`", " ".join(rows))
    found = {path.stem for path in (TOP / "controlplane").iterdir() if not path.name.startswith("_")}
    assert sorted(named) == sorted(found)


def test_the_import_table_is_explained() -> None:
    """Each row of the contract has its reason in CONTRIBUTING.md, in the same order."""
    contract = tomllib.loads((TOP / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"][0]
    text = (TOP / "CONTRIBUTING.md").read_text().partition("## What the import table means")[2].partition("\n## ")[0]
    named = re.findall(r"`(\w+)`", " ".join(re.findall(r"^\| (`.+?`) \|", text, re.MULTILINE)))
    assert sorted(named) == sorted(row.partition(":")[0] for row in contract["rows"])


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md", "bench/README.md"])
def test_links_lead_somewhere(document: str) -> None:
    """Files named by a link or as a path in the tree exist."""
    for target in re.findall(r"\]\(([^):]+)\)", (TOP / document).read_text()):
        assert ((TOP / document).parent / target).exists(), target
