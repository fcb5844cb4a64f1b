"""What a template is told: of the pod, its owner, and the settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from controlplane.apis.mesh import MeshConfig, ProxyConfig
from controlplane.injector.containers import PROXY, annotations_of, containers, labels_of
from controlplane.injector.identifiers import Identifiers
from controlplane.injector.owner import Owner
from controlplane.injector.values import Values, scalar_text

DEFAULT_USER = 1337


@dataclass(frozen=True, slots=True)
class TemplateData:
    """One pod, without what an earlier injection added, and everything that its overlay depends on."""

    pod: Mapping[str, Any]
    owner: Owner
    proxy_config: ProxyConfig
    mesh: MeshConfig
    values: Values
    namespace: str
    revision: str
    native: bool
    identifiers: Identifiers
    compliance_policy: str = ""
    annotations: Mapping[str, str] = field(init=False)
    labels: Mapping[str, str] = field(init=False)

    def __post_init__(self) -> None:
        """Take the pod's annotations and labels, which are asked for many times."""
        object.__setattr__(self, "annotations", annotations_of(self.pod))
        object.__setattr__(self, "labels", labels_of(self.pod))

    @property
    def user(self) -> int:
        """The user that the proxy runs as."""
        return self.identifiers.user if self.identifiers.user is not None else DEFAULT_USER

    @property
    def group(self) -> int:
        """The group that the proxy runs as."""
        return self.identifiers.group if self.identifiers.group is not None else DEFAULT_USER

    def annotated(self, name: str, otherwise: object) -> str:
        """Return an annotation of the pod where it is there, even if empty; else a value as text."""
        found = self.annotations.get(name)
        return scalar_text(otherwise) if found is None else found

    def applications(self) -> list[str]:
        """Return the names of the application's containers."""
        return [str(each.get("name", "")) for each in containers(self.pod) if each.get("name") != PROXY]
