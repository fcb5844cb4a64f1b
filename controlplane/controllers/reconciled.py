"""What the condition ``Reconciled`` of one object should say, and the patch that makes it say so. Pure functions.

Istio's definitions declare ``status.conditions`` as a plain list, which server-side apply takes as one value: to apply
one condition would take away everybody else's. So it is a JSON patch of one place in the list, which holds only for
the resource version in which the place was read (409 otherwise), and which needs no verb but ``patch``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from controlplane.analysis.findings import Finding
from controlplane.apis.closing.stand_ins import NOTES
from controlplane.controllers.json_patch import Operations, add, lock
from controlplane.model.objects import Object
from controlplane.model.status import RECONCILED, Condition, Received, Written

ACCEPTED, WARNING, CONFLICT, REJECTED = "Accepted", "Warning", "Conflict", "Rejected"
IN_FORCE = "in force as written"
LONGEST_MESSAGE = 16_384
"""In characters; a list of problems that is longer is cut, with their number."""


def condition(
    received: Received, obj: Object | None, findings: Sequence[Finding] = (), unused: Sequence[str] = ()
) -> Condition | None:
    """Return what should be said of an object; ``None`` while its newest generation has not come into force.

    ``obj`` is what the registry has of it, ``findings`` are those about it, ``unused`` paths of what it states and
    nothing translates. False means that something it states is not in force: all of it where it is rejected, the
    fields named where another object comes before it. What merely deserves a look leaves it true, as ``Warning``.
    """
    if received.problems:
        told = not NOTES.isdisjoint(received.problems)  # which says what is in force of a policy
        kept = "; the version before it stays in force" if obj is not None and not told else ""
        return Condition("False", REJECTED, _joined(received.problems, kept), received.generation)
    if obj is None or obj.meta.generation != received.generation:
        return None
    notes = [f"{each.path}: {each.reason}" for each in findings]
    notes += [f"{path}: is not translated, so it has no effect" for path in unused]
    notes += received.warnings
    if any(each.winner is not None for each in findings):
        return Condition("False", CONFLICT, _joined(notes), received.generation)
    if notes:
        return Condition("True", WARNING, _joined(notes), received.generation)
    return Condition("True", ACCEPTED, IN_FORCE, received.generation)


def differs(written: Written, wanted: Condition) -> bool:
    """Whether there is anything to write."""
    return written.condition != wanted or written.observed_generation != wanted.observed_generation


def patch(received: Received, wanted: Condition, now: datetime) -> Operations:
    """Return what makes the status say ``wanted``, if the object is still as received.

    The time of transition changes only with the condition's status.
    """
    written = received.written
    same = written.condition is not None and written.condition.status == wanted.status
    value = {
        "type": RECONCILED,
        "status": wanted.status,
        "reason": wanted.reason,
        "message": wanted.message,
        "observedGeneration": wanted.observed_generation,
        "lastTransitionTime": written.since if same and written.since else _time(now),
    }
    observed = wanted.observed_generation
    operations = [lock(received.resource_version)]
    if not written.exists:
        return [*operations, add("/status", {"observedGeneration": observed, "conditions": [value]})]
    if written.observed_generation != observed:
        operations.append(add("/status/observedGeneration", observed))
    if not written.listed:
        return [*operations, add("/status/conditions", [value])]
    if written.position < 0:
        return [*operations, add("/status/conditions/-", value)]
    if written.condition != wanted:
        operations.append({"op": "replace", "path": f"/status/conditions/{written.position}", "value": value})
    return operations


def _joined(reasons: Iterable[str], end: str = "") -> str:
    every = list(reasons)
    text = "; ".join(every)
    if len(text) > LONGEST_MESSAGE:
        text = f"{text[:LONGEST_MESSAGE]} ... ({len(every)} in all)"
    return text + end


def _time(now: datetime) -> str:
    return now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
