"""kopf within the control plane, on a real API server: what it sees, what it leaves alone, and how it ends."""

from __future__ import annotations

import asyncio
import getpass
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from controlplane.controllers.operator import Kind, Operator
from controlplane.controllers.root_certificates import CONFIG_MAP, RootCertificates
from tests.cluster.api_server import ApiServer
from tests.kubernetes.faults import compact
from tests.kubernetes.objects import no_signals
from tests.kubernetes.relay import Relay
from tests.kubernetes.test_security import api, bundle_in, until
from tests.patience import patience

NAMESPACES = ("", "v1", "namespaces")
POLICY = "admissionregistration.k8s.io/v1"
REFUSING: list[dict[str, Any]] = [
    {
        "apiVersion": POLICY,
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": "refusing"},
        "spec": {
            "matchConstraints": {
                "resourceRules": [
                    {
                        "apiGroups": [""],
                        "apiVersions": ["v1"],
                        "operations": ["CREATE", "UPDATE"],
                        "resources": ["configmaps"],
                    }
                ]
            },
            "validations": [{"expression": "object.metadata.namespace != 'refusing'"}],
        },
    },
    {
        "apiVersion": POLICY,
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": "refusing"},
        "spec": {"policyName": "refusing", "validationActions": ["Deny"]},
    },
]


@pytest.fixture(autouse=True)
def _nameless_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Pod's user has a number, and no name that could be looked up."""

    def unknown() -> str:
        raise KeyError("getpwuid(): uid not found: 65532")

    monkeypatch.setattr(getpass, "getuser", unknown)


@asynccontextmanager
async def running(work: Any) -> AsyncIterator[asyncio.Task[None]]:
    """Run something that must not end by itself."""
    task = asyncio.create_task(work.run())
    try:
        yield task
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.wait([task])


def named(obj: Any) -> tuple[str, str]:
    return obj["metadata"]["name"], obj["metadata"]["uid"]


async def test_won_lost_and_won_again_without_a_trace(kube_cluster: ApiServer, namespace: str) -> None:
    """Its end cancels nobody else's task, its begin takes no signal, and nothing is written to what it watches."""
    loop, stopped = asyncio.get_running_loop(), asyncio.Event()

    def signals() -> None:
        loop.add_signal_handler(signal.SIGTERM, stopped.set)

    def version() -> str:
        return kube_cluster.kubectl("get", "namespace", namespace, "-o", "jsonpath={.metadata.resourceVersion}")

    kube_cluster.kubectl(
        "annotate", "namespace", namespace, "kopf.zalando.org/last-handled-configuration={}", "kopf.dev/x=y"
    )
    before = version()
    bystanders = [asyncio.create_task(asyncio.Event().wait())]
    async with api(kube_cluster) as made:
        seen: list[str] = []
        operator = Operator(made, (Kind(NAMESPACES, named, seen.append),), signals)
        for turn in range(3):
            seen.clear()
            async with running(operator):
                bystanders.append(asyncio.create_task(asyncio.Event().wait()))  # younger than kopf's
                await until(lambda: operator.complete)
                assert seen[0] == ""
                kube_cluster.kubectl("create", "namespace", f"{namespace}-{turn}")
                await until(lambda turn=turn: f"{namespace}-{turn}" in seen)  # type: ignore[misc]
                os.kill(os.getpid(), signal.SIGTERM)
                async with patience():
                    await stopped.wait()
                stopped.clear()
            assert not operator.complete
            kube_cluster.kubectl("delete", "namespace", f"{namespace}-{turn}", "--wait=false")
        left = {task.get_name() for task in asyncio.all_tasks()} - {task.get_name() for task in bystanders}
    assert not any(task.done() for task in bystanders)
    for task in bystanders:
        task.cancel()
    current = asyncio.current_task()
    assert current is not None
    assert left == {current.get_name()}
    assert version() == before


async def test_the_mark_of_another_operator_stays(kube_cluster: ApiServer, namespace: str) -> None:
    """Kopf takes its own finalizer off whatever it sees; others use kopf too, with its default name for it."""
    meta = {"name": CONFIG_MAP, "namespace": namespace, "finalizers": ["kopf.zalando.org/KopfFinalizerMarker"]}
    obj = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta}
    kube_cluster.kubectl("create", "-f", "-", text=json.dumps(obj))
    async with api(kube_cluster) as made:
        writer = RootCertificates(
            made, namespace, lambda: "roots", lambda labels: namespace in labels.values(), signals=no_signals
        )
        async with running(writer):
            await until(lambda: bundle_in(kube_cluster, namespace) == "roots")
            kube_cluster.kubectl("annotate", "cm", CONFIG_MAP, "-n", namespace, "a=b")
            await asyncio.sleep(0.5)
    held = json.loads(kube_cluster.kubectl("get", "cm", CONFIG_MAP, "-n", namespace, "-o", "json"))
    kube_cluster.kubectl("patch", "cm", CONFIG_MAP, "-n", namespace, "-p", '{"metadata": {"finalizers": null}}')
    assert held["metadata"]["finalizers"] == meta["finalizers"]
    assert held["metadata"]["annotations"] == {"a": "b"}


