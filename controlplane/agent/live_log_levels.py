"""Follows the annotations of the running pod: a new level of Envoy's log is in force without a restart.

The kubelet writes the file of annotations anew when somebody changes them, within about a minute.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

import structlog

from controlplane.agent.environment import StartError
from controlplane.agent.envoy_process import EnvoyProcess, log_levels
from controlplane.agent.http.client import NoAnswerError
from controlplane.agent.options import ANNOTATIONS, Flags
from controlplane.agent.proxy_config import annotation_lines

LEVEL, COMPONENTS = "sidecar.istio.io/logLevel", "sidecar.istio.io/componentLogLevel"
LOOK_AGAIN_SECONDS = 5.0
_OK = 200

log = structlog.get_logger(__name__)


class LiveLogLevels:
    """Tells Envoy of each change of the two annotations. One that is taken away is followed by what the flags say."""

    def __init__(self, envoy: EnvoyProcess, flags: Flags, annotations: Mapping[str, str]) -> None:
        """``annotations`` are those that the pod started with, which its flags were made of."""
        self._envoy = envoy
        self._flags = flags
        self._said = _levels(annotations)
        self._state: object = None

    async def run(self) -> None:
        """Look again and again until cancelled."""
        while True:
            await asyncio.sleep(LOOK_AGAIN_SECONDS)
            state = _state(ANNOTATIONS)
            if state is not None and state != self._state:
                self._state = state
                text = ANNOTATIONS.read_text(encoding="utf-8", errors="replace")
                await self.follow(dict(annotation_lines(text)))

    async def follow(self, annotations: Mapping[str, str]) -> None:
        """Apply what these annotations say, if it is something else than before."""
        said = _levels(annotations)
        if said == self._said:
            return
        self._said = said
        try:
            level, components = log_levels(
                said[0] or self._flags.proxy_log_level, said[1] or self._flags.proxy_component_log_level
            )
            await self._tell(f"level={quote(level)}")
            if components:
                await self._tell(f"paths={quote(components)}")
        except (StartError, NoAnswerError) as error:
            log.warning("agent.log_level_refused", level=said[0], components=said[1], reason=str(error))
            return
        log.info("agent.log_level_changed", level=level, components=components)

    async def _tell(self, query: str) -> None:
        """Tell Envoy. Raises ``NoAnswerError`` when it refuses."""
        reply = await self._envoy.admin(f"/logging?{query}", "POST")
        if reply.status != _OK:
            raise NoAnswerError(f"Envoy refused it: {reply.body[:200].decode(errors='replace').strip()}")


def _levels(annotations: Mapping[str, str]) -> tuple[str, str]:
    return annotations.get(LEVEL, ""), annotations.get(COMPONENTS, "")


def _state(path: Path) -> object:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino
