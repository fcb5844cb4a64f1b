"""The plugin as a container runtime runs it, and the agent behind it, with real sockets and files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from controlplane.cni import files
from controlplane.cni.kubernetes import ApiError
from controlplane.cni.metrics import Metrics
from controlplane.cni.plugin import VERSIONS
from controlplane.cni.server import Answers, PluginServer
from tests.patience import PATIENCE_SECONDS

PLAIN = {"metadata": {"name": "p", "namespace": "n"}, "spec": {"containers": [{"name": "app"}]}}
RESULT = {"cniVersion": "1.0.0", "ips": [{"address": "10.1.0.2/24"}], "interfaces": [{"name": "eth0"}]}


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The plugin as it is put on a node."""
    folder = tmp_path_factory.mktemp("bin")
    assert files.install(folder)
    assert not files.install(folder), "it is there already"
    return folder / files.NAME


def run(program: Path, command: str, config: object, **variables: str) -> tuple[int, dict[str, Any]]:
    """Run it as a runtime does; return the status and what it printed."""
    environment = {
        "CNI_COMMAND": command, "CNI_CONTAINERID": "c1", "CNI_IFNAME": "eth0", "CNI_NETNS": "/proc/self/ns/net",
        "CNI_ARGS": "IgnoreUnknown=1;K8S_POD_NAMESPACE=n;K8S_POD_NAME=p;K8S_POD_UID=u", **variables,
    }  # fmt: skip
    text = config if isinstance(config, str) else json.dumps(config)
    ran = subprocess.run(
        [program], input=text, env=environment, capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS
    )
    assert ran.stderr == ""
    return ran.returncode, json.loads(ran.stdout) if ran.stdout else {}


def config(folder: Path, **more: object) -> dict[str, object]:
    return {
        "cniVersion": "1.0.0", "name": "pods", "type": "istio-cni", "cni_agent_run_dir": str(folder),
        "exclude_namespaces": ["kube-system"], "pod_namespace": "istio-system", "prevResult": RESULT, **more,
    }  # fmt: skip


@contextmanager
def agent(folder: Path, pods: Mapping[str, Any], metrics: Metrics | None = None) -> Iterator[None]:
    """Answer the plugin in a folder, with the pods that there are; one that is not there is not waited for."""

    def read(namespace: str, name: str) -> Mapping[str, Any]:
        if name not in pods:
            raise ApiError(f"GET {namespace}/{name}: 404 not found", 404)
        found: Mapping[str, Any] = pods[name]
        return found

    answers = Answers(read, metrics or Metrics(), pause=lambda _: None)
    with PluginServer(folder / "plugin.sock", answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield
        finally:
            server.shutdown()


def test_it_says_which_versions_it_knows(program: Path) -> None:
    assert run(program, "VERSION", {"cniVersion": "0.4.0"}) == (
        0,
        {"cniVersion": "0.4.0", "supportedVersions": VERSIONS},
    )


def test_it_hands_on_what_the_plugins_before_it_made(program: Path, tmp_path: Path) -> None:
    metrics = Metrics()
    with agent(tmp_path, {"p": PLAIN}, metrics):
        assert run(program, "ADD", config(tmp_path)) == (0, RESULT)
    assert 'istio_cni_pods_total{result="passed_over"} 1' in metrics.text()


def test_the_only_plugin_makes_nothing(program: Path, tmp_path: Path) -> None:
    alone = config(tmp_path)
    del alone["prevResult"]
    with agent(tmp_path, {"p": PLAIN}):
        assert run(program, "ADD", alone) == (0, {"cniVersion": "1.0.0"})


@pytest.mark.parametrize("command", ["DEL", "CHECK", "GC", "STATUS"])
def test_there_is_nothing_to_do_for_other_commands(program: Path, tmp_path: Path, command: str) -> None:
    assert run(program, command, config(tmp_path)) == (0, {})


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param("K8S_POD_NAMESPACE=kube-system;K8S_POD_NAME=dns", id="excluded"),
        pytest.param("K8S_POD_NAMESPACE=istio-system;K8S_POD_NAME=istio-cni-node-x", id="own"),
        pytest.param("", id="no-pod"),
    ],
)
def test_who_must_not_wait_for_the_agent_does_not(program: Path, tmp_path: Path, arguments: str) -> None:
    assert run(program, "ADD", config(tmp_path), CNI_ARGS=arguments) == (0, RESULT)


def test_a_pod_does_not_begin_while_no_agent_answers(program: Path, tmp_path: Path) -> None:
    status, said = run(program, "ADD", config(tmp_path))
    assert (status, said["code"]) == (1, 11)
    assert said["msg"] == f"istio-cni: the agent of this node does not answer at {tmp_path}/plugin.sock"


def test_why_a_pod_must_not_begin_is_told(program: Path, tmp_path: Path) -> None:
    wrong = {
        "metadata": {"annotations": {"sidecar.istio.io/status": "{}", "sidecar.istio.io/interceptionMode": "NONE"}},
        "spec": {"initContainers": [{"name": "istio-proxy", "args": ["proxy", "sidecar"]}]},
    }
    metrics = Metrics()
    with agent(tmp_path, {"p": wrong}, metrics):
        status, said = run(program, "ADD", config(tmp_path))
        assert (status, said["code"]) == (1, 11)
        assert "n/p: annotation sidecar.istio.io/interceptionMode: 'NONE'" in said["msg"]
        status, said = run(program, "ADD", config(tmp_path), CNI_ARGS="K8S_POD_NAMESPACE=n;K8S_POD_NAME=other")
        assert "n/other: the pod cannot be read: GET n/other: 404 not found" in said["msg"]
    assert 'istio_cni_pods_total{result="refused"} 2' in metrics.text()


