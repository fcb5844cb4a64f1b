"""The agent of a node: what goes wrong with pods does not end it, and nobody keeps its pages from others."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from structlog.testing import capture_logs

from controlplane.cni import node
from controlplane.cni.node import MOST_CALLERS, NodeAgent, Pages, PageServer, Settings
from tests.cni.test_repair import api
from tests.patience import PATIENCE_SECONDS


def test_our_failure_to_look_at_pods_leaves_the_plugin_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An object without metadata is none that an API server gives; the agent comes to its pause."""
    networks = tmp_path / "networks"
    networks.mkdir()
    (networks / "10-pods.conflist").write_text(json.dumps({"name": "pods", "plugins": [{"type": "bridge"}]}))
    settings = Settings("n", programs=tmp_path, networks=networks, run=tmp_path / "run", health_port=0, metrics_port=0)
    in_place: list[bool] = []
    with api(tmp_path, {}) as (server, _), capture_logs() as logs:
        agent = NodeAgent(settings, server)

        def look(_: float) -> bool:
            in_place.append("istio-cni" in (networks / "10-pods.conflist").read_text())
            return True

        monkeypatch.setattr(node, "_REPAIR_EVERY", 1)
        monkeypatch.setattr(agent._stopping, "wait", look)  # noqa: SLF001 - instead of a second
        agent.run()
    assert in_place == [True]
    assert [each["event"] for each in logs].count("cni.repair_failed") == 1


def test_what_cannot_be_taken_away_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The agent ends all the same: a folder stands where its file was."""
    networks = tmp_path / "networks"
    (networks / "istio-cni.conf").mkdir(parents=True)
    settings = Settings("n", programs=tmp_path, networks=networks, run=tmp_path / "run", chained=False,
                        health_port=0, metrics_port=0)  # fmt: skip
    with api(tmp_path, {}) as (server, _), capture_logs() as logs:
        agent = NodeAgent(settings, server)
        monkeypatch.setattr(agent._stopping, "wait", lambda _: True)  # noqa: SLF001 - instead of a second
        agent.run()
    told = {each["event"]: each.get("reason", "") for each in logs}
    assert "istio-cni.conf" in told["cni.not_in_place"]
    assert "istio-cni.conf" in told["cni.not_removed"]


class Answered:
    """What pages are asked for."""

    def page(self, path: str) -> tuple[int, str]:
        return 200, path


@contextmanager
def pages(handler: Any = Pages) -> Iterator[int]:
    """Serve pages; return the port."""
    with PageServer(("127.0.0.1", 0), partial(handler, Answered())) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server.server_port
        finally:
            server.shutdown()


def test_who_asks_nothing_goes_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest go first, in their order; the newest of those who say nothing are still there."""
    monkeypatch.setattr(Pages, "timeout", None)
    with pages() as port, ExitStack() as stack:
        idle = [
            stack.enter_context(socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS))
            for _ in range(MOST_CALLERS + 3)
        ]
        with urlopen(f"http://127.0.0.1:{port}/healthz", timeout=PATIENCE_SECONDS) as answer:
            assert answer.read() == b"/healthz"
        assert [each.recv(1) for each in idle[:4]] == [b""] * 4
        idle[-1].sendall(b"GET /late HTTP/1.0\r\n\r\n")
        assert idle[-1].makefile("rb").read().endswith(b"/late")


def test_a_caller_is_not_waited_for_without_end() -> None:
    seen: list[float | None] = []

    class Seen(Pages):
        def do_GET(self) -> None:  # noqa: N802 - as its base calls it
            seen.append(self.connection.gettimeout())
            super().do_GET()

    with pages(Seen) as port, urlopen(f"http://127.0.0.1:{port}/x", timeout=PATIENCE_SECONDS) as answer:
        assert answer.read() == b"/x"
    assert seen == [5]
