"""How the API server is found: by kubeconfig and context, the pod's own cluster, or the environment."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from controlplane.model import kinds
from controlplane.watchers.kubernetes.api import Api, connect
from controlplane.watchers.kubernetes.errors import ConfigurationError
from controlplane.watchers.kubernetes.source import ClusterOptions
from tests.watchers.kubernetes.following import FAST, followed, fresh
from tests.watchers.kubernetes.recorded_api import SERVICES, RecordedApi, status
from tests.watchers.kubernetes.test_faults import service

pytestmark = pytest.mark.slow

IN_CLUSTER = "KUBERNETES_SERVICE_HOST"


@pytest.fixture(autouse=True)
def _outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(IN_CLUSTER, raising=False)
    monkeypatch.delenv("KUBECONFIG", raising=False)


@pytest.fixture
async def clusters(tmp_path: Path) -> AsyncIterator[Path]:
    """A kubeconfig of two clusters: the context ``one``, which is the current one, and ``two``."""
    folders = tmp_path / "one", tmp_path / "two"
    for folder in folders:
        folder.mkdir()
    async with RecordedApi(folders[0]) as one, RecordedApi(folders[1]) as two:
        merged: dict[str, Any] = {"apiVersion": "v1", "kind": "Config", "current-context": "one"}
        merged |= {"clusters": [], "users": [], "contexts": []}
        for name, api in (("one", one), ("two", two)):
            api.put(SERVICES, service(f"in-{name}"))
            config = json.loads(Path(api.kubeconfig).read_text(encoding="utf-8"))  # noqa: ASYNC240 - a small file
            merged["clusters"].append({**config["clusters"][0], "name": name})
            merged["users"].append({**config["users"][0], "name": name})
            merged["contexts"].append({"name": name, "context": {"cluster": name, "user": name}})
        path = tmp_path / "kubeconfig"
        path.write_text(json.dumps(merged))
        yield path


async def services(options: ClusterOptions) -> list[str]:
    return [key.name for key in await fresh(options) if key.kind == kinds.SERVICE]


@pytest.mark.parametrize(("context", "name"), [("", "in-one"), ("one", "in-one"), ("two", "in-two")])
async def test_the_context_says_which_cluster(clusters: Path, context: str, name: str) -> None:
    assert await services(ClusterOptions(kubeconfig=str(clusters), context=context)) == [name]


async def test_the_environment_names_the_kubeconfig(clusters: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(clusters))
    assert await services(ClusterOptions()) == ["in-one"]
    assert await services(ClusterOptions(context="two")) == ["in-two"]


async def test_in_a_cluster_what_is_named_comes_first(clusters: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(IN_CLUSTER, "10.96.0.1")
    assert await services(ClusterOptions(kubeconfig=str(clusters))) == ["in-one"]
    monkeypatch.setenv("KUBECONFIG", str(clusters))
    assert "the pod's service account cannot be used" in await problem()


async def problem(kubeconfig: str = "", context: str = "") -> str:
    with pytest.raises(ConfigurationError) as raised:
        await closed(await connect(kubeconfig, context, FAST))
    return str(raised.value)


async def closed(api: Api) -> None:
    await api.close()


async def test_what_cannot_be_used_is_named(clusters: Path, tmp_path: Path) -> None:
    assert await problem(str(tmp_path / "none")) == f"--kubeconfig: there is no file {tmp_path / 'none'}"
    text = await problem(str(clusters), "three")
    assert text == f"--context: {clusters} has no context three; it has one, two"
    nonsense = tmp_path / "nonsense"
    nonsense.write_text("clusters: 7")
    assert (await problem(str(nonsense))).startswith(f"{nonsense} cannot be used: ")
    assert (await problem()).endswith("name one with $KUBECONFIG, ~/.kube/config or --kubeconfig")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(b"\xff\xfe", "it is not UTF-8 text", id="binary"),
        pytest.param(b"a: [b\n", "it is not YAML: while parsing a flow sequence", id="no-yaml"),
        pytest.param(b"", "it does not have the form of a kubeconfig", id="empty"),
        pytest.param(b"- a\n", "it does not have the form of a kubeconfig", id="list"),
        pytest.param(
            b"current-context: a\ncontexts: [{name: a, context: {cluster: c, user: u}}]\n"
            b"clusters: [{name: c, cluster: {server: http://127.0.0.1}}]\nusers: [{name: u, user: x}]\n",
            "it does not have the form of a kubeconfig",
            id="user",
        ),
    ],
)
async def test_a_file_that_is_no_kubeconfig_is_refused_with_the_reason(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    file = tmp_path / "config"
    file.write_bytes(content)
    assert (await problem(str(file))).startswith(f"{file} cannot be used: {reason}")


async def test_a_token_that_ended_is_read_again(tmp_path: Path) -> None:
    """Nobody says so beforehand: the API server takes it no more, and the kubeconfig has another one by then."""
    async with RecordedApi(tmp_path) as api:
        options, timing = ClusterOptions(kubeconfig=api.kubeconfig), replace(FAST, renewal=0.0)
        async with followed(options, timing) as follower:
            text = (tmp_path / "kubeconfig").read_text()
            (tmp_path / "kubeconfig").write_text(text.replace('"token": "t"', '"token": "new"'))
            await follower.until(lambda: bool(api.watching(SERVICES)))
            api.answer_next(SERVICES, "watch", status(401, "Unauthorized"))
            api.end_watches(SERVICES)
            await follower.until(lambda: len(api.asked(SERVICES, "watch")) == 3)
            used = [request.headers["authorization"] for request in api.asked(SERVICES, "watch")]
            assert used == ["Bearer t", "Bearer t", "Bearer new"]


async def test_a_kubeconfig_that_is_broken_meanwhile_changes_nothing(tmp_path: Path) -> None:
    async with RecordedApi(tmp_path) as api:
        options, timing = ClusterOptions(kubeconfig=api.kubeconfig), replace(FAST, renewal=0.0)
        async with followed(options, timing) as follower:
            (tmp_path / "kubeconfig").write_text("clusters: 7")
            await follower.until(lambda: bool(api.watching(SERVICES)))
            api.answer_next(SERVICES, "watch", status(401, "Unauthorized"))
            api.end_watches(SERVICES)
            api.put(SERVICES, service("late"))
            await follower.until(lambda: follower.has("Service", "late"))
