"""The taint of nodes without the CNI plugin, as a JSON patch takes it off."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.controllers.untaint import TAINT, without

OTHER = {"key": "other", "effect": "NoSchedule"}


def ours(effect: str = "NoSchedule") -> dict[str, Any]:
    return {"key": TAINT, "effect": effect}


def patched(taints: list[dict[str, Any]], operations: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Do what an API server does with a patch of ``/spec/taints``."""
    left = list(taints)
    for each in operations:
        index = int(each["path"].removeprefix("/spec/taints/"))
        if each["op"] == "test":
            assert left[index] == each["value"]
        else:
            assert each["op"] == "remove"
            del left[index]
    return left


@pytest.mark.parametrize(
    ("taints", "left"),
    [
        ([], []),
        ([OTHER], [OTHER]),
        ([ours()], []),
        ([OTHER, ours()], [OTHER]),
        ([ours(), OTHER, ours("NoExecute")], [OTHER]),
    ],
    ids=["none", "another-s", "ours", "behind-another-s", "of-two-effects"],
)
def test_the_taint_goes_and_others_stay(taints: list[dict[str, Any]], left: list[dict[str, Any]]) -> None:
    operations = without(taints)
    assert patched(taints, operations) == left
    assert bool(operations) == (left != taints)
