"""The ConfigMaps in each namespace from which pods learn whom to trust, and whom no longer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus

import structlog
from aiohttp import ClientError
from kubernetes.aio.client import ApiClient, ApiException, CoreV1Api, V1ConfigMap, V1ObjectMeta, V1OwnerReference

from controlplane.controllers.operator import Body, Kind, Operator
from controlplane.controllers.work_queue import WorkQueue

log = structlog.get_logger(__name__)

CONFIG_MAP = "istio-ca-root-cert"
KEY = "root-cert.pem"
REVOKED_CONFIG_MAP = "istio-ca-crl"
REVOKED_KEY = "ca-crl.pem"
LABELS: Mapping[str, str] = {"istio.io/config": "true"}
WITHOUT = frozenset({"kube-public", "kube-node-lease", "local-path-storage"})
"""Namespaces that hold no workloads."""

_TIMEOUT = 10  # seconds


@dataclass(frozen=True, slots=True)
class _Held:
    """What a namespace's ConfigMap has of what we write."""

    bundle: str | None
    labelled: bool
    owners: frozenset[str]  # their uids


@dataclass(frozen=True, slots=True)
class _Namespace:
    uid: str
    labels: Mapping[str, str]


class RootCertificates:
    """Keeps the ConfigMap right in every namespace that ``selected`` accepts by name and labels.

    ``name`` is that of the ConfigMap, where it is not the usual one. ConfigMaps are owned by the namespace of the
    control plane, so that they go when it is removed; other data and labels in them are left alone. Run it on the
    leader only. A namespace that refuses is tried again later and later; others do not wait for it. ``signals`` is what
    an ``Operator`` needs.
    """

    name = CONFIG_MAP
    key = KEY

    def __init__(  # noqa: PLR0913 - what is written, where, and when
        self,
        client: ApiClient,
        system_namespace: str,
        bundle: Callable[[], str],
        selected: Callable[[Mapping[str, str]], bool] = lambda _labels: True,
        *,
        signals: Callable[[], None],
        name: str = "",
    ) -> None:
        self.name = name or self.name
        self._api = CoreV1Api(client)
        self._system_namespace = system_namespace
        self._bundle = bundle
        self._selected = selected
        self._namespaces: dict[str, _Namespace] = {}
        self._held: dict[str, _Held] = {}
        self._written: dict[str, _Held] = {}  # what the watch has not told of yet
        self._known_owner = ""
        self._ownerless = False  # and told
        self._queue = WorkQueue(self._right)
        self._operator = Operator(
            client,
            (
                Kind(("", "v1", "namespaces"), _namespace, self._namespace_changed, known=self._namespaces),
                Kind(
                    ("", "v1", "configmaps"),
                    self._config_map,
                    self._config_map_changed,
                    fields=f"metadata.name={self.name}",
                    known=self._held,
                ),
            ),
            signals,
        )
        self.writes = 0
        """Objects created or changed so far."""

    def changed(self) -> None:
        """Have every namespace looked at again: the bundle is another, or the selection of namespaces."""
        self._queue.add(*sorted(self._namespaces))

    async def run(self) -> None:
        """Keep them right until cancelled."""
        self._written.clear()
        self._known_owner = ""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._operator.run())
            group.create_task(self._queue.run())

    def _namespace_changed(self, name: str) -> None:
        if not name or (name == self._system_namespace and self._owner != self._known_owner):
            self._known_owner = self._owner
            self._ownerless = False
            self.changed()
        else:
            self._queue.add(name)

    def _config_map_changed(self, namespace: str) -> None:
        if not namespace:  # everything was read anew, and what was written before may have gone meanwhile
            self._written.clear()
            return
        self._written.pop(namespace, None)
        self._queue.add(namespace)

    async def _right(self, namespace: str) -> bool:
        """Make one namespace's ConfigMap right; return whether it is."""
        found = self._namespaces.get(namespace)
        if not self._operator.complete:
            return True  # all are looked at once they are known
        if not self._owner:  # until it is created: what has no owner would outlive the installation
            if not self._ownerless:
                log.warning("root_certificates.no_owner", namespace=self._system_namespace)
            self._ownerless = True
            return True
        if found is None or namespace in WITHOUT or not self._selected(found.labels):
            return True
        held = self._written.get(namespace) or self._held.get(namespace)
        if held is None and not self._bundle():
            return True  # none has to say that there is nothing
        if held is not None and held.bundle == self._bundle() and held.labelled and self._owner in held.owners:
            return True
        try:
            await self._write(namespace)
        except ApiException as error:
            gone = error.status == HTTPStatus.NOT_FOUND or "NamespaceTerminating" in str(error.body)
            if not gone:
                reason = f"{error.status} {error.reason}"
                log.warning("root_certificates.not_written", namespace=namespace, name=self.name, reason=reason)
            return gone
        except (ClientError, OSError, TimeoutError) as error:
            reason = str(error) or type(error).__name__
            log.warning("root_certificates.not_written", namespace=namespace, name=self.name, reason=reason)
            return False
        self.writes += 1
        log.info("root_certificates.written", namespace=namespace, name=self.name)
        return True

    async def _write(self, namespace: str) -> None:
        """Create the ConfigMap, or change ours in it."""
        bundle = self._bundle()
        meta = V1ObjectMeta(name=self.name, labels=dict(LABELS), owner_references=[self._owner_reference()])
        body = V1ConfigMap(api_version="v1", kind="ConfigMap", metadata=meta, data={self.key: bundle})
        if namespace not in self._held:
            try:
                await self._api.create_namespaced_config_map(namespace, body, _request_timeout=_TIMEOUT)
            except ApiException as error:
                if error.status != HTTPStatus.CONFLICT:
                    raise
            else:
                self._wrote(namespace, bundle)
                return
        await self._api.patch_namespaced_config_map(
            self.name,
            namespace,
            body,
            _content_type="application/strategic-merge-patch+json",
            _request_timeout=_TIMEOUT,
        )
        self._wrote(namespace, bundle)

    def _wrote(self, namespace: str, bundle: str) -> None:
        """Note what is there now; the watch will say the same, and must not cause another write meanwhile."""
        self._written[namespace] = _Held(bundle, labelled=True, owners=frozenset({self._owner}))

    def _config_map(self, obj: Body) -> tuple[str, _Held]:
        metadata = obj["metadata"]
        labels = dict(metadata.get("labels") or {})
        return metadata["namespace"], _Held(
            (obj.get("data") or {}).get(self.key),
            labelled=labels.items() >= LABELS.items(),
            owners=frozenset(each["uid"] for each in metadata.get("ownerReferences") or ()),
        )

    @property
    def _owner(self) -> str:
        """The uid of the system namespace, in which this program runs; empty where it does not exist."""
        system = self._namespaces.get(self._system_namespace)
        return system.uid if system is not None else ""

    def _owner_reference(self) -> V1OwnerReference:
        return V1OwnerReference(api_version="v1", kind="Namespace", name=self._system_namespace, uid=self._owner)


class RevokedCertificates(RootCertificates):
    """The same for the lists of revoked certificates of the authority; no ConfigMap is created while there are none."""

    name = REVOKED_CONFIG_MAP
    key = REVOKED_KEY


async def keep_all(kept: Iterable[RootCertificates]) -> None:
    """Keep each of them right until cancelled."""
    async with asyncio.TaskGroup() as group:
        for each in kept:
            group.create_task(each.run())


def _namespace(obj: Body) -> tuple[str, _Namespace]:
    metadata = obj["metadata"]
    return metadata["name"], _Namespace(metadata["uid"], dict(metadata.get("labels") or {}))
