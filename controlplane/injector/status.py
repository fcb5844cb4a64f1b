"""The annotation that lists what was injected, by which a pod that is injected again is known."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from controlplane.documents.json_reader import json_value
from controlplane.documents.limits import UnreadableError
from controlplane.injector.containers import CONTAINERS, INIT_CONTAINERS

STATUS = "sidecar.istio.io/status"


@dataclass(frozen=True, slots=True)
class InjectionStatus:
    """The names of what an earlier injection added."""

    containers: frozenset[str] = frozenset()
    init_containers: frozenset[str] = frozenset()

    def of(self, field: str) -> frozenset[str]:
        """Return the names in the list of this field of the pod's spec."""
        return self.init_containers if field == INIT_CONTAINERS else self.containers


def injected_before(annotations: Mapping[str, str]) -> InjectionStatus | None:
    """Return what an earlier injection added, ``None`` where there was none, or its list cannot be read."""
    text = annotations.get(STATUS)
    if text is None:
        return None
    try:
        value = json_value(text)
    except UnreadableError:
        return None
    if not isinstance(value, dict) or not value.keys() & {CONTAINERS, INIT_CONTAINERS}:
        return None
    return InjectionStatus(_names(value.get(CONTAINERS)), _names(value.get(INIT_CONTAINERS)))


def status_text(spec: Mapping[str, Any], revision: str) -> str:
    """Return the annotation for what the templates state in this spec; a list that is empty is ``null``."""
    lists = {
        field: [each.get("name", "") for each in spec.get(field) or ()] or None
        for field in (INIT_CONTAINERS, CONTAINERS, "volumes", "imagePullSecrets")
    }
    return json.dumps({**lists, "revision": revision or "default"}, separators=(",", ":"), ensure_ascii=False)


def _names(value: object) -> frozenset[str]:
    return frozenset(each for each in value if isinstance(each, str)) if isinstance(value, list) else frozenset()
