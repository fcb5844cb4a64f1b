"""The ConfigMap with the root certificates in each namespace, from which new pods learn whom to trust."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from http import HTTPStatus
from typing import Any, cast

import structlog
from aiohttp import ClientError
from kubernetes.aio.client import ApiClient, ApiException, CoreV1Api, V1ConfigMap, V1ObjectMeta, V1OwnerReference

from controlplane.controllers.follow import follow

log = structlog.get_logger(__name__)

CONFIG_MAP = "istio-ca-root-cert"
KEY = "root-cert.pem"
LABELS: Mapping[str, str] = {"istio.io/config": "true"}
WITHOUT = frozenset({"kube-public", "kube-node-lease", "local-path-storage"})
"""Namespaces that hold no workloads."""

_TIMEOUT = 10  # seconds
_LONGEST_RETRY = timedelta(seconds=30)


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

    ConfigMaps are owned by the namespace of the control plane, so that they go when it is removed; other data and
    labels in them are left alone. Run it on the leader only. ``changed`` tells of a new bundle or another selection.
    """

    def __init__(
        self,
        client: ApiClient,
        system_namespace: str,
        bundle: Callable[[], str],
        selected: Callable[[Mapping[str, str]], bool] = lambda _labels: True,
    ) -> None:
        self._api = CoreV1Api(client)
        self._system_namespace = system_namespace
        self._bundle = bundle
        self._selected = selected
        self._namespaces: dict[str, _Namespace] = {}
        self._held: dict[str, _Held] = {}
        self._dirty = asyncio.Event()
        self.writes = 0
        """Objects created or changed so far."""

    def changed(self) -> None:
        """Have every namespace looked at again."""
        self._dirty.set()

    async def run(self) -> None:
        """Keep them right until cancelled."""
        self._namespaces.clear()
        self._held.clear()
        listed = asyncio.Event(), asyncio.Event()
        async with asyncio.TaskGroup() as group:
            namespaces = self._api.list_namespace_without_preload_content
            group.create_task(follow(namespaces, _namespace, self._namespaces, partial(self._noticed, listed[0])))
            group.create_task(follow(self._config_maps, _config_map, self._held, partial(self._noticed, listed[1])))
            for event in listed:
                await event.wait()
            await self._keep()

    def _noticed(self, listed: asyncio.Event) -> None:
        listed.set()
        self._dirty.set()

    def _config_maps(self, **options: Any) -> Awaitable[Any]:  # noqa: ANN401 - the client's
        name = f"metadata.name={CONFIG_MAP}"
        return cast(
            "Awaitable[Any]",
            self._api.list_config_map_for_all_namespaces_without_preload_content(field_selector=name, **options),
        )

    async def _keep(self) -> None:
        retry = timedelta(seconds=0.5)
        self._dirty.set()
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            if not self._owner:
                log.warning("root_certificates.no_owner", namespace=self._system_namespace)
                continue  # until it is created: what has no owner would outlive the installation
            failed = [name for name in sorted(self._namespaces) if not await self._right(name)]
            if not failed:
                retry = timedelta(seconds=0.5)
                continue
            await asyncio.sleep(retry.total_seconds() * random.uniform(0.5, 1.0))  # noqa: S311 - a jitter
            retry = min(retry * 2, _LONGEST_RETRY)
            self._dirty.set()

    async def _right(self, namespace: str) -> bool:
        """Make one namespace's ConfigMap right; return whether it is."""
        found = self._namespaces.get(namespace)
        if found is None or namespace in WITHOUT or not self._selected(found.labels):
            return True
        held = self._held.get(namespace)
        if held is not None and held.bundle == self._bundle() and held.labelled and self._owner in held.owners:
            return True
        try:
            await self._write(namespace)
        except ApiException as error:
            gone = error.status == HTTPStatus.NOT_FOUND or "NamespaceTerminating" in str(error.body)
            if not gone:
                reason = f"{error.status} {error.reason}"
                log.warning("root_certificates.not_written", namespace=namespace, name=CONFIG_MAP, reason=reason)
            return gone
        except (ClientError, OSError, TimeoutError) as error:
            reason = str(error) or type(error).__name__
            log.warning("root_certificates.not_written", namespace=namespace, name=CONFIG_MAP, reason=reason)
            return False
        self.writes += 1
        log.info("root_certificates.written", namespace=namespace, name=CONFIG_MAP)
        return True

    async def _write(self, namespace: str) -> None:
        """Create the ConfigMap, or change ours in it."""
        meta = V1ObjectMeta(name=CONFIG_MAP, labels=dict(LABELS), owner_references=[self._owner_reference()])
        body = V1ConfigMap(api_version="v1", kind="ConfigMap", metadata=meta, data={KEY: self._bundle()})
        if namespace not in self._held:
            try:
                await self._api.create_namespaced_config_map(namespace, body, _request_timeout=_TIMEOUT)
            except ApiException as error:
                if error.status != HTTPStatus.CONFLICT:
                    raise
            else:
                self._wrote(namespace)
                return
        await self._api.patch_namespaced_config_map(
            CONFIG_MAP,
            namespace,
            body,
            _content_type="application/strategic-merge-patch+json",
            _request_timeout=_TIMEOUT,
        )
        self._wrote(namespace)

    def _wrote(self, namespace: str) -> None:
        """Note what is there now; the watch will say the same, and must not cause another write meanwhile."""
        self._held[namespace] = _Held(self._bundle(), labelled=True, owners=frozenset({self._owner}))

    @property
    def _owner(self) -> str:
        """The uid of the system namespace, in which this program runs; empty where it does not exist."""
        system = self._namespaces.get(self._system_namespace)
        return system.uid if system is not None else ""

    def _owner_reference(self) -> V1OwnerReference:
        return V1OwnerReference(api_version="v1", kind="Namespace", name=self._system_namespace, uid=self._owner)


def _namespace(obj: Any) -> tuple[str, _Namespace]:  # noqa: ANN401 - JSON
    metadata = obj["metadata"]
    return metadata["name"], _Namespace(metadata["uid"], metadata.get("labels") or {})


def _config_map(obj: Any) -> tuple[str, _Held]:  # noqa: ANN401 - JSON
    metadata = obj["metadata"]
    labels = metadata.get("labels") or {}
    return metadata["namespace"], _Held(
        (obj.get("data") or {}).get(KEY),
        labelled=labels.items() >= LABELS.items(),
        owners=frozenset(each["uid"] for each in metadata.get("ownerReferences") or ()),
    )