async def test_a_namespace_that_refuses_delays_no_other(own_kube_cluster: ApiServer) -> None:
    cluster = own_kube_cluster
    for name in ("istio-system", "refusing"):
        cluster.kubectl("create", "namespace", name)
    cluster.kubectl("apply", "-f", "-", text=json.dumps({"apiVersion": "v1", "kind": "List", "items": REFUSING}))
    await until(lambda: _refuses(cluster))
    async with api(cluster) as made:
        writer = RootCertificates(made, "istio-system", lambda: "roots", signals=no_signals)
        async with running(writer):
            await until(lambda: bundle_in(cluster, "default") == "roots")
            await asyncio.sleep(4)  # by now the one that refuses waits for seconds
            for name in ("new", "newer"):
                cluster.kubectl("create", "namespace", name)
                await until(lambda name=name: bundle_in(cluster, name) == "roots")  # type: ignore[misc]
            assert not bundle_in(cluster, "refusing")
            cluster.kubectl("delete", "validatingadmissionpolicybinding", "refusing")
            await until(lambda: bundle_in(cluster, "refusing") == "roots")


def _refuses(cluster: ApiServer) -> bool:
    try:
        cluster.kubectl("create", "cm", "probe", "-n", "refusing", "--dry-run=server")
    except Exception:  # noqa: BLE001 - whatever kubectl says
        return True
    return False


async def test_what_goes_while_the_watch_is_cut_is_noticed(own_kube_cluster: ApiServer, tmp_path: Path) -> None:
    """Kopf tells of no object that a second list does not have."""
    cluster = own_kube_cluster
    cluster.kubectl("create", "namespace", "istio-system")
    async with Relay(cluster.addresses.api_port) as relay:
        path = tmp_path / "through-relay"
        path.write_text(cluster.kubeconfig.read_text().replace(f":{cluster.addresses.api_port}", f":{relay.port}"))
        async with api(cluster, path) as made:
            writer = RootCertificates(made, "istio-system", lambda: "roots", signals=no_signals)
            async with running(writer):
                await until(lambda: bundle_in(cluster, "default") == "roots")
                relay.open.clear()
                await relay.cut()
                cluster.kubectl("delete", "cm", CONFIG_MAP, "-n", "default")
                for number in range(3):
                    cluster.kubectl("create", "cm", f"other-{number}")
                await compact(cluster)
                await _restarted(cluster)  # the watch cache, which would remember
                relay.open.set()
                await until(lambda: bundle_in(cluster, "default") == "roots")


async def _restarted(cluster: ApiServer) -> None:
    cluster.api.stop()
    cluster.api.start()
    await asyncio.to_thread(cluster.wait_ready)


async def test_a_right_that_is_missing_is_told_and_tried_again(
    kube_cluster: ApiServer, namespace: str, tmp_path: Path, capsys: Any
) -> None:
    own = kube_cluster.kubectl("create", "token", "default", "-n", namespace).strip()
    poor = kube_cluster.write_kubeconfig(tmp_path / "poor", own)
    async with api(kube_cluster, poor) as made:
        operator = Operator(made, (Kind(NAMESPACES, named, lambda _: None),), lambda: None)
        async with running(operator):
            await asyncio.sleep(1.5)
            assert not operator.complete
            role = ("create", "clusterrolebinding", namespace, "--clusterrole=view")
            kube_cluster.kubectl(*role, f"--serviceaccount={namespace}:default")
            await until(lambda: operator.complete)
    kube_cluster.kubectl("delete", "clusterrolebinding", namespace)
    told = capsys.readouterr().out
    assert "controllers.watch_ended" in told
    assert "namespaces is forbidden" in told


async def test_an_object_that_we_cannot_read_is_our_mistake(kube_cluster: ApiServer) -> None:
    """Kopf would go on without it."""

    def wrong(_: Any) -> tuple[str, str]:
        raise ZeroDivisionError

    async with api(kube_cluster) as made:
        operator = Operator(made, (Kind(NAMESPACES, wrong, lambda _: None),), lambda: None)
        async with patience():
            (ended,) = await asyncio.gather(operator.run(), return_exceptions=True)
    assert isinstance(ended, ZeroDivisionError)
