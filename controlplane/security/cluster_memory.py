"""What an authority leaves to the next one, in a Secret."""

from __future__ import annotations

import structlog
from kubernetes.aio.client import ApiClient

from controlplane.security.ca import Past
from controlplane.security.cluster_secrets import Held, Secrets
from controlplane.security.handover import files_of, past_of
from controlplane.security.issuer import InvalidIssuerError

log = structlog.get_logger(__name__)

HANDOVER_SECRET = "istio-ca-handover"  # noqa: S105 - a name
SECRET_TYPE = "istio.io/ca-handover"  # noqa: S105 - a type


class ClusterMemory:
    """The Secret ``istio-ca-handover``, which holds the key that signs beside the source it came from.

    It is written when another root is offered, begins to sign or is no longer trusted. Where it holds nonsense, or was
    removed, it is written anew, and a root that was replaced meanwhile signs at once.
    """

    def __init__(self, client: ApiClient, namespace: str) -> None:
        self._secrets = Secrets(client, namespace)
        self._held: Held | None = None

    async def read(self) -> Past | None:
        """Return what the Secret holds."""
        self._held = await self._secrets.get(HANDOVER_SECRET)
        if self._held is None:
            return None
        try:
            return past_of(self._held.files)
        except InvalidIssuerError as error:
            log.warning("security.handover_unusable", secret=HANDOVER_SECRET, reason=str(error))
            return None

    async def write(self, past: Past) -> None:
        """Write the Secret if it holds something else than at the last reading; who was faster is read next time."""
        files = files_of(past)
        held = self._held
        if held is not None and all(held.files.get(name) == content for name, content in files.items()):
            return
        if held is None:
            self._held = await self._secrets.create(HANDOVER_SECRET, SECRET_TYPE, files)
        else:
            self._held = await self._secrets.replace(held, files)
        if self._held is not None:
            log.info("security.handover_written", secret=HANDOVER_SECRET, namespace=self._secrets.namespace)
