"""What injection depends on besides the pod: the injector's configuration, the values, the mesh and the namespace."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from controlplane.apis.mesh import LabelSelector, MeshConfig
from controlplane.apis.problems import problems_of
from controlplane.apis.proxy_config import ProxyConfigResource
from controlplane.documents.limits import UnreadableError
from controlplane.documents.yaml_reader import yaml_value
from controlplane.injector.custom import CustomTemplate
from controlplane.injector.errors import InjectionError
from controlplane.injector.identifiers import Identifiers
from controlplane.injector.values import Values

SIDECAR = "sidecar"


@dataclass(frozen=True, slots=True)
class InjectorConfig:
    """The key ``config`` of the injector's ConfigMap.

    ``templates`` are the user's own, which go before ours of the same name; ``aliases`` are names for several.
    ``never`` and ``always`` select pods that say nothing themselves. ``injected_annotations`` are put on every pod.
    """

    policy: str = "enabled"
    default_templates: tuple[str, ...] = (SIDECAR,)
    templates: Mapping[str, CustomTemplate] = field(default_factory=dict)
    aliases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    never: tuple[LabelSelector, ...] = ()
    always: tuple[LabelSelector, ...] = ()
    injected_annotations: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> InjectorConfig:
        """Read it from YAML. A text that is no map is one template, ``sidecar``. Unknown fields are ignored.

        Raises:
            InjectionError: it cannot be read; says which field is wrong.
        """
        try:
            value = yaml_value(text)
        except UnreadableError as error:
            if "{{" in text:
                return cls(templates={SIDECAR: CustomTemplate(SIDECAR, text)})
            raise InjectionError(f"config: {error}") from error
        if value is None:
            return cls()
        if not isinstance(value, dict):
            raise InjectionError("config: must be a map")
        if not _FIELDS & value.keys() and "{{" in text:
            return cls(templates={SIDECAR: CustomTemplate(SIDECAR, text)})
        return cls(
            policy=_text(value.get("policy"), "policy") or "enabled",
            default_templates=_texts(value.get("defaultTemplates"), "defaultTemplates") or (SIDECAR,),
            templates={
                name: CustomTemplate(name, text)
                for name, text in _text_map(value.get("templates"), "templates").items()
            },
            aliases={
                name: _texts(names, f"aliases.{name}") for name, names in _map(value.get("aliases"), "aliases").items()
            },
            never=_selectors(value.get("neverInjectSelector"), "neverInjectSelector"),
            always=_selectors(value.get("alwaysInjectSelector"), "alwaysInjectSelector"),
            injected_annotations=_text_map(value.get("injectedAnnotations"), "injectedAnnotations"),
        )


_FIELDS = frozenset(
    {
        "policy",
        "defaultTemplates",
        "templates",
        "aliases",
        "neverInjectSelector",
        "alwaysInjectSelector",
        "injectedAnnotations",
        "template",
    }
)


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything of one request besides the pod.

    ``environment`` are the variables that the webhook's path sets (``ISTIO_META_CLUSTER_ID``, ...). ``native`` is
    whether proxies are native sidecars where the pod does not say. ``proxy_configs`` are the ProxyConfig resources of
    the root namespace and of the pod's, each list oldest first.
    """

    config: InjectorConfig = field(default_factory=InjectorConfig)
    values: Values = field(default_factory=Values)
    mesh: MeshConfig = field(default_factory=MeshConfig)
    namespace: str = ""
    revision: str = ""
    native: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)
    identifiers: Identifiers = field(default_factory=Identifiers)
    proxy_configs: tuple[Sequence[ProxyConfigResource], Sequence[ProxyConfigResource]] = ((), ())
    compliance_policy: str = ""


def _text(value: object, path: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise InjectionError(f"config: {path}: must be text")
    return value


def _texts(value: object, path: str) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list):
        raise InjectionError(f"config: {path}: must be a list")
    return tuple(_text(each, f"{path}[{index}]") for index, each in enumerate(value))


def _map(value: object, path: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InjectionError(f"config: {path}: must be a map")
    return value


def _text_map(value: object, path: str) -> dict[str, str]:
    return {key: _text(each, f"{path}.{key}") for key, each in _map(value, path).items()}


def _selectors(value: object, path: str) -> tuple[LabelSelector, ...]:
    if value is None:
        return ()
    if not isinstance(value, list):
        raise InjectionError(f"config: {path}: must be a list")
    found = []
    for index, each in enumerate(value):
        try:
            found.append(LabelSelector.model_validate(each))
        except ValidationError as error:
            reasons = "; ".join(map(str, problems_of(error)))
            raise InjectionError(f"config: {path}[{index}]: {reasons}") from error
    return tuple(found)
