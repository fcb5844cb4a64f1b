"""Strategic merge of an overlay onto a pod, as the API server does it.

Maps merge by key and ``None`` takes a key away. Lists that Kubernetes merges do so by the key of ``_KEYS``; all others
are replaced. Of a merged list, elements of the overlay come in its order, those of the pod alone keep theirs.
Reference: Kubernetes, "Use a Strategic Merge Patch".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from controlplane.injector.errors import InjectionError

_KEYS = {
    "containers": "name",
    "initContainers": "name",
    "ephemeralContainers": "name",
    "volumes": "name",
    "imagePullSecrets": "name",
    "resourceClaims": "name",
    "schedulingGates": "name",
    "env": "name",
    "ports": "containerPort",
    "volumeMounts": "mountPath",
    "volumeDevices": "devicePath",
    "hostAliases": "ip",
    "topologySpreadConstraints": "topologyKey",
    "ownerReferences": "uid",
}
"""Lists of a pod that merge, and the key of their elements. Source: ``patchMergeKey`` of ``core/v1``."""
_ASKED = frozenset({"livenessProbe", "readinessProbe", "startupProbe", "preStop", "postStart"})
_WAYS = frozenset({"exec", "grpc", "httpGet", "sleep", "tcpSocket"})
"""Ways of a probe or hook, of which it may have one only: what an overlay states goes in the place of another."""
_DIRECTIVE = "$patch"
_REPLACE, _DELETE, _MERGE = "replace", "delete", "merge"


def merged(target: Mapping[str, Any], overlay: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """Return the target with the overlay laid upon it; neither is changed, parts may be shared.

    Raises:
        InjectionError: the two have different types at a path, or an element lacks its key.
    """
    directive = overlay.get(_DIRECTIVE, _MERGE)
    rest = {key: value for key, value in overlay.items() if not key.startswith("$")}
    if unknown := [key for key in overlay if key.startswith("$") and key != _DIRECTIVE]:
        raise InjectionError(f"{path or 'the overlay'}: directive {unknown[0]} is not supported")
    if directive == _REPLACE:
        return rest
    if directive != _MERGE:
        raise InjectionError(f"{path or 'the overlay'}: {_DIRECTIVE}: {directive} is not possible here")
    result = dict(target)
    for key, value in rest.items():
        below = f"{path}.{key}" if path else key
        if value is None:
            result.pop(key, None)
        else:
            result[key] = _laid(_open_to(result.get(key), value, key), value, below, _KEYS.get(key))
    return result


def _open_to(old: Any, new: Any, key: str) -> Any:  # noqa: ANN401 - JSON
    """Return a probe or hook without the ways that the overlay states another for."""
    if key not in _ASKED or not isinstance(old, dict) or not isinstance(new, dict) or not _WAYS & new.keys():
        return old
    return {name: value for name, value in old.items() if name not in _WAYS or name in new}


def _laid(old: Any, new: Any, path: str, list_key: str | None) -> Any:  # noqa: ANN401 - JSON
    if isinstance(new, dict):
        if old is not None and not isinstance(old, dict):
            raise InjectionError(f"{path}: must not be a map")
        return merged(old or {}, new, path)
    if isinstance(new, list) and list_key is not None and all(isinstance(each, dict) for each in new):
        if old is not None and not isinstance(old, list):
            raise InjectionError(f"{path}: must not be a list")
        return _merged_list(old or [], new, path, list_key)
    if isinstance(old, (dict, list)) and type(old) is not type(new):
        raise InjectionError(f"{path}: must be a {'map' if isinstance(old, dict) else 'list'}")
    return new


def _merged_list(old: list[dict[str, Any]], new: list[dict[str, Any]], path: str, key: str) -> list[dict[str, Any]]:
    replaced = {_DIRECTIVE: _REPLACE} in new
    by_key = {} if replaced else {each.get(key): each for each in old}
    places = {name: at for at, name in enumerate(by_key)}
    patched: dict[Any, dict[str, Any]] = {}
    deleted = set()
    for index, each in enumerate(new):
        if each == {_DIRECTIVE: _REPLACE}:
            continue
        if key not in each:
            raise InjectionError(f"{path}[{index}]: {key} is required")
        name = each[key]
        if each.get(_DIRECTIVE) == _DELETE:
            deleted.add(name)
            continue
        patched[name] = merged(patched.get(name) or by_key.get(name) or {}, each, f"{path}[{name}]")
    left = [] if replaced else [each for each in old if each.get(key) not in patched and each.get(key) not in deleted]
    return _interleaved(left, list(patched.values()), places, key)


def _interleaved(
    left: list[dict[str, Any]], right: list[dict[str, Any]], places: Mapping[Any, int], key: str
) -> list[dict[str, Any]]:
    """Put each left element before the first right one that stood behind it in the old list, else at the end."""
    result: list[dict[str, Any]] = []
    at = 0
    for each in right:
        place = places.get(each.get(key))
        while at < len(left) and place is not None and places[left[at].get(key)] < place:
            result.append(left[at])
            at += 1
        result.append(each)
    return [*result, *left[at:]]
