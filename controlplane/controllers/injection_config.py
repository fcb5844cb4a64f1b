"""Keeps whom the API server trusts as injector: the ``caBundle`` of MutatingWebhookConfigurations.

Every one that is labelled with our revision gets our roots, those of revision tags too. They are written by server-side
apply, by a field manager of our own and nothing else of the object: whoever applies the manifest again, which states no
``caBundle``, takes it away from nobody.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from typing import Any

import structlog
from kubernetes.aio.client import AdmissionregistrationV1Api, ApiClient

from controlplane.controllers.attempts import Attempts, Configurations
from controlplane.controllers.webhook_config import ANSWER_SECONDS, REVISION_LABEL

log = structlog.get_logger()

MANAGER = "controlplane-injector"
_GROUP = "admissionregistration.k8s.io/v1"
_KIND = "MutatingWebhookConfiguration"
_APPLY = "application/apply-patch+yaml"


def applied(configuration: Mapping[str, Any], bundle: str) -> dict[str, Any] | None:
    """Return what makes every webhook of a configuration trust this bundle (base64), ``None`` where all do."""
    webhooks = configuration.get("webhooks") or ()
    if all(each["clientConfig"].get("caBundle") == bundle for each in webhooks):
        return None
    return {
        "apiVersion": _GROUP,
        "kind": _KIND,
        "metadata": {"name": configuration["metadata"]["name"]},
        "webhooks": [
            {
                "name": each["name"],
                "admissionReviewVersions": each["admissionReviewVersions"],
                "sideEffects": each["sideEffects"],
                "clientConfig": {"caBundle": bundle},
            }
            for each in webhooks
        ],
    }


class InjectionConfiguration:
    """Keeps the configurations of one revision right while ``run`` runs.

    ``bundle`` returns the roots as PEM, empty while there are none; ``bundle_changed`` says that it returns others.
    ``run`` reconciles after every change, and again after a pause that grows while something is not right yet.
    The verbs it needs: list, watch and patch of mutatingwebhookconfigurations.
    """

    def __init__(
        self, client: ApiClient, bundle: Callable[[], str], revision: str, *, signals: Callable[[], None]
    ) -> None:
        """Prepare; ``signals`` is what an ``Operator`` needs."""
        self._admission = AdmissionregistrationV1Api(client)
        self._client = client
        self._bundle = bundle
        self._labels = f"{REVISION_LABEL}={revision}"
        configurations = Configurations("mutatingwebhookconfigurations", self._labels)
        attempts = Attempts(client, configurations, self.reconcile, _failed, signals=signals)
        self.bundle_changed, self.run = attempts.again, attempts.run

    async def reconcile(self) -> bool:
        """Make right what can be; return whether nothing is left to do until something changes.

        Raises:
            ApiException: the API server refuses.
            aiohttp.ClientError: it cannot be reached; also ``OSError`` and ``TimeoutError``.
        """
        pem = self._bundle()
        if not pem:
            return False
        bundle = base64.b64encode(pem.encode()).decode()
        listed = await self._admission.list_mutating_webhook_configuration(
            label_selector=self._labels, _request_timeout=ANSWER_SECONDS
        )
        for configuration in self._client.sanitize_for_serialization(listed.items):
            body = applied(configuration, bundle)
            if body is not None:
                await self._apply(configuration["metadata"]["name"], body)
        return True

    async def _apply(self, name: str, body: dict[str, Any]) -> None:
        await self._admission.patch_mutating_webhook_configuration(
            name, body, field_manager=MANAGER, force=True, _content_type=_APPLY, _request_timeout=ANSWER_SECONDS
        )
        log.info("webhooks.injector_trusted", name=name)


def _failed(reason: str, status: int | None) -> None:
    log.warning("webhooks.injector_not_trusted", reason=reason, status=status)
