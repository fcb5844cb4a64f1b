"""Keeps the validating webhook's configuration right: whom the API server trusts, and when it insists on an answer.

Each ValidatingWebhookConfiguration with our revision's label gets our roots as ``caBundle``. Its ``failurePolicy`` is
``Ignore`` until the webhook has refused an object that is known to be bad - created as a dry run, so that nothing is
stored - and becomes ``Fail`` then: before, a webhook that does not work would keep everybody from writing anything.

A manifest may leave out ``rules`` and ``failurePolicy``, so that applying it again takes nothing away: a webhook
without rules, which nobody asks, gets both together with its ``caBundle``.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import structlog
from kubernetes.aio.client import AdmissionregistrationV1Api, ApiClient, ApiException, CustomObjectsApi

from controlplane.apis.kinds import EXTENSIONS, NETWORKING, SECURITY, TELEMETRY
from controlplane.controllers.attempts import Attempts, Configurations, message_of, said

log = structlog.get_logger()

REVISION_LABEL = "istio.io/rev"
ALWAYS_REJECT = "internal.istio.io/webhook-always-reject"
OF_MESH = "mesh.validation.istio.io"
"""The webhook that is asked about the mesh configuration, and never insisted on."""
IGNORE, FAIL = "Ignore", "Fail"
ANSWER_SECONDS = 10
_REFUSED = "denied the request"

Operations = list[dict[str, Any]]
"""A JSON patch. Reference: RFC 6902."""


RULES: list[dict[str, Any]] = [
    {
        "operations": ["CREATE", "UPDATE"],
        "apiGroups": [SECURITY, NETWORKING, TELEMETRY, EXTENSIONS],
        "apiVersions": ["*"],
        "resources": ["*"],
    }
]
"""What a webhook is asked about: all of Istio's kinds, but not their status."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Which configurations are ours: those labelled with the revision, or only the one of them that ``name`` names.

    With a name, rights to list and watch can be limited to it. ``namespace`` is where the known bad object is tried.
    """

    revision: str = "default"
    namespace: str = "istio-system"
    name: str = ""


def trusting(configuration: Mapping[str, Any], bundle: str) -> Operations:
    """Return what makes every webhook of a configuration trust this bundle (base64); nothing where all do."""
    operations: Operations = []
    for index, webhook in enumerate(configuration.get("webhooks") or ()):
        path = f"/webhooks/{index}"
        if webhook["clientConfig"].get("caBundle") != bundle:
            operations.append({"op": "add", "path": f"{path}/clientConfig/caBundle", "value": bundle})
        if not webhook.get("rules"):
            operations.append({"op": "add", "path": f"{path}/failurePolicy", "value": IGNORE})
            operations.append({"op": "add", "path": f"{path}/rules", "value": RULES})
    return operations


def insisting(configuration: Mapping[str, Any]) -> Operations:
    """Return what makes the API server refuse objects while no webhook answers; nothing where it does."""
    return [
        {"op": "add", "path": f"/webhooks/{index}/failurePolicy", "value": FAIL}
        for index, each in enumerate(configuration.get("webhooks") or ())
        if each.get("failurePolicy") != FAIL and each.get("name") != OF_MESH
    ]


def known_bad(identity: Identity) -> dict[str, Any]:
    """Return the Gateway that the webhook refuses whatever else it thinks of it."""
    return {
        "apiVersion": f"{NETWORKING}/v1",
        "kind": "Gateway",
        "metadata": {
            "name": "invalid-gateway",
            "namespace": identity.namespace,
            "annotations": {ALWAYS_REJECT: "true"},
            "labels": {REVISION_LABEL: identity.revision},
        },
        "spec": {},
    }


class WebhookConfiguration:
    """Keeps the configurations of ``identity``'s revision right while ``run`` runs, on one replica of the revision.

    ``bundle`` returns the roots as PEM, empty while there are none; ``bundle_changed`` says that it returns others.
    ``run`` reconciles after every change, and again after a pause that grows while something is not right yet.
    The verbs it needs: list, watch and patch of validatingwebhookconfigurations, create of gateways.
    """

    def __init__(
        self,
        client: ApiClient,
        bundle: Callable[[], str],
        identity: Identity,
        tell: Callable[[str], None] | None = None,
        *,
        signals: Callable[[], None],
    ) -> None:
        """Prepare; ``tell`` is told of each patch: an empty text where it was made, else why it was refused.

        ``signals`` is what an ``Operator`` needs.
        """
        self._client = client
        self._tell = tell or (lambda _: None)
        self._admission = AdmissionregistrationV1Api(client)
        self._objects = CustomObjectsApi(client)
        self._bundle = bundle
        self._identity = identity
        self._selectors = {"label_selector": f"{REVISION_LABEL}={identity.revision}"}
        if identity.name:
            self._selectors["field_selector"] = f"metadata.name={identity.name}"
        configurations = Configurations(
            "validatingwebhookconfigurations",
            self._selectors["label_selector"],
            self._selectors.get("field_selector", ""),
        )
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
        for configuration in await self._configurations():
            await self._patch(configuration, trusting(configuration, bundle))
        hesitant = [each for each in await self._configurations() if insisting(each)]
        if not hesitant:
            return True
        if not await self.refuses():
            return False
        for configuration in hesitant:
            await self._patch(configuration, insisting(configuration))
        return True

    async def refuses(self) -> bool:
        """Whether the API server, asked as anybody would ask it, learns from the webhook that an object is bad."""
        try:
            await self._objects.create_namespaced_custom_object(
                NETWORKING,
                "v1",
                self._identity.namespace,
                "gateways",
                known_bad(self._identity),
                dry_run="All",
                _request_timeout=ANSWER_SECONDS,
            )
        except ApiException as error:
            message = message_of(error)
            if _REFUSED in message and ALWAYS_REJECT in message:
                return True
            log.info("webhooks.not_asked_yet", reason=message)
            return False
        log.info("webhooks.not_asked_yet", reason="a known bad object was accepted")
        return False

    async def _configurations(self) -> list[dict[str, Any]]:
        listed = await self._admission.list_validating_webhook_configuration(
            **self._selectors, _request_timeout=ANSWER_SECONDS
        )
        found: list[dict[str, Any]] = self._client.sanitize_for_serialization(listed.items)
        return found

    async def _patch(self, configuration: Mapping[str, Any], operations: Operations) -> None:
        """Apply a patch, unless somebody else was faster: then the change is seen and looked at anew."""
        if not operations:
            return
        metadata = configuration["metadata"]
        unchanged = {"op": "test", "path": "/metadata/resourceVersion", "value": metadata["resourceVersion"]}
        try:
            await self._admission.patch_validating_webhook_configuration(
                metadata["name"], [unchanged, *operations], _request_timeout=ANSWER_SECONDS
            )
        except ApiException as error:
            self._tell(said(error, "reason"))
            raise
        self._tell("")
        log.info(
            "webhooks.configuration_patched",
            name=metadata["name"],
            paths=tuple(each["path"] for each in operations),
        )


def _failed(reason: str, status: int | None) -> None:
    log.warning("webhooks.configuration_failed", reason=reason, status=status)
