"""Which patches of EnvoyFilters change nothing at any proxy of a mesh that is made of manifests."""

from __future__ import annotations

from collections.abc import Iterable

from controlplane.analysis.left_out import LeftOutParts
from controlplane.compiler.compiler import Compiler
from controlplane.frontends import FRONTENDS
from controlplane.model.patches import PatchRef
from controlplane.registry.store import Registry
from controlplane.simulate.manifests import Manifest, Manifests
from controlplane.simulate.mesh import Mesh


async def idle_patches(manifests: Iterable[Manifest]) -> list[PatchRef]:
    """Return the patches that are for some proxy, and change nothing at any; sorted.

    A patch that is for none of the proxies that the manifests stand for is not among them: it may be for others.
    """
    compiler = Compiler(Registry(frontends=FRONTENDS))
    parts = LeftOutParts(compiler.registry)
    await compiler.apply(Manifests.of(manifests).change_set())
    sessions = [await compiler.open(proxy, _nobody) for proxy in Mesh(compiler).every().values()]
    found = parts.idle_patches()
    for session in sessions:
        session.close()
    return found


def _nobody() -> None:
    """Nothing changes while it is looked at."""
