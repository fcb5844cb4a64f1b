"""Pods that began without the CNI plugin: who is one, how they are mended, and what the API server is asked for it."""

from __future__ import annotations

import json
import os
import ssl
import threading
from collections.abc import Iterable, Iterator, MutableMapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from controlplane.cni.kubernetes import Api, ApiError
from controlplane.cni.metrics import Metrics
from controlplane.cni.node import Settings
from controlplane.cni.repair import Repair, Way, is_broken, is_node_network, network_of
from tests.webhooks.tls import Root

UID = "0a1b2c3d-0000-4000-8000-000000000001"
FAILED = {"terminated": {"exitCode": 126}}


def pod(state: dict[str, Any], last: dict[str, Any] | None = None, **metadata: Any) -> dict[str, Any]:
    status = {"name": "istio-validation", "state": state, "lastState": last or {}}
    stated = {"name": "p", "namespace": "n", "uid": UID, "annotations": {"sidecar.istio.io/status": "{}"}, **metadata}
    return {"metadata": stated, "spec": {"containers": []}, "status": {"initContainerStatuses": [status]}}


@pytest.mark.parametrize(
    ("found", "broken"),
    [
        pytest.param(pod(FAILED), True, id="it-has-ended"),
        pytest.param(pod({"waiting": {"reason": "CrashLoopBackOff"}}, FAILED), True, id="it-is-tried-again"),
        pytest.param(pod({"running": {}}, FAILED), False, id="it-looks-again"),
        pytest.param(pod({"terminated": {"exitCode": 0}}, FAILED), False, id="it-is-well-now"),
        pytest.param(pod({"terminated": {"exitCode": 1}}), False, id="it-failed-for-another-reason"),
        pytest.param(pod({"waiting": {}}), False, id="it-has-not-looked-yet"),
        pytest.param(pod(FAILED, annotations={}), False, id="nothing-was-injected"),
        pytest.param(pod(FAILED, deletionTimestamp="2026-01-01T00:00:00Z"), False, id="it-goes"),
        pytest.param(pod(FAILED) | {"spec": {"hostNetwork": True}}, False, id="it-is-in-the-node-s-network"),
        pytest.param({"metadata": {"annotations": {"sidecar.istio.io/status": "{}"}}}, False, id="it-has-no-status"),
    ],
)
def test_who_is_broken(found: dict[str, Any], *, broken: bool) -> None:
    assert is_broken(found) is broken


@pytest.mark.parametrize("group", [f"0::/kubepods/pod{UID}/c", f"0::/kubepods-pod{UID.replace('-', '_')}.slice/c"])
def test_a_pod_is_found_by_a_process_in_its_control_group(tmp_path: Path, group: str) -> None:
    for number, text in (("1", "0::/init"), ("77", group)):
        (tmp_path / number).mkdir()
        (tmp_path / number / "cgroup").write_text(text + "\n")
    (tmp_path / "78").mkdir()  # it ended while it was looked at
    assert network_of(tmp_path, UID) == tmp_path / "77" / "ns" / "net"
    assert network_of(tmp_path, "other") is None


