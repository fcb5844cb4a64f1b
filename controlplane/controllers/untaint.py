"""Takes the taint off nodes where the CNI plugin is in place: before, no pod of the mesh may begin there.

Whoever makes nodes gives it to them. Reference: Istio's ``pilot/pkg/controllers/untaint``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, NamedTuple

import structlog
from aiohttp import ClientError
from kubernetes.aio.client import ApiClient, ApiException, CoreV1Api

from controlplane.controllers.operator import Body, Kind, Operator
from controlplane.controllers.work_queue import WorkQueue

log = structlog.get_logger(__name__)

TAINT = "cni.istio.io/not-ready"
AGENTS = "k8s-app=istio-cni-node"
"""The label of the plugin's agents, of which each node has one."""

_TIMEOUT = 10  # seconds
Taint = Mapping[str, Any]


class _Agent(NamedTuple):
    node: str
    ready: bool


class Untaint:
    """Looks after all nodes while ``run`` runs. Run it on the leader only.

    ``namespace`` is that of the agents. The verbs it needs: list and watch of nodes and pods, patch of nodes.
    """

    def __init__(self, client: ApiClient, namespace: str, *, signals: Callable[[], None]) -> None:
        """Prepare; ``signals`` is what an ``Operator`` needs."""
        self._api = CoreV1Api(client)
        self._namespace = namespace
        self._nodes: dict[str, tuple[Taint, ...]] = {}
        self._agents: dict[str, _Agent] = {}
        self._queue = WorkQueue(self._right)
        kinds = (
            Kind(("", "v1", "nodes"), _node, self._node_changed, known=self._nodes),
            Kind(("", "v1", "pods"), _agent, self._agent_changed, labels=AGENTS, known=self._agents),
        )
        self._operator = Operator(client, kinds, signals)

    async def run(self) -> None:
        """Take taints off until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._operator.run())
            group.create_task(self._queue.run())

    def _node_changed(self, name: str) -> None:
        self._queue.add(*([name] if name else self._nodes))

    def _agent_changed(self, key: str) -> None:
        if (agent := self._agents.get(key)) is not None and agent.node:
            self._queue.add(agent.node)

    async def _right(self, node: str) -> bool:
        """Take the taint off one node if it has it and needs it no more; return whether nothing is left to do."""
        operations = without(self._nodes.get(node, ()))
        if not (operations and self._operator.complete and self._is_in_place(node)):
            return True
        try:
            await self._api.patch_node(node, operations, _request_timeout=_TIMEOUT)
        except ApiException as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return True
            log.warning("controllers.taint_not_removed", node=node, reason=f"{error.status} {error.reason}")
            return False
        except (ClientError, OSError, TimeoutError) as error:
            log.warning("controllers.taint_not_removed", node=node, reason=str(error) or type(error).__name__)
            return False
        log.info("controllers.taint_removed", node=node, taint=TAINT)
        return True

    def _is_in_place(self, node: str) -> bool:
        """Whether an agent on a node is ready, which it is once it has put the plugin in place."""
        prefix = f"{self._namespace}/"
        return any(each == (node, True) and key.startswith(prefix) for key, each in self._agents.items())


def without(taints: Sequence[Taint]) -> list[dict[str, Any]]:
    """Return the JSON patch that takes the taint off a node, and changes nothing if its taints are others by then."""
    found = [index for index, each in enumerate(taints) if each.get("key") == TAINT]
    return [
        operation
        for index in reversed(found)
        for operation in (
            {"op": "test", "path": f"/spec/taints/{index}", "value": dict(taints[index])},
            {"op": "remove", "path": f"/spec/taints/{index}"},
        )
    ]


def _node(obj: Body) -> tuple[str, tuple[Taint, ...]]:
    return obj["metadata"]["name"], tuple(dict(each) for each in obj.get("spec", {}).get("taints") or ())


def _agent(obj: Body) -> tuple[str, _Agent]:
    metadata, conditions = obj["metadata"], obj.get("status", {}).get("conditions") or ()
    ready = any(each.get("type") == "Ready" and each.get("status") == "True" for each in conditions)
    key = f"{metadata['namespace']}/{metadata['name']}"
    return key, _Agent(obj.get("spec", {}).get("nodeName") or "", ready and "deletionTimestamp" not in metadata)
