"""Fields that are read and validated and that no translator uses yet, so that none is ignored in silence.

``NOT_TRANSLATED`` and ``KINDS_NOT_TRANSLATED`` are the only statement of them. Whoever translates one of these
fields takes its line out; a test compares the tables with the models and with the code.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType

import structlog

from controlplane.apis.common import ApiModel
from controlplane.apis.used_fields import used_fields
from controlplane.model.objects import ChangeSet, Object, ObjectKey

log = structlog.get_logger(__name__)

WHOLE = "spec"
"""What stands for every field of a kind that nothing translates."""

KINDS_NOT_TRANSLATED = frozenset(
    {
        "AuthorizationPolicy",
        "EnvoyFilter",
        "ProxyConfig",
        "RequestAuthentication",
        "Telemetry",
        "TrafficExtension",
        "WasmPlugin",
        "WorkloadGroup",
    }
)
"""Kinds whose objects change no resource at all."""

NOT_TRANSLATED: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "DestinationRule": (
            "outlierDetection.consecutiveErrors",
            "retryBudget.budgetInterval",
        ),
        "Gateway": ("servers[].defaultEndpoint",),
        "Sidecar": ("egress[].port.targetPort", "ingress[].tls"),
        "VirtualService": ("tcp[].match[].sourceSubnet",),
    }
)
"""Ends of the paths, by kind, of what is not translated; where it is a message, all of its fields are meant."""


def untranslated(obj: Object) -> tuple[str, ...]:
    """Return the paths of what the user gave in an object and nothing translates, sorted.

    A path is as ``used_fields`` gives it, after ``spec.``: ``spec.tcp[].match[].sourceSubnet``. A message that is
    not translated is named without its fields, a kind that is not as ``spec``.
    """
    if obj.kind in KINDS_NOT_TRANSLATED:
        return (WHOLE,)
    ends = NOT_TRANSLATED.get(obj.kind)
    if ends is None or not isinstance(obj.spec, ApiModel):
        return ()
    tails = tuple(f".{end}" for end in ends)
    return tuple(sorted(path for field in used_fields(obj.spec) if (path := f"{WHOLE}.{field}").endswith(tails)))


class UntranslatedFields:
    """Counts the objects that use such fields; a field is named in the log the first time that an object has it."""

    def __init__(self) -> None:
        self._fields: dict[ObjectKey, tuple[str, ...]] = {}
        self._counts: Counter[tuple[str, str]] = Counter()
        self._named: set[tuple[str, str]] = set()

    @property
    def counts(self) -> Mapping[tuple[str, str], int]:
        """How many objects there are now with each (kind, path)."""
        return MappingProxyType(+self._counts)

    def note(self, changes: ChangeSet) -> None:
        """Take what a change set puts in force; log the fields not named before and how many objects have them."""
        for key in changes.deletes:
            self._counts.subtract((key.kind, path) for path in self._fields.pop(key, ()))
        for obj in changes.upserts:
            paths = untranslated(obj)
            before = self._fields.pop(obj.key, ())
            if paths:
                self._fields[obj.key] = paths
            self._counts.subtract((obj.kind, path) for path in before)
            self._counts.update((obj.kind, path) for path in paths)
        counted = {used: count for used, count in self._counts.items() if count > 0}
        for kind, path in sorted(counted.keys() - self._named):
            self._named.add((kind, path))
            log.warning("registry.field_not_translated", kind=kind, field=path, count=counted[kind, path])
