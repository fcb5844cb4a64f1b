"""The agent of a node: puts the plugin in place, answers it, looks after both, and mends pods that began before."""

from __future__ import annotations

import socket
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import structlog

from controlplane.cni import files
from controlplane.cni.configuration import NAME, Configuration, ConfigurationError
from controlplane.cni.kubernetes import Api, ApiError
from controlplane.cni.metrics import Metrics
from controlplane.cni.repair import Repair, Way
from controlplane.cni.server import Answers, PluginServer

_LOOK_SECONDS = 1.0
_REPAIR_EVERY = 3
"""A look at pods of the node comes with each third look at the files."""

MOST_CALLERS = 32
"""Callers that are answered on a port of pages at a time."""

_VERSION = "0.3.1"
_OWNED = "02-istio-cni.conflist"
"""Istio's name of the file that the agent owns: before those that networks write."""
_WAYS: tuple[tuple[str, Way], ...] = (
    ("REPAIR_REPAIR_PODS", "repair"),
    ("REPAIR_DELETE_PODS", "delete"),
    ("REPAIR_LABEL_PODS", "label"),
)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Settings:
    """Where things are, as the agent sees them; variables have the names of Istio's ``install-cni``.

    ``way`` is how broken pods are mended, ``None``: not at all.
    """

    node: str
    namespace: str = "istio-system"
    programs: Path = Path("/host/opt/cni/bin")
    networks: Path = Path("/host/etc/cni/net.d")
    run: Path = Path("/var/run/istio-cni")
    processes: Path = Path("/host/proc")
    file: str = ""
    chained: bool = True
    owned: str = ""
    excluded: tuple[str, ...] = ("kube-system",)
    native_nftables: bool = False
    way: Way | None = "repair"
    label: tuple[str, str] = ("cni.istio.io/uninitialized", "true")
    health_port: int = 8000
    metrics_port: int = 15014

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Settings:
        """Read variables. Raises ``ValueError`` with the name of the one that makes no sense."""

        def truth(name: str, *, default: bool) -> bool:
            text = environment.get(name, "")
            if text not in {"", "true", "false"}:
                raise ValueError(f"{name}: {text!r} is neither true nor false")
            return default if not text else text == "true"

        if not environment.get("NODE_NAME"):
            raise ValueError("NODE_NAME: is required")
        ways = [way for name, way in _WAYS if truth(name, default=way == "repair")]
        enabled = truth("REPAIR_ENABLED", default=True) and ways
        excluded = environment.get("EXCLUDE_NAMESPACES", "kube-system")
        owned = environment.get("ISTIO_OWNED_CNI_CONF_FILENAME") or _OWNED
        if not owned.endswith(".conflist") or "/" in owned:
            raise ValueError(f"ISTIO_OWNED_CNI_CONF_FILENAME: {owned!r} is no name that ends with .conflist")
        file = environment.get("CNI_CONF_NAME", "")
        if "/" in file or file in {".", ".."}:
            raise ValueError(f"CNI_CONF_NAME: {file!r} is no name of a file")
        chained, owns = truth("CHAINED_CNI_PLUGIN", default=True), truth("ISTIO_OWNED_CNI_CONFIG", default=False)
        if owns and not chained:
            raise ValueError("ISTIO_OWNED_CNI_CONFIG: only a plugin that is chained (CHAINED_CNI_PLUGIN) can have it")
        return cls(
            node=environment["NODE_NAME"],
            namespace=environment.get("POD_NAMESPACE") or "istio-system",
            file=file,
            chained=chained,
            owned=owned if owns else "",
            excluded=tuple(each.strip() for each in excluded.split(",") if each.strip()),
            native_nftables=truth("NATIVE_NFTABLES", default=False),
            way=ways[0] if enabled else None,
            label=(
                environment.get("REPAIR_LABEL_KEY") or "cni.istio.io/uninitialized",
                environment.get("REPAIR_LABEL_VALUE") or "true",
            ),
        )

    def entry(self) -> dict[str, object]:
        """Return the plugin's entry in the configuration of the runtime."""
        return {
            "cniVersion": _VERSION,
            "name": NAME,
            "type": NAME,
            "plugin_log_level": "info",
            "cni_agent_run_dir": str(self.run),
            "ambient_enabled": False,
            "exclude_namespaces": list(self.excluded),
            "pod_namespace": self.namespace,
            "native_nftables": self.native_nftables,
        }


