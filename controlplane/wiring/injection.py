"""What injection is told of the mesh: read on the loop when it changes, handed to the webhook's threads as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache

import structlog

from controlplane.apis.mesh import MeshConfig
from controlplane.apis.proxy_config import ProxyConfigResource
from controlplane.injector.errors import InjectionError
from controlplane.injector.identifiers import Identifiers, identifiers
from controlplane.injector.settings import InjectorConfig, Settings
from controlplane.injector.values import Values
from controlplane.model import kinds
from controlplane.model.compliance import COMPLIANCE_POLICY
from controlplane.model.kubernetes import ConfigMap, Node
from controlplane.model.objects import ChangeSet, ObjectKey
from controlplane.registry.mesh import SYSTEM_NAMESPACE, mesh
from controlplane.registry.store import Registry

log = structlog.get_logger(__name__)

INJECTOR = "istio-sidecar-injector"
CONFIG_KEY = ObjectKey(kinds.CONFIG_MAP, SYSTEM_NAMESPACE, INJECTOR)
_KINDS = frozenset({kinds.CONFIG_MAP, kinds.PROXY_CONFIG, kinds.NAMESPACE, kinds.NODE})
_NATIVE = "ENABLE_NATIVE_SIDECARS"
_PLATFORM = "PLATFORM"
_FIRST_NATIVE = (1, 33)
"""The first version of Kubernetes whose nodes all run native sidecars."""


@dataclass(frozen=True, slots=True)
class _Known:
    """One state of everything."""

    mesh: MeshConfig
    config: InjectorConfig = field(default_factory=InjectorConfig)
    values: Values = field(default_factory=Values)
    proxy_configs: Mapping[str, tuple[ProxyConfigResource, ...]] = field(default_factory=dict)
    identifiers: Mapping[str, Identifiers] = field(default_factory=dict)
    native: bool = False


class InjectionSettings:
    """Gives the settings for the pods of a namespace; ``of`` may be called in any thread.

    A ConfigMap that cannot be used is logged, and the last good one holds.
    """

    def __init__(self, registry: Registry, revision: str, environment: Mapping[str, str]) -> None:
        self._registry = registry
        self._revision = "" if revision == "default" else revision
        self._environment = environment
        self._known = _Known(registry.memo.get(mesh, ()))

    def of(self, namespace: str) -> Settings:
        """Return the settings for a pod that is made in a namespace."""
        known = self._known
        root = known.mesh.root_namespace
        here = known.proxy_configs.get(namespace, ()) if namespace != root else ()
        return Settings(
            config=known.config,
            values=known.values,
            mesh=known.mesh,
            namespace=namespace,
            revision=self._revision or known.values.text("revision"),
            native=known.native,
            identifiers=known.identifiers.get(namespace, Identifiers()),
            proxy_configs=(known.proxy_configs.get(root, ()), here),
            compliance_policy=self._environment.get(COMPLIANCE_POLICY, ""),
        )

    def changed(self, changes: ChangeSet) -> None:
        """Read again what a change touches."""
        touched = {obj.key.kind for obj in changes.upserts} | {key.kind for key in changes.deletes}
        if not touched & _KINDS:
            return
        known = self._known
        if kinds.CONFIG_MAP in touched:
            known = replace(self._configured(known), mesh=self._registry.memo.get(mesh, ()))
        if kinds.PROXY_CONFIG in touched:
            known = replace(known, proxy_configs=self._proxy_configs())
        if kinds.NAMESPACE in touched and self._environment.get(_PLATFORM) == "openshift":
            known = replace(known, identifiers=self._identifiers())
        self._known = replace(known, native=self._is_native())

    def _configured(self, known: _Known) -> _Known:
        obj = self._registry.objects.get(CONFIG_KEY)
        data = obj.spec.data if obj is not None and isinstance(obj.spec, ConfigMap) else {}
        try:
            config, values = _read(data.get("config", ""), data.get("values", ""))
        except InjectionError as error:
            log.warning("injection.configuration_refused", object=str(CONFIG_KEY), reason=str(error)[:1000])
            return known
        if self._revision and not values.text("revision"):
            values = values.with_value("revision", self._revision)
        return replace(known, config=config, values=values)

    def _proxy_configs(self) -> dict[str, tuple[ProxyConfigResource, ...]]:
        objects = [self._registry.objects[key] for key in self._registry.keys(kinds.PROXY_CONFIG)]
        found: dict[str, tuple[ProxyConfigResource, ...]] = {}
        for obj in sorted(objects, key=lambda each: (each.meta.created, each.meta.name)):
            if isinstance(obj.spec, ProxyConfigResource):
                found[obj.meta.namespace] = (*found.get(obj.meta.namespace, ()), obj.spec)
        return found

    def _identifiers(self) -> dict[str, Identifiers]:
        objects = [self._registry.objects[key] for key in self._registry.keys(kinds.NAMESPACE)]
        return {obj.meta.name: identifiers(obj.meta.annotations) for obj in objects}

    def _is_native(self) -> bool:
        stated = self._environment.get(_NATIVE, "auto").lower()
        if stated in ("true", "false"):
            return stated == "true"
        nodes = [self._registry.objects[key].spec for key in self._registry.keys(kinds.NODE)]
        return bool(nodes) and all(isinstance(each, Node) and each.minor_version >= _FIRST_NATIVE for each in nodes)


@lru_cache(maxsize=4)
def _read(config: str, values: str) -> tuple[InjectorConfig, Values]:
    """Read both keys of the ConfigMap, once for each text: templates are kept with what was read of them."""
    return InjectorConfig.parse(config), Values.parse(values)
