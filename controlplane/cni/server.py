"""Answers the plugin: reads the pod, decides, and makes its rules, each request in a thread of its own."""

from __future__ import annotations

import json
import os
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any

import structlog

from controlplane.cni.decision import Led, PassedOver, UnusablePodError, decision
from controlplane.cni.kubernetes import ApiError
from controlplane.cni.metrics import Metrics
from controlplane.cni.redirection import RedirectionError, redirect
from controlplane.documents.json_reader import json_value
from controlplane.documents.limits import UnreadableError

_LARGEST_REQUEST = 1 << 16
_TIMEOUT_SECONDS = 10.0
_TRIES, _PAUSE_SECONDS = 30, 1.0
MOST_AT_ONCE = 16
"""Pods whose rules are made at a time; the others wait."""

log = structlog.get_logger(__name__)

ReadPod = Callable[[str, str], Mapping[str, Any]]


class ProblemError(Exception):
    """Why a pod must not begin now; the runtime is told, and the kubelet tries again."""


class Answers:
    """What is done for one request of the plugin. Usable by several threads."""

    def __init__(
        self,
        read: ReadPod,
        metrics: Metrics,
        *,
        native_nftables: bool = False,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        """Prepare it; ``read`` returns a pod by its namespace and name and raises ``ApiError``."""
        self._read = read
        self._metrics = metrics
        self._native_nftables = native_nftables
        self._pause = pause
        self._places = threading.BoundedSemaphore(MOST_AT_ONCE)

    def answer(self, request: Mapping[str, Any], network: int) -> str:
        """Lead the traffic of a pod, if it is to be led; return what is wrong, empty where nothing is."""
        namespace, name = str(request.get("namespace")), str(request.get("name"))
        try:
            with self._places:
                result = self._decided(namespace, name, network)
        except ProblemError as error:
            log.warning("cni.refused", namespace=namespace, name=name, reason=str(error))
            self._metrics.count("istio_cni_pods_total", result="refused")
            return str(error)
        self._metrics.count("istio_cni_pods_total", result=result)
        return ""

    def _decided(self, namespace: str, name: str, network: int) -> str:
        try:
            found = decision(self._pod(namespace, name), native_nftables=self._native_nftables)
            match found:
                case PassedOver(reason):
                    log.debug("cni.passed_over", namespace=namespace, name=name, reason=reason)
                    return "passed_over"
                case Led():
                    redirect(found, network)
                    log.info("cni.led", namespace=namespace, name=name)
                    return "led"
        except (UnusablePodError, RedirectionError) as error:
            raise ProblemError(str(error)) from error

    def _pod(self, namespace: str, name: str) -> Mapping[str, Any]:
        """Return a pod, after some tries where the API server does not answer or does not know it yet."""
        for attempt in range(_TRIES):
            try:
                return self._read(namespace, name)
            except ApiError as error:
                final = error.status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}
                if final or attempt == _TRIES - 1:
                    raise ProblemError(f"the pod cannot be read: {error}") from error
            self._pause(_PAUSE_SECONDS)
        raise AssertionError("unreachable")


class PluginServer(socketserver.ThreadingUnixStreamServer):
    """Listens on a Unix socket that root alone may connect to."""

    daemon_threads = True

    def __init__(self, path: Path, answers: Answers) -> None:
        """Listen. A socket that an agent before this one left is replaced. Raises ``OSError``."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        super().__init__(str(path), _Handler)
        path.chmod(0o600)
        self.answers = answers

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - as its base has it
        """Log our own failure; the plugin sees a connection that ended, and the kubelet tries again."""
        del request, client_address
        log.exception("cni.answer_failed")  # noqa: LOG004 - it is called by one


class _Handler(socketserver.BaseRequestHandler):
    server: PluginServer

    def handle(self) -> None:
        connection: socket.socket = self.request
        connection.settimeout(_TIMEOUT_SECONDS)
        text, descriptors, _, _ = socket.recv_fds(connection, _LARGEST_REQUEST, 1)
        try:
            while part := connection.recv(_LARGEST_REQUEST):
                text += part
            request = json_value(text, limit=_LARGEST_REQUEST)
            if not descriptors or not isinstance(request, dict):
                problem = "the plugin asked without a network namespace"
            else:
                problem = self.server.answers.answer(request, descriptors[0])
        except UnreadableError as error:
            problem = f"the plugin asked for something that cannot be read: {error}"
        finally:
            for each in descriptors:
                os.close(each)
        connection.sendall(json.dumps({"problem": problem}).encode())
