"""Mesh-wide settings as a query: the ConfigMap ``istio`` over the defaults."""

from __future__ import annotations

from controlplane.apis.mesh import MeshConfig
from controlplane.model.objects import ObjectKey
from controlplane.registry.memo import query
from controlplane.registry.store import View

SYSTEM_NAMESPACE = "istio-system"
MESH_CONFIG_MAP = "istio"
MESH_KEY = ObjectKey("ConfigMap", SYSTEM_NAMESPACE, MESH_CONFIG_MAP)


@query
def mesh(view: View, _key: tuple[()]) -> MeshConfig:
    """Return the mesh configuration. Source: ConfigMap ``istio-system/istio``, key ``mesh``."""
    obj = view.get(MESH_KEY)
    text = obj.spec.data.get("mesh", "") if obj is not None else ""
    return MeshConfig.parse(text)


def mesh_config(view: View) -> MeshConfig:
    """Return the mesh configuration; the read is recorded."""
    return mesh(view, ())
