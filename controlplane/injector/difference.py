"""The difference of two JSON values as a JSON patch. Reference: RFC 6902."""

from __future__ import annotations

from typing import Any

Operation = dict[str, Any]


def difference(old: Any, new: Any, path: str = "") -> list[Operation]:  # noqa: ANN401 - JSON
    """Return the operations that make ``new`` of ``old``, in the order in which they have to be applied."""
    if type(old) is type(new) and old == new:
        return []
    if isinstance(old, dict) and isinstance(new, dict):
        return _of_maps(old, new, path)
    if isinstance(old, list) and isinstance(new, list):
        return _of_lists(old, new, path)
    return [{"op": "replace", "path": path, "value": new}]


def _of_maps(old: dict[str, Any], new: dict[str, Any], path: str) -> list[Operation]:
    operations: list[Operation] = []
    for key, value in old.items():
        below = f"{path}/{_escaped(key)}"
        if key not in new:
            operations.append({"op": "remove", "path": below})
        else:
            operations += difference(value, new[key], below)
    operations += [
        {"op": "add", "path": f"{path}/{_escaped(key)}", "value": value} for key, value in new.items() if key not in old
    ]
    return operations


def _of_lists(old: list[Any], new: list[Any], path: str) -> list[Operation]:
    """Compare what is left between the common begin and end element by element, then add or remove the rest."""
    shorter = min(len(old), len(new))
    begin = 0
    while begin < shorter and old[begin] == new[begin]:
        begin += 1
    end = 0
    while end < shorter - begin and old[-1 - end] == new[-1 - end]:
        end += 1
    changed = shorter - begin - end
    operations: list[Operation] = []
    for at in range(begin, begin + changed):
        operations += difference(old[at], new[at], f"{path}/{at}")
    at = begin + changed
    operations += [{"op": "remove", "path": f"{path}/{at}"}] * (len(old) - shorter)
    operations += [
        {"op": "add", "path": f"{path}/{place}", "value": new[place]} for place in range(at, at + len(new) - shorter)
    ]
    return operations


def _escaped(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")
