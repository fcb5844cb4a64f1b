"""What ``kube-inject`` injects with: files, and what no file states from a cluster, else the defaults."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from controlplane.documents.limits import UnreadableError
from controlplane.documents.yaml_reader import yaml_value
from controlplane.injector.errors import InjectionError
from controlplane.injector.settings import InjectorConfig, Settings
from controlplane.injector.values import Values

if TYPE_CHECKING:
    from controlplane.watchers.kubernetes.listing import Listed

_NATIVE = "ENABLE_NATIVE_SIDECARS"
_FIRST_NATIVE = (1, 33)


@dataclass(frozen=True, slots=True)
class Cluster:
    """A cluster as kubectl names it, and the control plane's namespace in it."""

    kubeconfig: str = ""
    context: str = ""
    namespace: str = "istio-system"

    @property
    def file(self) -> str:
        """The kubeconfig that kubectl would take; empty where there is none."""
        named = self.kubeconfig or os.environ.get("KUBECONFIG") or str(Path.home() / ".kube" / "config")
        return named if self.kubeconfig or Path(named).is_file() else ""


@dataclass(slots=True)
class Sources:
    """The texts that settings are read from; ``None`` is one that nothing states. ``notes`` are for the user."""

    mesh: str | None = None
    values: str | None = None
    config: str | None = None
    revision: str = ""
    native: bool = False
    notes: list[str] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether nothing is left to ask a cluster for."""
        return None not in (self.mesh, self.values, self.config)

    def operator(self, text: str) -> None:
        """Take what an IstioOperator states, before all files.

        Raises:
            InjectionError: it is none.
        """
        try:
            value = yaml_value(text)
        except UnreadableError as error:
            raise InjectionError(f"IstioOperator: {error}") from error
        spec = value.get("spec") if isinstance(value, dict) else None
        if not isinstance(spec, dict):
            raise InjectionError("IstioOperator: spec: is required")
        for key, stated in (("mesh", spec.get("meshConfig")), ("values", spec.get("values"))):
            if stated is not None:
                setattr(self, key, json.dumps(stated))
        self.revision = self.revision or str(spec.get("revision") or "")

    def ask(self, cluster: Cluster) -> None:
        """Take what no file states from a cluster.

        Raises:
            InjectionError: it cannot be asked.
        """
        suffix = f"-{self.revision}" if self.revision and self.revision != "default" else ""
        mesh, injector = f"istio{suffix}", f"istio-sidecar-injector{suffix}"
        found = _listed(cluster, (mesh, injector))
        self.notes += [f"{each} cannot be read: {reason}" for each, reason in found.refused.items()]
        objects = found.objects
        maps = {each["metadata"]["name"]: each.get("data") or {} for each in objects if each["kind"] == "ConfigMap"}
        for name, keys in ((mesh, ("mesh",)), (injector, ("values", "config"))):
            missing = [key for key in keys if getattr(self, key) is None]
            if missing and name not in maps:
                self.notes.append(f"no ConfigMap {cluster.namespace}/{name} can be read: the defaults stand for it")
            for key in missing:
                setattr(self, key, maps.get(name, {}).get(key))
        versions = [_minor_version(each) for each in objects if each["kind"] == "Node"]
        if _NATIVE not in os.environ:
            self.native = bool(versions) and all(version >= _FIRST_NATIVE for version in versions)

    def settings(self) -> Settings:
        """Return what the texts state.

        Raises:
            InjectionError: one cannot be used; says why.
        """
        from controlplane.apis.mesh import InvalidMeshConfigError, MeshConfig

        try:
            mesh = MeshConfig.parse(self.mesh or "")
        except InvalidMeshConfigError as error:
            raise InjectionError(f"mesh configuration: {error}") from error
        config = InjectorConfig.parse(self.config or "")
        values = Values.parse(self.values or "")
        return Settings(
            config=replace(config, policy="enabled", never=(), always=(), injected_annotations={}),
            values=values,
            mesh=mesh,
            namespace="default",
            revision=self.revision or values.text("revision"),
            native=self.native,
            compliance_policy=os.environ.get("COMPLIANCE_POLICY", ""),
        )


def _listed(cluster: Cluster, names: tuple[str, ...]) -> Listed:
    from controlplane.watchers.kubernetes.errors import ConfigurationError, RefusedError, UnreachableError
    from controlplane.watchers.kubernetes.listing import Wanted, listed
    from controlplane.watchers.kubernetes.resources import CONFIG_MAPS, CORE

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))  # it is told once, below
    wanted = [Wanted(CONFIG_MAPS, f"metadata.namespace={cluster.namespace},metadata.name={name}") for name in names]
    wanted += [Wanted(each) for each in CORE if each.kind == "Node"]
    try:
        return asyncio.run(listed(cluster.file, cluster.context, wanted))
    except (ConfigurationError, UnreachableError, RefusedError) as error:
        raise InjectionError(
            f"the cluster cannot be asked: {error}; --no-use-kube leaves it alone, and files state what it would"
        ) from error


def _minor_version(node: dict[str, Any]) -> tuple[int, int]:
    text = str(((node.get("status") or {}).get("nodeInfo") or {}).get("kubeletVersion") or "")
    major, _, rest = text.removeprefix("v").partition(".")
    minor = rest.partition(".")[0]
    return (int(major), int(minor)) if major.isdecimal() and minor.isdecimal() else (0, 0)
