"""Whether the workload can be sent traffic: Envoy has its first configuration, its workers run, nothing is missing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta

from controlplane.agent.http.client import NoAnswerError, Reply

_UPDATES = "/stats?usedonly&filter=^(cluster_manager\\.cds|listener_manager\\.lds)\\.(update_success|update_rejected)$"
_STATE = "/stats?usedonly&filter=^(server\\.state|listener_manager\\.workers_started)"
_TIMEOUT = timedelta(seconds=3)
_STATES = ("LIVE", "DRAINING", "PRE_INITIALIZING", "INITIALIZING")

Admin = Callable[[str, str, timedelta], Awaitable[Reply]]


class Readiness:
    """Asks Envoy; what was true once is not asked again: configuration stays, and so do workers."""

    def __init__(
        self,
        admin: Admin | None,
        *,
        bootstrap: Callable[[], str] = str,
        name_table: Callable[[], bool] | None = None,
    ) -> None:
        """``admin`` of ``None`` is a workload without Envoy.

        ``bootstrap`` says what an application without a proxy lacks, ``name_table`` whether names can be answered.
        """
        self._bootstrap = bootstrap
        self._admin = admin
        self._name_table = name_table
        self._configured = admin is None
        self._live = admin is None
        self._ended = ""

    def end(self, cause: str) -> None:
        """Be ready no more: it ends, for this reason."""
        self._ended = cause

    async def problem(self) -> str:
        """Return why the workload is not ready, empty where it is."""
        return await self.proxy_problem() or self._bootstrap() or self._names_problem()

    async def proxy_problem(self) -> str:
        """Return why the proxy is not ready, empty where it is."""
        try:
            if not self._configured and (problem := _configuration_problem(await self._stats(_UPDATES))):
                return problem
            self._configured = True
            if not self._live and (problem := _state_problem(await self._stats(_STATE))):
                return problem
            self._live = True
        except NoAnswerError as error:
            return f"Envoy does not answer: {error}"
        return f"server is terminated: {self._ended}" if self._ended else ""

    def _names_problem(self) -> str:
        if self._name_table is not None and not self._name_table():
            return "the table of names was not received"
        return ""

    async def _stats(self, target: str) -> Mapping[str, int]:
        if self._admin is None:
            return {}
        reply = await self._admin(target, "GET", _TIMEOUT)
        pairs = (line.rpartition(":") for line in reply.body.decode(errors="replace").splitlines())
        return {name: int(value) for name, _, value in pairs if value.strip().isdecimal()}


def _configuration_problem(stats: Mapping[str, int]) -> str:
    clusters = stats.get("cluster_manager.cds.update_success", 0)
    listeners = stats.get("listener_manager.lds.update_success", 0)
    if clusters and listeners:
        return ""
    refused = [stats.get(f"{name}.update_rejected", 0) for name in ("cluster_manager.cds", "listener_manager.lds")]
    counts = (
        f"cds updates: {clusters} successful, {refused[0]} rejected; "
        f"lds updates: {listeners} successful, {refused[1]} rejected"
    )
    if any(refused):
        return f"config received from XDS server, but was rejected: {counts}"
    if clusters or listeners:
        return f"config not fully received from XDS server: {counts}"
    return f"config not received from XDS server (is Istiod running?): {counts}"


def _state_problem(stats: Mapping[str, int]) -> str:
    state, workers = stats.get("server.state"), stats.get("listener_manager.workers_started")
    if state is None or workers is None:
        return "Envoy does not tell its state"
    if state:
        return f"server is not live, current state is: {_STATES[state] if state < len(_STATES) else state}"
    return "" if workers == 1 else "workers have not yet started"
