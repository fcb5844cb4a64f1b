"""Requests whose answer is another after a change."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from controlplane.plan.question import Asking
from controlplane.simulate.mesh import Mesh
from controlplane.simulate.questions import WrongQuestionError, explained_request


async def answered(mesh: Mesh, requests: Iterable[Asking]) -> list[dict[str, Any]]:
    """Return the explanation of each request; ``{"error": reason}`` where there is none."""
    return [await _answer(mesh, each) for each in requests]


async def _answer(mesh: Mesh, asked: Asking) -> dict[str, Any]:
    origin = dict(asked.pairs).get("from", "")
    proxy = mesh.stated(origin, asked.proxy.model_dump()) if asked.proxy is not None else None
    try:
        return await explained_request(mesh, asked.pairs, proxy)
    except WrongQuestionError as error:
        return {"error": str(error)}


def differ(before: dict[str, Any], after: dict[str, Any]) -> bool:
    """Whether something else becomes of a request: how it is decided, and by which object, does not matter."""
    return bool(_becomes(before) != _becomes(after))


def _becomes(answer: dict[str, Any]) -> Any:  # noqa: ANN401 - JSON
    if "error" in answer:
        return answer["error"]
    servers = [(each["endpoint"], _without_source(each["outcome"])) for each in answer["servers"]]
    return answer["result"], _without_source(answer["outcome"]), servers


def _without_source(value: Any) -> Any:  # noqa: ANN401 - JSON
    """Return what becomes of a request without what says why."""
    if isinstance(value, dict):
        return {name: _without_source(each) for name, each in value.items() if name not in {"source", "steps"}}
    return [_without_source(each) for each in value] if isinstance(value, list) else value
