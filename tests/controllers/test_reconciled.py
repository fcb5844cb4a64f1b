"""What the condition of an object says, and the patch of its status, applied as an API server applies it."""

from __future__ import annotations

from copy import deepcopy
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from controlplane.analysis.findings import Finding
from controlplane.apis.virtual_service import VirtualService
from controlplane.controllers.reconciled import LONGEST_MESSAGE, condition, differs, patch
from controlplane.model import kinds
from controlplane.model.objects import Meta, Object, ObjectKey
from controlplane.model.status import Condition, Received, Written, written

KEY, OTHER = ObjectKey(kinds.VIRTUAL_SERVICE, "shop", "cart"), ObjectKey(kinds.VIRTUAL_SERVICE, "shop", "old")
NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
MISSING = Finding(KEY, "spec.http[0].route[0].destination.subset", "no subset v1")
LOST = Finding(KEY, "spec.hosts[0]", "VirtualService shop/old has cart too", OTHER)
ACCEPTED = Condition("True", "Accepted", "in force as written", 3)
REJECTED = Condition("False", "Rejected", "spec.hosts: must not be empty", 3)
THEIRS = {"type": "Healthy", "status": "True", "lastProbeTime": "2026-01-01T00:00:00Z", "message": "fine"}


def obj(generation: int = 3) -> Object:
    return Object(kinds.VIRTUAL_SERVICE, Meta("shop", "cart", generation=generation), VirtualService(hosts=("cart",)))


def received(status: object = None, **fields: Any) -> Received:
    return Received(KEY, "v1", "77", 3, written(status), **fields)


@pytest.mark.parametrize(
    ("seen", "held", "findings", "unused", "says"),
    [
        pytest.param(received(), obj(), (), (), ACCEPTED, id="accepted"),
        pytest.param(received(), obj(2), (), (), None, id="not-in-force-yet"),
        pytest.param(received(), None, (), (), None, id="not-known-yet"),
        pytest.param(
            received(problems=("a: x", "b: y")), None, (), (), Condition("False", "Rejected", "a: x; b: y", 3), id="bad"
        ),
        pytest.param(
            received(problems=("a: x",)),
            obj(2),
            (),
            (),
            Condition("False", "Rejected", "a: x; the version before it stays in force", 3),
            id="bad-after-good",
        ),
        pytest.param(
            received(warnings=("c: z",)),
            obj(),
            (MISSING,),
            ("spec.tcp[].match[].sourceSubnet",),
            Condition(
                "True",
                "Warning",
                "spec.http[0].route[0].destination.subset: no subset v1;"
                " spec.tcp[].match[].sourceSubnet: is not translated, so it has no effect; c: z",
                3,
            ),
            id="doubtful",
        ),
        pytest.param(
            received(),
            obj(),
            (LOST, MISSING),
            (),
            Condition(
                "False",
                "Conflict",
                "spec.hosts[0]: VirtualService shop/old has cart too;"
                " spec.http[0].route[0].destination.subset: no subset v1",
                3,
            ),
            id="conflict",
        ),
    ],
)
def test_what_it_says(
    seen: Received, held: Object | None, findings: tuple[Finding, ...], unused: tuple[str, ...], says: Condition | None
) -> None:
    assert condition(seen, held, findings, unused) == says


def test_a_message_is_bounded() -> None:
    said = condition(received(problems=("x" * 1000,) * 100), obj())
    assert said is not None
    assert LONGEST_MESSAGE < len(said.message) < LONGEST_MESSAGE + 100
    assert said.message.endswith("... (100 in all); the version before it stays in force")


def test_an_empty_status_gets_ours() -> None:
    assert applied(None, ACCEPTED) == {
        "observedGeneration": 3,
        "conditions": [
            {
                "type": "Reconciled",
                "status": "True",
                "reason": "Accepted",
                "message": "in force as written",
                "observedGeneration": 3,
                "lastTransitionTime": "2026-05-01T12:00:00Z",
            }
        ],
    }


