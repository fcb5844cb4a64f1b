"""Who wrote an object last."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.model.author import author


def entry(manager: object, time: str = "", **more: Any) -> dict[str, Any]:
    return {"manager": manager, "operation": "Update", "time": time, **more}


@pytest.mark.parametrize(
    ("managed", "expected"),
    [
        (None, ""),
        ("oops", ""),
        ([1, {}, entry(7)], ""),
        ([entry("kubectl", "2026-03-01T10:00:00Z")], "kubectl"),
        ([entry("argocd", "2026-03-02T10:00:00Z"), entry("kubectl", "2026-03-01T10:00:00Z")], "argocd"),
        ([entry("kubectl", "2026-03-01"), entry("controlplane", "2026-03-02", subresource="status")], "kubectl"),
        ([entry("x" * 1000)], "x" * 128),
    ],
)
def test_the_newest_manager_of_more_than_a_status_is_the_author(managed: object, expected: str) -> None:
    assert author({"managedFields": managed}) == expected
