"""``deploy/images.sh``: the names that it builds by, and that the nodes of the tests take what it made."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.cluster import mesh_images

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "deploy" / "images.sh"
RECORDER = '#!/bin/sh\nprintf "%s\\n" "$*" >>"$RECORD"\n'


def test_both_images_are_built_by_the_names_of_the_manifests_and_the_folder_is_what_nodes_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``buildah`` is a program that writes down what it was asked for: a build takes minutes, and a network."""
    programs, folder = tmp_path / "bin", tmp_path / "images"
    programs.mkdir()
    (programs / "buildah").write_text(RECORDER)
    (programs / "buildah").chmod(0o755)
    environment = {"PATH": f"{programs}:{os.environ['PATH']}", "RECORD": str(tmp_path / "asked")}
    subprocess.run([SCRIPT, folder], env=environment, capture_output=True, check=False, timeout=60)
    asked = (tmp_path / "asked").read_text()
    monkeypatch.setenv("MESH_IMAGES", str(folder))
    taken = mesh_images.archives()
    for stage, name, archive in zip(
        ("pilot", "proxyv2"), (mesh_images.pilot_name(), mesh_images.proxy_name()), taken, strict=True
    ):
        assert f"--target {stage} --tag {name} " in asked
        assert f"push localhost/{name} docker-archive:{archive}:docker.io/{name}" in asked
