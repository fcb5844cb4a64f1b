"""What somebody who keeps account of machines hears of streams: virtual machines, which Kubernetes does not run."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from controlplane.ads.credential import Credential
    from controlplane.model.proxy import Proxy


class Machines:
    """Keeps account of no machine."""

    async def joined(self, proxy: Proxy, credential: Credential) -> None:
        """Hear of a stream that begins, before it is served; ``left`` is called for it later.

        Raises:
            StreamRefused: the machine may not register, or cannot be now.
        """

    def left(self, proxy: Proxy) -> None:
        """Hear of the end of a stream that had joined."""

    def told_health(self, proxy: Proxy, problem: str) -> None:
        """Hear what a machine says of its workload: what is wrong, or nothing."""
