"""A mesh built of objects alone, without a control plane that runs."""

from __future__ import annotations

from controlplane.compiler.compiler import Compiler
from controlplane.frontends import FRONTENDS
from controlplane.model.objects import ChangeSet
from controlplane.registry.store import Registry
from controlplane.simulate.mesh import Mesh


async def mesh_of(change: ChangeSet, domain: str = "cluster.local") -> Mesh:
    """Return the mesh of these objects."""
    compiler = Compiler(Registry(domain, frontends=FRONTENDS))
    await compiler.apply(change)
    return Mesh(compiler)