class NodeAgent:
    """Runs until it is told to stop; then the plugin goes, so that pods begin without it rather than not at all."""

    def __init__(self, settings: Settings, api: Api) -> None:
        self._settings = settings
        self._api = api
        self._metrics = Metrics()
        self._problem = "nothing has been put in place yet"
        self._stopping = threading.Event()
        self._mender = (
            None
            if settings.way is None
            else Repair(
                api,
                self._metrics,
                settings.node,
                settings.way,
                settings.processes,
                settings.label,
                settings.native_nftables,
            )
        )
        self._configuration = Configuration(
            settings.networks, settings.entry(), settings.file, settings.chained, settings.owned
        )

    def stop(self) -> None:
        """Have ``run`` end."""
        self._stopping.set()

    def run(self) -> None:
        """Run. Raises ``OSError`` where a port or the socket is not to be had, ``files.FilesError``."""
        settings = self._settings
        answers = Answers(self._api.pod, self._metrics, native_nftables=settings.native_nftables)
        pages = partial(Pages, self)
        with (
            PluginServer(settings.run / "plugin.sock", answers) as plugin,
            PageServer(("", settings.health_port), pages) as health,
            PageServer(("", settings.metrics_port), pages) as metrics,
        ):
            servers = (plugin, health, metrics)
            for server in servers:
                threading.Thread(target=server.serve_forever, daemon=True).start()
            try:
                self._look_after()
            finally:
                self._remove()
                for server in servers:
                    server.shutdown()

    def page(self, path: str) -> tuple[int, str]:
        """Return the status and the text of a page."""
        match path.partition("?")[0]:
            case "/healthz":
                return HTTPStatus.OK, "ok"
            case "/readyz":
                return (HTTPStatus.SERVICE_UNAVAILABLE, self._problem) if self._problem else (HTTPStatus.OK, "ok")
            case "/metrics":
                return HTTPStatus.OK, self._metrics.text()
            case _:
                return HTTPStatus.NOT_FOUND, "not found"

    def _look_after(self) -> None:
        count = 0
        while True:
            self._put()
            if count % _REPAIR_EVERY == 0:
                self._repair()
            count += 1
            if self._stopping.wait(_LOOK_SECONDS):
                return

    def _put(self) -> None:
        """Put in place what is not, the program before what names it."""
        try:
            changed = files.install(self._settings.programs)
            changed = self._configuration.put() or changed
        except (ConfigurationError, OSError) as error:
            if str(error) != self._problem:
                log.warning("cni.not_in_place", reason=str(error))
            self._problem = str(error)
            return
        if changed:
            log.info("cni.in_place", configuration=str(self._settings.networks), program=str(self._settings.programs))
            self._metrics.count("istio_cni_install_total", result="success")
        self._problem = ""

    def _remove(self) -> None:
        """Take away what was put in place, what names the program first."""
        try:
            self._configuration.remove()
            files.remove(self._settings.programs)
        except OSError as error:
            log.warning("cni.not_removed", reason=str(error))
        else:
            log.info("cni.removed")

    def _repair(self) -> None:
        if self._mender is None:
            return
        try:
            self._mender.once()
        except ApiError as error:
            log.warning("cni.pods_unread", reason=str(error))
        except Exception:  # our own failure: the plugin stays in place, and pods are looked at again
            log.exception("cni.repair_failed")


class PageServer(ThreadingHTTPServer):
    """Has so many callers at once; for one more the oldest has to go, so that who asks nothing keeps nobody out."""

    request_queue_size = 4 * MOST_CALLERS

    def __init__(self, *arguments: Any) -> None:  # noqa: ANN401 - as its base has them
        self._callers: dict[socket.socket, None] = {}
        self._lock = threading.Lock()
        super().__init__(*arguments)

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - as its base has it
        """Answer a caller in a thread."""
        with self._lock:
            if len(self._callers) >= MOST_CALLERS:
                oldest = next(iter(self._callers))
                del self._callers[oldest]
                with suppress(OSError):  # it has gone by itself
                    oldest.shutdown(socket.SHUT_RDWR)
            self._callers[request] = None
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:  # noqa: ANN401 - as its base has it
        """Let go of a caller that was answered, or went."""
        with self._lock:
            self._callers.pop(request, None)
        super().shutdown_request(request)


class Pages(BaseHTTPRequestHandler):
    """The pages of an agent."""

    timeout = 5
    """Seconds that a caller may say nothing."""

    def __init__(self, agent: NodeAgent, *arguments: object) -> None:
        self._agent = agent
        super().__init__(*arguments)  # type: ignore[arg-type] # as the server calls it

    def do_GET(self) -> None:
        """Answer with a page."""
        status, text = self._agent.page(self.path)
        self.send_response(status)
        self.send_header("content-type", "text/plain; charset=utf-8")
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        """Say nothing of requests."""
