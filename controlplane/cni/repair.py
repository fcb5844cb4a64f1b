"""Mends pods that began while the plugin was not in place: their check ended with 126, and goes on failing till then.

Of three ways the first that is enabled is taken: their rules are made now; the pod is deleted, for its owner to make
another; it is labelled, for somebody to look after. Reference: ``cni/pkg/repair`` of Istio.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import structlog

from controlplane.agent.interception.network_namespace import NamespaceError, network_namespace
from controlplane.agent.interception.validation import FAILED
from controlplane.cni.decision import (
    STATUS,
    VALIDATION,
    PassedOver,
    UnusablePodError,
    decision,
    uses_node_network,
)
from controlplane.cni.kubernetes import Api, ApiError
from controlplane.cni.metrics import Metrics
from controlplane.cni.redirection import RedirectionError, redirect

METRIC = "istio_cni_repair_pods_repaired_total"
Json = Mapping[str, Any]
Way = Literal["repair", "delete", "label"]

log = structlog.get_logger(__name__)


class UnmendedError(Exception):
    """A pod could not be mended; the message says why."""


@dataclass(frozen=True, slots=True)
class Repair:
    """Mends the broken pods of one ``node``; ``processes`` is the folder of the node's processes, ``/proc`` there.

    ``label`` is the key and value that a labelled pod gets.
    """

    api: Api
    metrics: Metrics
    node: str
    way: Way = "repair"
    processes: Path = Path("/host/proc")
    label: tuple[str, str] = ("cni.istio.io/uninitialized", "true")
    native_nftables: bool = False
    done: set[str] = field(default_factory=set)
    """UIDs of pods that were mended and have not noticed yet: the kubelet lets them wait before they look again."""

    def once(self) -> int:
        """Look at all pods of the node, mend those that are broken, and return how many. Raises ``ApiError``."""
        broken = {pod["metadata"]["uid"]: pod for pod in self.api.pods_of(self.node) if is_broken(pod)}
        self.done.intersection_update(broken)
        mended = {uid for uid, pod in broken.items() if uid not in self.done and self._mended(pod)}
        self.done.update(mended)
        return len(mended)

    def _mended(self, pod: Json) -> bool:
        metadata = pod["metadata"]
        namespace, name = metadata["namespace"], metadata["name"]
        if self.way == "label" and (metadata.get("labels") or {}).get(self.label[0]) == self.label[1]:
            return False
        try:
            self._mend(pod)
        except (ApiError, UnmendedError) as error:
            log.warning("cni.repair_failed", namespace=namespace, name=name, way=self.way, reason=str(error))
            self.metrics.count(METRIC, type=self.way, result="fail")
            return False
        except Exception:  # our own failure, with one pod: the others, and the plugin, do not wait for it
            log.exception("cni.repair_failed", namespace=namespace, name=name, way=self.way)
            self.metrics.count(METRIC, type=self.way, result="fail")
            return False
        log.info("cni.repaired", namespace=namespace, name=name, way=self.way)
        self.metrics.count(METRIC, type=self.way, result="success")
        return True

    def _mend(self, pod: Json) -> None:
        metadata = pod["metadata"]
        namespace, name, uid = metadata["namespace"], metadata["name"], metadata["uid"]
        if self.way == "delete":
            self._tell(pod, "DeleteBrokenPod", "pod detected as broken, deleting: its traffic is not led to its proxy")
            self.api.delete(namespace, name, uid)
        elif self.way == "label":
            self._tell(pod, "LabelBrokenPod", "pod detected as broken, labelling: its traffic is not led to its proxy")
            self.api.label(namespace, name, dict([self.label]))
        else:
            self._lead(pod)

    def _lead(self, pod: Json) -> None:
        file = network_of(self.processes, pod["metadata"]["uid"])
        if file is None:
            raise UnmendedError("no process of it is found")
        try:
            found = decision(pod, native_nftables=self.native_nftables)
            if isinstance(found, PassedOver):
                raise UnmendedError(f"its traffic is not to be led: {found.reason}")
            with file.open("rb") as network:  # one that is open stays the same, whoever gets the number of the process
                if is_node_network(self.processes, network.fileno(), pod):
                    raise UnmendedError("a process of it is in the node's own network")
                redirect(found, network.fileno())
        except (OSError, UnusablePodError, NamespaceError, RedirectionError) as error:
            raise UnmendedError(str(error)) from error

    def _tell(self, pod: Json, reason: str, message: str) -> None:
        metadata, now = pod["metadata"], datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        involved = {"apiVersion": "v1", "kind": "Pod", **{key: metadata[key] for key in ("namespace", "name", "uid")}}
        self.api.create_event(
            metadata["namespace"],
            {
                "apiVersion": "v1",
                "kind": "Event",
                "metadata": {"generateName": f"{metadata['name']}.", "namespace": metadata["namespace"]},
                "involvedObject": involved,
                "reason": reason,
                "message": message,
                "type": "Warning",
                "count": 1,
                "firstTimestamp": now,
                "lastTimestamp": now,
                "source": {"component": "istio-cni", "host": self.node},
            },
        )


def is_broken(pod: Json) -> bool:
    """Whether a pod that was injected has found out that its traffic is not led to its proxy, and waits for that."""
    if STATUS not in (pod["metadata"].get("annotations") or {}) or "deletionTimestamp" in pod["metadata"]:
        return False
    if uses_node_network(pod):
        return False
    statuses: Iterable[Json] = (pod.get("status") or {}).get("initContainerStatuses") or ()
    for status in statuses:
        if status.get("name") == VALIDATION:
            states = (status.get("state") or {}, status.get("lastState") or {})
            if "running" in states[0] or (states[0].get("terminated") or {}).get("exitCode") == 0:
                return False
            return any((each.get("terminated") or {}).get("exitCode") == FAILED for each in states)
    return False


def network_of(processes: Path, uid: str) -> Path | None:
    """Return the file of a pod's network namespace: that of any process in a control group which has the pod's UID.

    Kubelets write the UID with ``-``, or with ``_`` where systemd makes the groups.
    """
    names = (uid, uid.replace("-", "_"))
    for each in processes.glob("[0-9]*"):
        try:
            groups = (each / "cgroup").read_text(encoding="ascii", errors="replace")
        except OSError:  # it has ended meanwhile
            continue
        if any(name in groups for name in names):
            return each / "ns" / "net"
    return None


def is_node_network(processes: Path, network: int, pod: Json) -> bool:
    """Whether an open network namespace is the one that the node's first process is in.

    Where AppArmor or its like lets nobody look at that process, it counts as the node's if it is not known to be the
    pod's: if it lacks an address of the pod, or has one of the node. Raises ``NamespaceError`` if nobody may enter it.
    """
    try:
        first = (processes / "1" / "ns" / "net").stat()
    except OSError as error:
        log.debug("cni.node_network_unknown", reason=str(error))
        own, others = _addresses(pod, "podIP"), _addresses(pod, "hostIP")
        with network_namespace(network):
            return not own or not all(map(_is_here, own)) or any(map(_is_here, others))
    return os.path.samestat(first, os.fstat(network))


def _addresses(pod: Json, name: str) -> set[str]:
    """Return ``podIP`` or ``hostIP`` of a pod, and all of ``podIPs`` or ``hostIPs``."""
    status = pod.get("status") or {}
    stated = [status.get(name), *(each.get("ip") for each in status.get(f"{name}s") or ())]
    return {each for each in stated if each}


def _is_here(address: str) -> bool:
    """Whether this thread's network has an address: only then can a socket have it."""
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True
