"""Which webhook a pod goes to, and why."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.injector.webhooks import Injector, webhook_configuration
from controlplane.install.selection import problems, verdicts
from controlplane.install.tags import DEACTIVATED

DEFAULT, CANARY, PROD = (
    webhook_configuration(Injector()),
    webhook_configuration(Injector("canary")),
    webhook_configuration(Injector("canary", "prod")),
)
REVISION, INJECTION, INJECT = "istio.io/rev", "istio-injection", "sidecar.istio.io/inject"


@pytest.mark.parametrize(
    ("namespace", "pod", "who", "reason"),
    [
        ({INJECTION: "enabled"}, {}, "istio-sidecar-injector", "the namespace has the label istio-injection=enabled"),
        ({REVISION: "canary"}, {}, "istio-sidecar-injector-canary", "the namespace has the label istio.io/rev=canary"),
        ({REVISION: "prod"}, {}, "istio-revision-tag-prod", "the namespace has the label istio.io/rev=prod"),
        ({}, {REVISION: "prod"}, "istio-revision-tag-prod", "the pod has the label istio.io/rev=prod"),
        ({}, {INJECT: "true"}, "istio-sidecar-injector", "the pod has the label sidecar.istio.io/inject=true"),
        ({INJECTION: "enabled"}, {INJECT: "false"}, "", "the pod has the label sidecar.istio.io/inject=false"),
        ({INJECTION: "disabled"}, {INJECT: "true"}, "", "the namespace has the label istio-injection=disabled"),
        ({}, {}, "", "neither the namespace nor the pod has a label that asks for it: istio-injection=enabled or"),
    ],
)
def test_the_reason_is_told(namespace: dict[str, str], pod: dict[str, str], who: str, reason: str) -> None:
    found = verdicts([DEFAULT, CANARY, PROD], namespace, pod)
    assert [each.configuration for each in found if each.injects] == ([who] if who else [])
    told = next(each for each in found if each.configuration == (who or "istio-sidecar-injector"))
    assert told.reason.startswith(reason)
    assert problems(found) == []


def test_two_that_inject_are_a_problem() -> None:
    other: dict[str, Any] = {**DEFAULT, "metadata": {**DEFAULT["metadata"], "name": "other"}}
    (problem,) = problems(verdicts([DEFAULT, other], {INJECTION: "enabled"}, {}))
    assert problem == "2 configurations inject this pod: istio-sidecar-injector, other"
    assert "no control plane" in problems(verdicts([{"metadata": {"name": "x"}, "webhooks": []}], {}, {}))[0]


def test_a_webhook_that_is_switched_off_is_told() -> None:
    webhooks = [{**each, "namespaceSelector": {"matchLabels": DEACTIVATED}} for each in DEFAULT["webhooks"]]
    (found,) = verdicts([{**DEFAULT, "webhooks": webhooks}], {INJECTION: "enabled"}, {})
    assert (found.injects, "deactivated" in found.reason) == (False, True)
