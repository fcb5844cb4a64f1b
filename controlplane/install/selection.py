"""Which injecting webhooks a pod goes to, by its labels and those of its namespace, and why.

Reference: the webhooks' selectors, evaluated as the API server does. Whether the injector that is asked injects then is
its own decision (``injector.decision``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from controlplane.apis.mesh import LabelSelector
from controlplane.install.plan import REVISION
from controlplane.install.tags import DEACTIVATED
from controlplane.model.label_selector import matches

Labels = Mapping[str, str]
Json = Mapping[str, Any]

INJECT, INJECTION = "sidecar.istio.io/inject", "istio-injection"
_SIDECARS = ".sidecar-injector.istio.io"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one configuration does with a pod, and why, in a few words."""

    configuration: str
    revision: str
    injects: bool
    reason: str


def verdicts(configurations: Sequence[Json], namespace: Labels, pod: Labels) -> list[Verdict]:
    """Return what each injecting configuration does, by name."""
    found = []
    for each in sorted(configurations, key=lambda one: str(one["metadata"]["name"])):
        webhooks = [one for one in each.get("webhooks") or () if one["name"].endswith(_SIDECARS)]
        if webhooks:
            revision = (each["metadata"].get("labels") or {}).get(REVISION, "")
            found.append(_verdict(each["metadata"]["name"], revision, webhooks, (namespace, pod)))
    return found


def problems(found: Sequence[Verdict]) -> list[str]:
    """Return what is wrong in all verdicts together."""
    injecting = [each.configuration for each in found if each.injects]
    if not found:
        return ["there is no injecting webhook: no control plane is installed"]
    if len(injecting) > 1:
        return [f"{len(injecting)} configurations inject this pod: {', '.join(injecting)}"]
    return []


def _verdict(name: str, revision: str, webhooks: Sequence[Json], labels: tuple[Labels, Labels]) -> Verdict:
    namespace, pod = labels
    if all((each.get("namespaceSelector") or {}).get("matchLabels") == DEACTIVATED for each in webhooks):
        return Verdict(
            name, revision, injects=False, reason="it is deactivated: the tag default stands for another one"
        )
    for each in webhooks:
        if _selects(each.get("namespaceSelector"), namespace) and _selects(each.get("objectSelector"), pod):
            return Verdict(name, revision, injects=True, reason=_match(each["name"], namespace, pod))
    return Verdict(name, revision, injects=False, reason=_mismatch(webhooks, namespace, pod))


def _selects(selector: Json | None, labels: Labels) -> bool:
    """Whether a selector has these labels; one that cannot be read, which no API server stores, has none."""
    try:
        return matches(LabelSelector.model_validate(selector or {}), labels)
    except ValidationError:
        return False


def _match(webhook: str, namespace: Labels, pod: Labels) -> str:
    match webhook.removesuffix(_SIDECARS):
        case "rev.namespace":
            return f"the namespace has the label {REVISION}={namespace.get(REVISION)}"
        case "rev.object":
            return f"the pod has the label {REVISION}={pod.get(REVISION)}"
        case "namespace":
            return f"the namespace has the label {INJECTION}={namespace.get(INJECTION)}"
        case "object":
            return f"the pod has the label {INJECT}={pod.get(INJECT)}"
        case _:
            return "namespaces that say nothing are injected"


def _mismatch(webhooks: Sequence[Json], namespace: Labels, pod: Labels) -> str:
    if pod.get(INJECT) == "false":
        return f"the pod has the label {INJECT}=false"
    if namespace.get(INJECTION) not in (None, "enabled"):
        return f"the namespace has the label {INJECTION}={namespace[INJECTION]}"
    wanted = sorted({f"{key}={value}" for each in webhooks for key, value in _wanted(each)})
    return f"neither the namespace nor the pod has a label that asks for it: {' or '.join(wanted)}"


def _wanted(webhook: Json) -> list[tuple[str, str]]:
    selectors = (webhook.get("namespaceSelector"), webhook.get("objectSelector"))
    conditions = [one for each in selectors for one in (each or {}).get("matchExpressions") or ()]
    return [(each["key"], value) for each in conditions if each["operator"] == "In" for value in each["values"]]
