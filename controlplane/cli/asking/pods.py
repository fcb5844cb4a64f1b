"""Ways to pods, the control plane's or others, through the API server, as ``kubectl port-forward`` makes them."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import structlog

from controlplane.cli.fetch import Unanswered
from controlplane.cli.kubeconfig import usual_kubeconfig
from controlplane.documents.json_reader import json_value
from controlplane.watchers.kubernetes.api import JSON, Api, connect
from controlplane.watchers.kubernetes.errors import ConfigurationError, RefusedError, UnreachableError
from controlplane.watchers.kubernetes.port_forward import PortForward
from controlplane.watchers.kubernetes.timing import Timing

LABEL = "app=istiod"
T = TypeVar("T")


@contextmanager
def forwarded(
    kubeconfig: str, context: str, namespace: str, port: int, pod: str = ""
) -> Iterator[list[tuple[str, str]]]:
    """Give name and local address of each pod of the control plane that is ready, or of the pod that is named.

    They last until the end.

    Raises:
        Unanswered: the cluster does not answer, or has no such pod.
    """
    with _loop() as wait:
        pods = _Pods(namespace, port)
        try:
            yield _opened(lambda: wait(pods.open(kubeconfig or usual_kubeconfig(context), context, pod)))
        finally:
            wait(pods.close())


def _opened(open_: Callable[[], T]) -> T:
    try:
        return open_()
    except (ConfigurationError, UnreachableError, RefusedError) as error:
        raise Unanswered(f"The cluster cannot be asked: {error}") from error


@contextmanager
def _loop() -> Iterator[Callable[[Awaitable[T]], T]]:
    """Give what waits for work of an event loop in a thread of its own."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))  # told once, below
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def wait(work: Awaitable[T]) -> T:
        return asyncio.run_coroutine_threadsafe(_awaited(work), loop).result()

    try:
        yield wait
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _awaited(work: Awaitable[T]) -> T:
    return await work


class _Pods:
    def __init__(self, namespace: str, port: int) -> None:
        self._namespace = namespace
        self._port = port
        self._api: Api | None = None
        self._forwards: list[PortForward] = []

    async def open(self, kubeconfig: str, context: str, pod: str) -> list[tuple[str, str]]:
        self._api = await connect(kubeconfig, context, Timing())
        found = []
        for name in await (self._named(self._api, pod) if pod else self._ready(self._api)):
            forward = PortForward(self._api, self._namespace, name, self._port)
            self._forwards.append(forward)
            found.append((f"{name}.{self._namespace}", await forward.open()))
        return found

    async def _named(self, api: Api, pod: str) -> list[str]:
        """Return a pod's name, once it is certain that it is there."""
        await api.get(f"/api/v1/namespaces/{self._namespace}/pods/{pod}", {}, JSON)
        return [pod]

    async def _ready(self, api: Api) -> list[str]:
        path = f"/api/v1/namespaces/{self._namespace}/pods"
        listed = json_value(await api.get(path, {"labelSelector": LABEL}, JSON))
        ready = sorted(pod["metadata"]["name"] for pod in listed.get("items") or () if _is_ready(pod))
        if not ready:
            count = len(listed.get("items") or ())
            reason = f"none of its {count} pods is ready" if count else f"it has no pod with the label {LABEL}"
            raise Unanswered(f"There is no control plane in namespace {self._namespace}: {reason}")
        return ready

    async def close(self) -> None:
        for forward in self._forwards:
            await forward.close()
        if self._api is not None:
            await self._api.close()


def _is_ready(pod: Any) -> bool:  # noqa: ANN401 - JSON
    conditions = pod.get("status", {}).get("conditions") or ()
    gone = pod["metadata"].get("deletionTimestamp")
    return not gone and any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