class Asked(BaseHTTPRequestHandler):
    """An API server with one pod; it remembers what was changed."""

    pods: list[dict[str, Any]]
    changes: list[tuple[str, str, Any]]

    def do_GET(self) -> None:
        self._say(200, {"items": self.pods} if "fieldSelector" in self.path else self.pods[0])

    def do_POST(self) -> None:
        length = int(self.headers["content-length"])
        self.changes.append((self.command, self.path, json.loads(self.rfile.read(length))))
        allowed = self.headers["authorization"] == "Bearer token"
        self._say(201 if allowed else 403, {} if allowed else {"message": "pods is forbidden"})

    do_DELETE = do_POST  # noqa: N815 - as its base calls them
    do_PATCH = do_POST  # noqa: N815

    def _say(self, status: int, value: Any) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def api(folder: Path, *pods: dict[str, Any], token: str = "token") -> Iterator[tuple[Api, list[tuple[str, str, Any]]]]:
    root, context = Root.new(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    root.load(context, folder)
    (folder / "ca.crt").write_text(root.pem)
    (folder / "token").write_text(token + "\n")
    changes: list[tuple[str, str, Any]] = []
    handler = type("Handler", (Asked,), {"pods": list(pods), "changes": changes})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield Api("127.0.0.1", server.server_port, folder), changes
        finally:
            server.shutdown()


def broken() -> dict[str, Any]:
    return pod({"waiting": {}}, FAILED)


@pytest.mark.parametrize(
    ("way", "change"),
    [
        ("delete", ("DELETE", "/api/v1/namespaces/n/pods/p", {"preconditions": {"uid": UID}})),
        ("label", ("PATCH", "/api/v1/namespaces/n/pods/p", {"metadata": {"labels": {"a/b": "c"}}})),
    ],
)
def test_a_broken_pod_is_told_of_and_deleted_or_labelled(
    tmp_path: Path, way: Way, change: tuple[str, str, Any]
) -> None:
    metrics = Metrics()
    with api(tmp_path, broken(), pod({"running": {}})) as (server, changes):
        assert Repair(server, metrics, "node1", way, label=("a/b", "c")).once() == 1
    (method, path, event), last = changes
    assert (method, path) == ("POST", "/api/v1/namespaces/n/events")
    assert (event["involvedObject"]["uid"], event["source"]["host"]) == (UID, "node1")
    assert event["reason"] == {"delete": "DeleteBrokenPod", "label": "LabelBrokenPod"}[way]
    assert last == change
    assert f'istio_cni_repair_pods_repaired_total{{result="success",type="{way}"}} 1' in metrics.text()


def test_a_pod_is_mended_once_however_long_it_takes_to_notice(tmp_path: Path) -> None:
    with api(tmp_path, broken()) as (server, changes):
        repair = Repair(server, Metrics(), "node1", "delete")
        assert [repair.once() for _ in range(3)] == [1, 0, 0]
    assert len(changes) == 2


def test_a_pod_that_is_labelled_is_left_alone(tmp_path: Path) -> None:
    with api(tmp_path, pod(FAILED, labels={"cni.istio.io/uninitialized": "true"})) as (server, changes):
        assert Repair(server, Metrics(), "node1", "label").once() == 0
    assert changes == []


def test_what_cannot_be_mended_is_counted(tmp_path: Path) -> None:
    """No process of it is there; and a right is missing."""
    metrics = Metrics()
    with api(tmp_path, broken()) as (server, _):
        assert Repair(server, metrics, "node1", "repair", processes=tmp_path).once() == 0
    with api(tmp_path, broken(), token="other") as (server, _):
        assert Repair(server, metrics, "node1", "delete").once() == 0
        with pytest.raises(ApiError, match=r"DELETE /api/v1/namespaces/n/pods/p: 403 pods is forbidden") as refused:
            server.delete("n", "p", UID)
    assert refused.value.status == 403
    for way in ("repair", "delete"):
        assert f'istio_cni_repair_pods_repaired_total{{result="fail",type="{way}"}} 1' in metrics.text()


def sidecar(**annotations: str) -> dict[str, Any]:
    found = pod(FAILED, annotations={"sidecar.istio.io/status": "{}", **annotations})
    return found | {"spec": {"containers": [{"name": "istio-proxy", "args": ["proxy", "sidecar"]}]}}


def processes(folder: Path) -> Path:
    """Make a folder of processes, one of them in the pod; its network is a file, which nobody can enter."""
    (folder / "77" / "ns").mkdir(parents=True)
    (folder / "77" / "cgroup").write_text(f"0::/kubepods/pod{UID}/c\n")
    (folder / "77" / "ns" / "net").touch()
    (folder / "1" / "ns").mkdir(parents=True)
    (folder / "1" / "cgroup").write_text("0::/init.scope\n")
    (folder / "1" / "ns" / "net").touch()
    return folder


def failures(logs: Iterable[MutableMapping[str, Any]]) -> list[MutableMapping[str, Any]]:
    return [each for each in logs if each["event"] == "cni.repair_failed"]


@pytest.mark.parametrize("native", [False, True], ids=["iptables", "nftables"])
@pytest.mark.parametrize(
    "value", ["1" * 200_000, "\0", "eth0 -j ACCEPT", "eth0\n-F"], ids=["long", "nul", "blank", "line"]
)
def test_an_annotation_that_is_no_name_of_an_interface_ends_nothing(
    tmp_path: Path, value: str, *, native: bool
) -> None:
    named = "traffic.sidecar.istio.io/excludeInterfaces"
    with api(tmp_path, sidecar(**{named: value})) as (server, _), capture_logs() as logs:
        repair = Repair(server, Metrics(), "n", processes=processes(tmp_path / "proc"), native_nftables=native)
        assert repair.once() == 0
    (said,) = failures(logs)
    assert (said["namespace"], said["name"]) == ("n", "p")
    assert said["reason"].startswith("--istio-exclude-interfaces: ")
    assert len(said["reason"]) < 200


def test_our_failure_with_one_pod_is_counted_and_the_others_are_mended(tmp_path: Path) -> None:
    """A container without a name is none that an API server takes."""
    other = sidecar() | {"spec": {"containers": [{}]}}
    other["metadata"] |= {"uid": UID[:-1] + "2", "name": "odd"}
    folder = processes(tmp_path / "proc")
    with (folder / "77" / "cgroup").open("a") as groups:
        groups.write(f"0::/kubepods/pod{other['metadata']['uid']}/c\n")
    metrics = Metrics()
    with api(tmp_path, other, sidecar()) as (server, _), capture_logs() as logs:
        assert Repair(server, metrics, "n", processes=folder).once() == 0
    assert [(each["name"], each["log_level"]) for each in failures(logs)] == [("odd", "error"), ("p", "warning")]
    assert 'istio_cni_repair_pods_repaired_total{result="fail",type="repair"} 2' in metrics.text()


def test_no_rules_are_made_in_the_node_s_own_network(tmp_path: Path) -> None:
    """The pod says that it has a network; its process is where the node's first one is."""
    folder = processes(tmp_path / "proc")
    (folder / "1" / "ns" / "net").unlink()
    (folder / "1" / "ns" / "net").hardlink_to(folder / "77" / "ns" / "net")
    with api(tmp_path, sidecar()) as (server, _), capture_logs() as logs:
        assert Repair(server, Metrics(), "n", processes=folder).once() == 0
    assert [each["reason"] for each in failures(logs)] == ["a process of it is in the node's own network"]


def test_a_network_that_nobody_may_enter_is_not_changed(tmp_path: Path) -> None:
    folder = processes(tmp_path / "proc")
    (folder / "1" / "ns" / "net").unlink()
    with api(tmp_path, sidecar()) as (server, _), capture_logs() as logs:
        assert Repair(server, Metrics(), "n", processes=folder).once() == 0
    (said,) = failures(logs)
    assert said["reason"].startswith("network namespace ")


@pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")
@pytest.mark.parametrize(
    ("status", "is_node"),
    [
        ({"podIP": "127.0.0.1", "hostIP": "203.0.113.1"}, False),
        ({"podIP": "127.0.0.1", "podIPs": [{"ip": "127.0.0.1"}, {"ip": "127.0.0.2"}]}, False),
        ({"podIP": "203.0.113.2", "hostIP": "203.0.113.1"}, True),
        ({"podIP": "127.0.0.1", "podIPs": [{"ip": "127.0.0.1"}, {"ip": "2001:db8::1"}]}, True),
        ({"podIP": "127.0.0.1", "hostIP": "127.0.0.2"}, True),
        ({"podIP": "127.0.0.1", "hostIPs": [{"ip": "203.0.113.1"}, {"ip": "127.0.0.2"}]}, True),
        ({}, True),
    ],
    ids=["its-own", "its-own-two", "another-s", "half-another-s", "the-node-s", "the-node-s-second", "unknown"],
)
def test_where_nobody_sees_the_first_process_addresses_tell_whose_a_network_is(
    tmp_path: Path, status: dict[str, Any], *, is_node: bool
) -> None:
    with Path("/proc/self/ns/net").open("rb") as network:
        assert is_node_network(tmp_path, network.fileno(), {"status": status}) is is_node


def test_an_api_server_that_is_away_is_named(tmp_path: Path) -> None:
    with api(tmp_path, broken()) as (server, _):
        pass
    with pytest.raises(ApiError, match=r"GET /api/v1/namespaces/n/pods/p: .*refused") as refused:
        server.pod("n", "p")
    assert refused.value.status == 0
    with pytest.raises(ApiError, match="this is no pod of Kubernetes"):
        Api.of({})


def test_settings() -> None:
    """Variables have Istio's names; of the ways to mend the first that is enabled is taken."""
    plain = Settings.of({"NODE_NAME": "n"})
    assert (plain.way, plain.chained, plain.excluded) == ("repair", True, ("kube-system",))
    stated = {"NODE_NAME": "n", "REPAIR_REPAIR_PODS": "false", "REPAIR_DELETE_PODS": "true",
              "REPAIR_LABEL_PODS": "true", "EXCLUDE_NAMESPACES": "a, b", "CHAINED_CNI_PLUGIN": "false"}  # fmt: skip
    found = Settings.of(stated)
    assert (found.way, found.chained, found.excluded) == ("delete", False, ("a", "b"))
    assert Settings.of(stated | {"REPAIR_ENABLED": "false"}).way is None
    owned = {"NODE_NAME": "n", "ISTIO_OWNED_CNI_CONFIG": "true"}
    assert (plain.owned, Settings.of(owned).owned) == ("", "02-istio-cni.conflist")
    assert Settings.of(owned | {"ISTIO_OWNED_CNI_CONF_FILENAME": "00-a.conflist"}).owned == "00-a.conflist"
    with pytest.raises(ValueError, match=r"ISTIO_OWNED_CNI_CONF_FILENAME: 'a\.conf' is no name that ends with"):
        Settings.of(owned | {"ISTIO_OWNED_CNI_CONF_FILENAME": "a.conf"})
    with pytest.raises(ValueError, match=r"ISTIO_OWNED_CNI_CONFIG: only a plugin that is chained"):
        Settings.of(stated | owned)
    with pytest.raises(ValueError, match=r"REPAIR_ENABLED: 'maybe' is neither true nor false"):
        Settings.of(stated | {"REPAIR_ENABLED": "maybe"})
    for name in ("../a.conflist", "a/b.conf", ".", ".."):
        with pytest.raises(ValueError, match=r"CNI_CONF_NAME: .* is no name of a file"):
            Settings.of({"NODE_NAME": "n", "CNI_CONF_NAME": name})
    with pytest.raises(ValueError, match=r"NODE_NAME: is required"):
        Settings.of({})
