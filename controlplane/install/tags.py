"""Tags: names for control planes that may move from one revision to another. The objects of one, as values.

Reference: `istioctl tag`, whose names and labels these are. The roots are copied from the revision's webhook, so that a
tag works at once; a right of its own lets the control plane renew them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from controlplane.documents.words import is_label
from controlplane.injector.webhooks import DEFAULT, TAG, Injector, webhook_configuration
from controlplane.install.errors import RefusedInputError
from controlplane.install.plan import NAMESPACE, OURS, PART_OF, REVISION

Json = dict[str, Any]

DEACTIVATED = {"istio.io/deactivated": "never-match"}
MUTATING, VALIDATING = "MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"
VALIDATOR = "istiod-default-validator"
"""Who checks objects of no revision: a control plane without a revision, or that of the tag ``default``."""
_LONGEST = 63 - len("istiod-revision-tag-")  # the Service of a tag is called so
_SHOWN = 100
_RBAC = "rbac.authorization.k8s.io"


@dataclass(frozen=True, slots=True)
class Tag:
    """A tag, the revision it stands for, and the namespaces that ask for it."""

    name: str
    revision: str
    namespaces: tuple[str, ...] = ()


def tags(configurations: Sequence[Mapping[str, Any]], namespaces: Sequence[Mapping[str, Any]]) -> list[Tag]:
    """Return all tags of MutatingWebhookConfigurations, by name."""
    found = []
    for each in configurations:
        labels = each["metadata"].get("labels") or {}
        if TAG in labels:
            users = tuple(sorted(one["metadata"]["name"] for one in namespaces if _asks(one, labels[TAG])))
            found.append(Tag(labels[TAG], labels.get(REVISION, ""), users))
    return sorted(found, key=lambda each: each.name)


def source(tag: str, revision: str, configurations: Sequence[Json], *, overwrite: bool) -> Json:
    """Return the webhook configuration of the revision that a tag is to stand for.

    Raises:
        RefusedInputError: the tag is no name, there is no such revision, the tag has the name of one, or stands for
            another already.
    """
    if not is_label(tag) or len(tag) > _LONGEST:
        raise RefusedInputError(
            f"tag: {tag[:_SHOWN]!r}: must be lower-case letters, digits and, inside, hyphens; at most {_LONGEST} in all"
        )
    own = {each["metadata"]["labels"][REVISION]: each for each in configurations if _is_revision(each)}
    taken = [each for each in configurations if (each["metadata"].get("labels") or {}).get(TAG) == tag]
    if revision not in own:
        known = ", ".join(sorted(own)) or "none"
        raise RefusedInputError(f"no control plane has the revision {revision}; there are {known}")
    if tag in own and tag != DEFAULT:
        raise RefusedInputError(f"{tag} is the name of a revision, and cannot be a tag")
    if tag == revision:
        raise RefusedInputError(f"{tag} is that revision already")
    if taken and not overwrite:
        now = taken[0]["metadata"]["labels"].get(REVISION)
        raise RefusedInputError(f"the tag {tag} stands for {now}; --overwrite moves it")
    return own[revision]


def objects(tag: str, configuration: Json, *, automatic: bool = False) -> list[Json]:
    """Return what a tag consists of; ``configuration`` is that of its revision, ``automatic`` as in ``Injector``."""
    revision = configuration["metadata"]["labels"][REVISION]
    labels = {PART_OF: OURS, REVISION: revision, TAG: tag}
    webhooks = webhook_configuration(Injector(revision, tag, automatic=automatic))
    bundle = next((each["clientConfig"].get("caBundle") for each in configuration["webhooks"]), None)
    policy = configuration["webhooks"][0].get("reinvocationPolicy", "Never")
    for each in webhooks["webhooks"]:
        each["clientConfig"] = {**each["clientConfig"], **({"caBundle": bundle} if bundle else {})}
        each["reinvocationPolicy"] = policy
    webhooks["metadata"]["labels"] = {"app": "sidecar-injector", **labels}
    return [*_rights(webhooks["metadata"]["name"], revision, labels), _service(tag, revision, labels), webhooks]


def default_validator(configuration: Json) -> Json:
    """Return the webhook that has the revision of this one check objects of no revision too."""
    webhooks = []
    for each in configuration["webhooks"]:
        kept = {key: value for key, value in each.items() if key != "objectSelector"}
        webhooks.append({**kept, "name": each["name"].removeprefix("rev.")})
    revision = configuration["metadata"]["labels"][REVISION]
    labels = {"app": "istiod", PART_OF: OURS, REVISION: revision, TAG: DEFAULT}
    metadata = {"name": VALIDATOR, "labels": labels}
    return {
        "apiVersion": configuration["apiVersion"],
        "kind": VALIDATING,
        "metadata": metadata,
        "webhooks": webhooks,
    }


def switched(configuration: Json, *, on: bool) -> list[Json]:
    """Return the JSON patch by which all webhooks of a configuration select nothing, or what they did before."""
    operations: list[Json] = []
    for at, each in enumerate(configuration["webhooks"]):
        for key in ("namespaceSelector", "objectSelector"):
            path = f"/webhooks/{at}/{key}/matchLabels"
            is_off = (each.get(key) or {}).get("matchLabels") == DEACTIVATED
            if on and is_off:
                operations.append({"op": "remove", "path": path})
            elif not on and not is_off:
                operations.append({"op": "add", "path": path, "value": DEACTIVATED})
    return operations


def _is_revision(configuration: Mapping[str, Any]) -> bool:
    labels = configuration["metadata"].get("labels") or {}
    return REVISION in labels and TAG not in labels and bool(configuration.get("webhooks"))


def _asks(namespace: Mapping[str, Any], tag: str) -> bool:
    labels = namespace["metadata"].get("labels") or {}
    injection = labels.get("istio-injection")
    if tag == DEFAULT and injection == "enabled":
        return True
    return injection is None and labels.get(REVISION) == tag


def _suffix(revision: str) -> str:
    return "" if revision == DEFAULT else f"-{revision}"


def _service(tag: str, revision: str, labels: Json) -> Json:
    selector = {"istio": "pilot"} if revision == DEFAULT else {"app": "istiod", REVISION: revision}
    ports = (("grpc-xds", 15010, "grpc-xds"), ("https-dns", 15012, "tls-xds"), ("https-webhook", 443, "https-webhooks"),
             ("http-monitoring", 15014, "http-monitoring"))  # fmt: skip
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": f"istiod-revision-tag-{tag}", "namespace": NAMESPACE, "labels": labels},
        "spec": {
            "selector": selector,
            "ports": [{"name": name, "port": port, "targetPort": target} for name, port, target in ports],
        },
    }


def _rights(name: str, revision: str, labels: Json) -> list[Json]:
    rule = {
        "apiGroups": ["admissionregistration.k8s.io"],
        "resources": ["mutatingwebhookconfigurations"],
        "resourceNames": [name],
        "verbs": ["patch"],
    }
    account = {"kind": "ServiceAccount", "name": f"istiod{_suffix(revision)}", "namespace": NAMESPACE}
    metadata: Json = {"name": name, "labels": labels}
    version = f"{_RBAC}/v1"
    return [
        {"apiVersion": version, "kind": "ClusterRole", "metadata": metadata, "rules": [rule]},
        {
            "apiVersion": version,
            "kind": "ClusterRoleBinding",
            "metadata": metadata,
            "roleRef": {"apiGroup": _RBAC, "kind": "ClusterRole", "name": name},
            "subjects": [account],
        },
    ]
