"""What is changed of a webhook's configuration; ``tests/kubernetes`` does it to a real one."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.controllers.webhook_config import OF_MESH, RULES, Identity, insisting, known_bad, trusting
from controlplane.webhooks.review import Request
from controlplane.webhooks.validation import validate

OURS = {"caBundle": "b2xk"}


def configuration(*webhooks: dict[str, Any]) -> dict[str, Any]:
    return {"metadata": {"name": "validator"}, "webhooks": list(webhooks)}


@pytest.mark.parametrize(
    ("webhooks", "changes"),
    [
        pytest.param([], [], id="none"),
        pytest.param([{"clientConfig": OURS, "rules": RULES}], [], id="right"),
        pytest.param(
            [{"clientConfig": {}, "rules": RULES}], [("/webhooks/0/clientConfig/caBundle", "b2xk")], id="no-bundle"
        ),
        pytest.param(
            [{"clientConfig": OURS, "rules": RULES}, {"clientConfig": {"caBundle": "x"}, "rules": RULES}],
            [("/webhooks/1/clientConfig/caBundle", "b2xk")],
            id="another-bundle",
        ),
        pytest.param(
            [{"clientConfig": {}, "failurePolicy": "Fail"}],
            [
                ("/webhooks/0/clientConfig/caBundle", "b2xk"),
                ("/webhooks/0/failurePolicy", "Ignore"),
                ("/webhooks/0/rules", RULES),
            ],
            id="no-rules",
        ),
    ],
)
def test_trusting(webhooks: list[dict[str, Any]], changes: list[tuple[str, Any]]) -> None:
    """Only what differs is changed; rules come with a policy that hurts nobody."""
    operations = trusting(configuration(*webhooks), "b2xk")
    assert [(each["path"], each["value"]) for each in operations] == changes
    assert {each["op"] for each in operations} <= {"add"}


def test_insisting() -> None:
    webhooks = [{"failurePolicy": "Fail"}, {"failurePolicy": "Ignore"}]
    assert [each["path"] for each in insisting(configuration(*webhooks))] == ["/webhooks/1/failurePolicy"]
    assert insisting(configuration({"failurePolicy": "Fail"})) == []
    assert insisting(configuration({"name": OF_MESH, "failurePolicy": "Ignore"})) == [], "it may have to be mended"
    assert insisting({}) == []


def test_the_known_bad_object_is_refused_for_the_reason_that_is_looked_for() -> None:
    obj = known_bad(Identity(revision="canary", namespace="mesh"))
    assert obj["metadata"]["labels"] == {"istio.io/rev": "canary"}
    response = validate(Request("u", "CREATE", "networking.istio.io", "Gateway", "mesh", obj))
    assert "internal.istio.io/webhook-always-reject" in response.refusal