@pytest.mark.parametrize(
    ("text", "variables", "code", "words"),
    [
        ("{", {}, 6, "the configuration is no JSON"),
        ("[]", {}, 6, "the configuration is no JSON object"),
        ("[" * 100_000, {}, 6, "the configuration is no JSON"),
        ('{"cniVersion": null', {}, 6, "the configuration is no JSON"),
        ("{}", {}, 7, "cni_agent_run_dir is missing"),
        ('{"cni_agent_run_dir": "a\\u0000b"}', {}, 7, "cni_agent_run_dir is no path"),
        ('{"cni_agent_run_dir": {"a": 1}}', {}, 7, "cni_agent_run_dir is no path"),
        ('{"cni_agent_run_dir": "/x", "exclude_namespaces": "kube-system"}', {}, 7, "exclude_namespaces is no list"),
        ('{"cni_agent_run_dir": "/x", "exclude_namespaces": 5}', {}, 7, "exclude_namespaces is no list"),
        ('{"cni_agent_run_dir": "/%s"}' % ("x" * 200), {}, 11, "the agent of this node does not answer at /xxx"),
        ('{"cni_agent_run_dir": "/x", "exclude_namespaces": null}', {}, 11, "the agent of this node does not answer"),
        ('{"cni_agent_run_dir": "/x"}', {"CNI_NETNS": ""}, 4, "CNI_NETNS: : No such file"),
        ('{"cni_agent_run_dir": "/x"}', {"CNI_NETNS": "/proc/self/exe/x"}, 4, "CNI_NETNS: /proc/self/exe/x: Not a dir"),
        ('{"cni_agent_run_dir": "/x"}', {"CNI_NETNS": "/" + "x" * 5000}, 4, "File name too long"),
        ("{}", {"CNI_COMMAND": "MOVE"}, 4, "CNI_COMMAND is none that is known"),
        ('{"cni_agent_run_dir": "/x"}', {"CNI_NETNS": "/run/none"}, 4, "CNI_NETNS: /run/none: No such file"),
    ],
)
def test_what_makes_no_sense_is_refused_in_the_words_of_the_specification(
    program: Path, text: str, variables: dict[str, str], code: int, words: str
) -> None:
    status, said = run(program, variables.get("CNI_COMMAND", "ADD"), text, **variables)
    assert (status, said["code"]) == (1, code)
    assert words in said["msg"]


def test_what_is_no_network_namespace_is_named(program: Path, tmp_path: Path) -> None:
    """A file, a folder, a pipe that nobody writes to, a namespace of another kind."""
    first = [{"name": "istio-validation"}, {"name": "istio-proxy", "args": ["proxy", "sidecar"]}]
    led = {"metadata": {"annotations": {"sidecar.istio.io/status": "{}"}}, "spec": {"initContainers": first}}
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "pipe")
    with agent(tmp_path, {"p": led}):
        for path in (tmp_path / "file", tmp_path, tmp_path / "pipe", Path("/proc/self/ns/uts")):
            status, said = run(program, "ADD", config(tmp_path), CNI_NETNS=str(path))
            shown = "uts:[" if path.name == "uts" else str(path)
            assert (status, said["code"]) == (1, 11)
            assert f"n/p: network namespace {shown}" in said["msg"], said
            assert said["msg"].endswith("Invalid argument"), said


def test_the_program_of_somebody_else_is_replaced(tmp_path: Path) -> None:
    """As it is when a node is moved from another mesh to this one, or back and again."""
    files.install(tmp_path)
    script = (tmp_path / files.NAME).read_bytes()
    (tmp_path / files.NAME).write_bytes(b"\x7fELF\xff\xfe")
    assert files.install(tmp_path)
    assert (tmp_path / files.NAME).read_bytes() == script
    assert not files.install(tmp_path)


def test_it_needs_nothing_of_the_node_but_a_shell(program: Path, tmp_path: Path) -> None:
    """In a root of its own, with a shell and nothing else: no Python, no library."""
    if os.geteuid() != 0:
        pytest.skip("changing the root needs root")
    root = tmp_path / "root"
    (root / "bin").mkdir(parents=True)
    subprocess.run(["cp", "-a", program.parent, root / "opt"], check=True)
    busybox = subprocess.run(["which", "busybox"], capture_output=True, text=True, check=True).stdout.strip()
    subprocess.run(["cp", "-L", busybox, root / "bin" / "sh"], check=True)
    command: list[str | Path] = [
        sys.executable,
        "-c",
        "import os,sys; os.chroot(sys.argv[1]); os.execv(sys.argv[2], sys.argv[2:])",
        root,
    ]
    ran = subprocess.run(
        [*command, f"/opt/{files.NAME}"],
        input="{}",
        env={"CNI_COMMAND": "VERSION"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert json.loads(ran.stdout)["supportedVersions"] == VERSIONS


def test_it_goes_without_a_trace(tmp_path: Path) -> None:
    (tmp_path / "bridge").touch()
    files.install(tmp_path)
    files.remove(tmp_path)
    assert [each.name for each in tmp_path.iterdir()] == ["bridge"]
