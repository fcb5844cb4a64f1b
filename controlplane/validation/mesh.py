"""The mesh configuration as a person wrote it: the ConfigMap ``istio``, or that of a revision, ``istio-REVISION``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from controlplane.apis.mesh import InvalidMeshConfigError, MeshConfig
from controlplane.apis.mesh_fields import read, stated_fields
from controlplane.apis.mesh_networks import MeshNetworks
from controlplane.apis.problems import Problem
from controlplane.apis.validation.mesh import doubts
from controlplane.documents.limits import Document
from controlplane.documents.yaml_reader import yaml_documents

if TYPE_CHECKING:
    from collections.abc import Mapping

    from controlplane.apis.common import ApiModel

NAME = "istio"
MESH, NETWORKS = "mesh", "meshNetworks"
Problems = list[Problem]


def is_mesh_configuration(name: str, data: object) -> bool:
    """Whether a ConfigMap of this name and content is one."""
    named = name == NAME or name.startswith(f"{NAME}-")
    return named and isinstance(data, dict) and (MESH in data or NETWORKS in data)


def mesh_problems(data: Mapping[str, Any]) -> tuple[Problems, Problems]:
    """Return what is wrong in the texts of the ConfigMap, and what is doubtful."""
    errors: Problems = []
    warnings: Problems = []
    for key in (MESH, NETWORKS):
        text = data.get(key, "")
        if not isinstance(text, str):
            errors.append(Problem(f"data.{key}", "must be text"))
            continue
        errors += [Problem(f"data.{key}", reason) for reason in _reasons(key, text)]
        if not errors:
            warnings += _doubts(key, text)
    return errors, warnings


def _reasons(key: str, text: str) -> list[str]:
    try:
        if key == MESH:
            MeshConfig.parse(text)
        else:
            read(MeshNetworks, text)
    except InvalidMeshConfigError as error:
        return list(error.problems)
    return [reason for each in yaml_documents(text)[:1] if isinstance(each, Document) for reason in each.warnings]


def _doubts(key: str, text: str) -> Problems:
    model: type[ApiModel] = MeshConfig if key == MESH else MeshNetworks
    _, unknown = stated_fields(model, text)
    found = [f"{path}: unknown field, ignored" for path in sorted(unknown)]
    if key == MESH:
        found += map(str, doubts(MeshConfig.parse(text)))
    return [Problem(f"data.{key}", each) for each in found]