OURS = {
    "type": "Reconciled",
    "status": "True",
    "reason": "Accepted",
    "message": "in force as written",
    "observedGeneration": 3,
    "lastTransitionTime": "2026-01-01T00:00:00Z",
}


@pytest.mark.parametrize(
    "status",
    [
        pytest.param({}, id="empty"),
        pytest.param({"validationMessages": [{"level": "INFO"}]}, id="no-conditions"),
        pytest.param({"conditions": []}, id="no-condition"),
        pytest.param({"observedGeneration": "2", "conditions": [THEIRS]}, id="of-somebody-else"),
        pytest.param({"observedGeneration": 3, "conditions": [THEIRS, OURS | {"message": "x"}]}, id="ours-is-second"),
        pytest.param({"conditions": [OURS | {"observedGeneration": "2"}, THEIRS]}, id="of-an-older-generation"),
        pytest.param({"observedGeneration": 2, "conditions": [OURS]}, id="only-the-generation"),
        pytest.param({"conditions": [{"status": 5}, 7, OURS | {"status": None}]}, id="nonsense"),
        pytest.param({"conditions": "x", "observedGeneration": True}, id="no-list"),
    ],
)
@pytest.mark.parametrize("wanted", [ACCEPTED, REJECTED])
def test_one_patch_is_enough_and_leaves_the_rest(status: dict[str, Any], wanted: Condition) -> None:
    """Afterwards nothing differs; what others wrote is as it was, in the same order."""
    after = applied(status, wanted)
    assert not differs(written(after), wanted)
    assert written(after).condition == wanted
    assert _others(after) == _others(status)
    assert list(after.get("validationMessages", ())) == list(status.get("validationMessages", ()))
    again = patch(received(after), wanted, NOW)
    assert [each["path"] for each in again] == ["/metadata/resourceVersion"]


def test_what_is_there_is_not_written() -> None:
    assert not differs(written({"observedGeneration": "3", "conditions": [THEIRS, OURS]}), ACCEPTED)
    assert differs(written({"conditions": [THEIRS, OURS]}), ACCEPTED)
    assert differs(Written(), ACCEPTED)


def test_the_time_is_that_of_the_last_change_of_status() -> None:
    first = applied(None, REJECTED)
    still = applied(first, REJECTED._replace(message="another"), at=LATER)
    assert _time(still) == _time(first) == "2026-05-01T12:00:00Z"
    assert _time(applied(still, ACCEPTED, at=LATER)) == "2026-05-01T13:00:00Z"


def test_the_patch_is_for_one_resource_version() -> None:
    statuses: tuple[Any, ...] = (None, {}, {"conditions": []})
    for status in statuses:
        assert patch(received(status), ACCEPTED, NOW)[0] == {
            "op": "replace",
            "path": "/metadata/resourceVersion",
            "value": "77",
        }


def applied(status: object, wanted: Condition, at: datetime = NOW) -> Any:
    """Return the status after the patch. Reference: RFC 6902, as far as it is used."""
    document: dict[str, Any] = {"metadata": {"resourceVersion": "77"}}
    if status is not None:
        document["status"] = deepcopy(status)
    for operation in patch(received(status), wanted, at):
        *parents, last = operation["path"].split("/")[1:]
        target: Any = document
        for part in parents:
            target = target[int(part)] if isinstance(target, list) else target[part]
        if isinstance(target, list) and last == "-":
            target.append(operation["value"])
        elif isinstance(target, list):
            target[int(last)] = operation["value"]
        else:
            assert operation["op"] == "add" or last in target
            target[last] = operation["value"]
    return document["status"]


def _others(status: Any) -> list[Any]:
    listed = status.get("conditions")
    listed = listed if isinstance(listed, list) else []
    return [each for each in listed if not isinstance(each, dict) or each.get("type") != "Reconciled"]


def _time(status: Any) -> str:
    return written(status).since
