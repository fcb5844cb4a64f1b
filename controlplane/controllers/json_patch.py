"""The operations of patches. Reference: RFC 6902."""

from __future__ import annotations

from typing import Any

Operation = dict[str, Any]
Operations = list[Operation]


def lock(resource_version: str) -> Operation:
    """Return the operation that makes a patch hold only for one version of the object (otherwise 409)."""
    return {"op": "replace", "path": "/metadata/resourceVersion", "value": resource_version}


def add(path: str, value: object) -> Operation:
    """Return the operation that puts a value where there may or may not be one; what it is put in must be there."""
    return {"op": "add", "path": path, "value": value}
