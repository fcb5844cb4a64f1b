"""The analyzer of patches that change nothing: what they are for is compiled, as the control plane would."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from controlplane.analysis import codes
from controlplane.analysis.analyzers.table import Analyzer
from controlplane.analysis.resources import Message, Resources, message
from controlplane.model import kinds
from controlplane.simulate.idle_patches import idle_patches
from controlplane.simulate.manifests import Manifest


def patches_analyzer(*, with_cluster: bool) -> Analyzer:
    """Return the analyzer. Without a cluster only what stands in files counts, not what is assumed beside it."""

    def run(resources: Resources) -> Iterator[Message]:
        if not resources.of(kinds.ENVOY_FILTER):
            return
        written = (each for each in resources if not each.cluster and (with_cluster or each.place is not None))
        for ref in asyncio.run(idle_patches(Manifest(each.written, each.origin) for each in written)):
            about = resources.find(kinds.ENVOY_FILTER, ref.filter.namespace, ref.filter.name)
            if about is not None:
                yield message(codes.IDLE_PATCH, about, ref.path, patch=ref.path)

    return Analyzer("controlplane.Patches", "patches of EnvoyFilters that change nothing", run)
