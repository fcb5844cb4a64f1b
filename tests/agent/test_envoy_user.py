"""Envoy as another user than the agent, which is root to be the machine's only name server."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
from pathlib import Path

import pytest

from controlplane.agent.environment import StartError
from controlplane.agent.envoy_user import PROXY_USER, as_user, let_in, user_of_envoy
from controlplane.agent.options import options

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")


@pytest.mark.parametrize(
    ("address", "capture", "user", "expected"),
    [
        ("127.0.0.1:53", "true", 0, PROXY_USER),
        ("127.0.0.1:53", "false", 0, None),
        ("127.0.0.1:15053", "true", 0, None),
        ("127.0.0.1:53", "true", PROXY_USER, None),
    ],
)
def test_only_beside_the_machines_only_name_server(
    monkeypatch: pytest.MonkeyPatch, address: str, capture: str, user: int, expected: int | None
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: user)
    pod = {"POD_NAMESPACE": "shop", "INSTANCE_IP": "10.0.0.7"}
    said = {**pod, "DNS_PROXY_ADDR": address, "ISTIO_META_DNS_CAPTURE": capture}
    assert user_of_envoy(options(["sidecar"], said)) == expected


@needs_root
def test_a_program_runs_as_the_user_with_its_group_alone() -> None:
    command = as_user(["/bin/sh", "-c", "id -u; id -g; id -G; echo $0", "an argument"], PROXY_USER)
    said = subprocess.run(command, capture_output=True, text=True, check=True)
    assert said.stdout.split("\n") == ["1337", "1337", "1337", "an argument", ""]


@needs_root
def test_what_is_open_to_the_agent_alone_is_opened_to_the_group(tmp_path: Path) -> None:
    folder, file, shared = tmp_path / "proxy", tmp_path / "proxy" / "file", tmp_path / "shared"
    folder.mkdir(mode=0o700)
    shared.mkdir()
    shared.chmod(0o777)
    file.write_text("")
    file.chmod(0o600)
    with socket.socket(socket.AF_UNIX) as served:
        served.bind(str(folder / "XDS"))
        (folder / "XDS").chmod(0o755)
        let_in(PROXY_USER, (folder, file, folder / "XDS", shared))
    held = [
        (stat.S_IMODE(each.stat().st_mode), each.stat().st_uid, each.stat().st_gid)
        for each in (folder, file, folder / "XDS", shared)
    ]
    assert held == [(0o750, 0, PROXY_USER), (0o640, 0, PROXY_USER), (0o775, 0, PROXY_USER), (0o777, 0, 0)]


def test_what_is_not_there_ends_the_start(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="nowhere cannot be given to the user 1337: No such file"):
        let_in(PROXY_USER, [tmp_path / "nowhere"])
