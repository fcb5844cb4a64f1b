"""The webhooks through which the API server asks for sidecars: whom they select.

Each pod is selected by one webhook at most. The label of its namespace goes before its own; ``istio-injection`` before
``istio.io/rev``. A revision has two webhooks, and the default one, or a tag that is called so, two more for the labels
that name no revision.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from controlplane.injector.decision import INJECT, SYSTEM_NAMESPACES

Json = dict[str, Any]

DEFAULT = "default"
REVISION, INJECTION = "istio.io/rev", "istio-injection"
TAG = "istio.io/tag"
_NAME = "kubernetes.io/metadata.name"


@dataclass(frozen=True, slots=True)
class Injector:
    """Which control plane is asked: its revision, the tag that stands for it (empty: none), and where it runs.

    ``automatic``: pods of namespaces that say nothing are injected too, where this is the default.
    """

    revision: str = DEFAULT
    tag: str = ""
    namespace: str = "istio-system"
    automatic: bool = False


def webhook_configuration(injector: Injector) -> Json:
    """Return the MutatingWebhookConfiguration of a control plane or of a tag; its roots are added in the cluster."""
    value = injector.tag or injector.revision
    suffix = "" if injector.revision == DEFAULT else f"-{injector.revision}"
    labels = {"app": "sidecar-injector", REVISION: injector.revision}
    name = f"istio-sidecar-injector{suffix}"
    if injector.tag:
        name, labels[TAG] = f"istio-revision-tag-{injector.tag}", injector.tag
    elif injector.namespace != "istio-system":
        name = f"{name}-{injector.namespace}"
    service = {"name": f"istiod{suffix}", "namespace": injector.namespace, "path": "/inject", "port": 443}
    selectors = _of_revision(value)
    if value == DEFAULT:
        selectors |= _of_default()
        if injector.automatic:
            selectors |= _of_the_rest()
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": name, "labels": labels},
        "webhooks": [
            {
                "name": f"{each}.sidecar-injector.istio.io",
                "namespaceSelector": {"matchExpressions": namespaces},
                "objectSelector": {"matchExpressions": pods},
                "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}],
                "clientConfig": {"service": service},
                "failurePolicy": "Fail",
                "reinvocationPolicy": "Never",
                "sideEffects": "None",
                "admissionReviewVersions": ["v1"],
            }
            for each, (namespaces, pods) in selectors.items()
        ],
    }


def _is(key: str, *values: str) -> Json:
    return {"key": key, "operator": "In", "values": list(values)}


def _is_not(key: str, *values: str) -> Json:
    return {"key": key, "operator": "NotIn", "values": list(values)}


def _lacks(key: str) -> Json:
    return {"key": key, "operator": "DoesNotExist"}


Selectors = dict[str, tuple[list[Json], list[Json]]]
"""By the first part of a webhook's name: conditions on the namespace's labels, and on the pod's."""


def _of_revision(value: str) -> Selectors:
    return {
        "rev.namespace": ([_is(REVISION, value), _lacks(INJECTION)], [_is_not(INJECT, "false")]),
        "rev.object": ([_lacks(REVISION), _lacks(INJECTION)], [_is_not(INJECT, "false"), _is(REVISION, value)]),
    }


def _of_default() -> Selectors:
    return {
        "namespace": ([_is(INJECTION, "enabled")], [_is_not(INJECT, "false")]),
        "object": ([_lacks(INJECTION), _lacks(REVISION)], [_is(INJECT, "true"), _lacks(REVISION)]),
    }


def _of_the_rest() -> Selectors:
    system = _is_not(_NAME, *sorted(SYSTEM_NAMESPACES))
    return {"auto": ([_lacks(INJECTION), _lacks(REVISION), system], [_lacks(INJECT), _lacks(REVISION)])}
