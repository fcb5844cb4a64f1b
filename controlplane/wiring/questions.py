"""Questions that users ask a control plane while it runs, answered from what its proxies are served."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from controlplane.compiler.compiler import Compiler
from controlplane.model.proxy import Proxy


class Questions:
    """Answers from one compiler; ``connected`` gives its proxies. What answers is loaded with the first question."""

    def __init__(self, compiler: Compiler, connected: Callable[[], Mapping[str, Proxy]]) -> None:
        self._compiler = compiler
        self._connected = connected

    async def explain(self, pairs: Sequence[tuple[str, str]]) -> dict[str, Any]:
        """Return what becomes of a request: see ``simulate.questions``, and what that raises."""
        from controlplane.simulate.mesh import Mesh  # noqa: PLC0415 - many of Envoy's messages, for few
        from controlplane.simulate.questions import explained_request  # noqa: PLC0415 - the same

        return await explained_request(Mesh(self._compiler, self._connected()), pairs)
