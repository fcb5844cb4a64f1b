"""What the caller of a stream has proved of itself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from enum import Enum

from controlplane.model.proxy import Proxy
from controlplane.model.secret_names import is_private


class SecretAccess(Enum):
    """What a caller may read of the Secrets of its namespace; the value says why that is not all, for people."""

    NOBODY = "secrets are for callers that prove who they are, which nobody does in plaintext"
    UNKNOWN = "whether its service account may list Secrets in its namespace is not known yet"
    ROOTS = "its service account may not list Secrets in its namespace"
    ALL = ""

    __hash__ = object.__hash__  # members are singletons; served snapshots are looked up for every stream

    @property
    def is_proved(self) -> bool:
        """Whether the caller has proved an identity."""
        return self is not SecretAccess.NOBODY

    def allows(self, name: str) -> bool:
        """Whether the resource of this name may be read; roots are for whoever has proved an identity."""
        return self is SecretAccess.ALL or (self.is_proved and not is_private(name))


class Credential:
    """Nobody in particular: what a caller is on a port where nobody has to prove anything."""

    namespace: str | None = None
    """The namespace of the identity that was proved, ``None`` where none was."""
    service_account: str = ""
    """The service account likewise, empty where none was."""

    def check(self, proxy: Proxy) -> None:
        """Let the proxy be what it says.

        Raises:
            StreamRefused: it claims to be somebody else than its caller has proved.
        """

    async def secret_access(self) -> AsyncIterator[SecretAccess]:
        """Yield what the caller may read of Secrets, now and whenever that is another; nobody may read any."""
        yield SecretAccess.NOBODY
