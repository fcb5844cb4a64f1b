"""What the caller of a stream has proved of itself."""

from __future__ import annotations

from controlplane.model.proxy import Proxy


class Credential:
    """Nobody in particular: what a caller is on a port where nobody has to prove anything."""

    namespace: str | None = None
    """The namespace of the identity that was proved, ``None`` where none was."""

    def check(self, proxy: Proxy) -> None:
        """Let the proxy be what it says.

        Raises:
            StreamRefused: it claims to be somebody else than its caller has proved.
        """
