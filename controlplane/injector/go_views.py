"""A pod and the mesh's messages as templates see them: structs of Go's, with its names of fields."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from enum import Enum
from typing import Any

from controlplane.apis.common import ApiModel, duration_text
from controlplane.gotemplate.values import TextMap

_TEXT_MAPS = frozenset({"labels", "annotations", "nodeSelector", "matchLabels", "limits", "requests", "parameters"})
"""Maps from text to text; in all other maps of a pod the keys are fields."""

_METADATA = (
    "name generateName namespace uid resourceVersion generation creationTimestamp deletionTimestamp "
    "deletionGracePeriodSeconds labels annotations ownerReferences finalizers managedFields selfLink"
)
_SPEC = (
    "volumes initContainers containers ephemeralContainers restartPolicy terminationGracePeriodSeconds "
    "activeDeadlineSeconds dnsPolicy nodeSelector serviceAccountName serviceAccount automountServiceAccountToken "
    "nodeName hostNetwork hostPID hostIPC shareProcessNamespace securityContext imagePullSecrets hostname subdomain "
    "affinity schedulerName tolerations hostAliases priorityClassName priority dnsConfig readinessGates "
    "runtimeClassName enableServiceLinks preemptionPolicy overhead topologySpreadConstraints setHostnameAsFQDN os "
    "hostUsers schedulingGates resourceClaims resources hostnameOverride workloadRef"
)
_CONTAINER = (
    "name image command args workingDir ports envFrom env resources resizePolicy restartPolicy restartPolicyRules "
    "volumeMounts volumeDevices livenessProbe readinessProbe startupProbe lifecycle terminationMessagePath "
    "terminationMessagePolicy imagePullPolicy securityContext stdin stdinOnce tty targetContainerName"
)
_FIELDS: Mapping[str, frozenset[str]] = {
    "metadata": frozenset(_METADATA.split()),
    "spec": frozenset(_SPEC.split()),
    "containers": frozenset(_CONTAINER.split()),
    "initContainers": frozenset(_CONTAINER.split()),
}
"""The fields of what templates look into most; of all else any field may be asked for."""
_LISTS = frozenset({"containers", "initContainers", "volumes", "imagePullSecrets", "ports", "env", "volumeMounts"})
_TEXTS = frozenset({"name", "namespace", "image", "protocol", "hostIP", "serviceAccountName", "generateName", "value"})
_NUMBERS = frozenset({"containerPort", "hostPort"})


def json_field(name: str) -> str:
    """Return the JSON name of a field by its name in Go: ``HostIP`` is ``hostIP``, ``HTTPGet`` is ``httpGet``."""
    capitals = next((at for at, letter in enumerate(name) if not letter.isupper()), len(name))
    if capitals in (0, 1) or capitals == len(name):
        return name[:1].lower() + name[1:] if capitals <= 1 else name.lower()
    return name[: capitals - 1].lower() + name[capitals - 1 :]


class PodPart:
    """A part of a pod. What it does not state is the zero of the field's type."""

    def __init__(self, value: Mapping[str, Any], kind: str = "") -> None:
        self._value = value
        self._known = _FIELDS.get(kind)

    def field(self, name: str) -> Any:  # noqa: ANN401 - any value
        """Return a field by its name in Go. Raises ``KeyError`` where the struct has no such field."""
        if not name[:1].isupper():
            raise KeyError(name)
        found = json_field(name)
        if self._known is not None and found not in self._known:
            raise KeyError(name)
        return _viewed(self._value.get(found), found)

    def plain(self) -> Any:  # noqa: ANN401 - JSON
        """Return it as JSON."""
        return self._value


def _viewed(value: Any, name: str) -> Any:  # noqa: ANN401 - any values
    match value:
        case dict() if name in _TEXT_MAPS:
            return TextMap({key: "" if each is None else str(each) for key, each in value.items()})
        case dict():
            return PodPart(value, name)
        case list():
            return [_viewed(each, name) for each in value]
        case None if name in _TEXT_MAPS:
            return TextMap()
        case None if name in _LISTS:
            return []
        case None if name in _TEXTS:
            return ""
        case None if name in _NUMBERS:
            return 0
        case _:
            return value


class MessagePart:
    """A message of the mesh configuration; it has its defaults filled in."""

    def __init__(self, model: ApiModel) -> None:
        self.model = model
        self._names = {str(each.alias or name): name for name, each in type(model).model_fields.items()}

    def field(self, name: str) -> Any:  # noqa: ANN401 - any value
        """Return a field by its name in Go, or by its getter. Raises ``KeyError`` where there is none."""
        found = name[:1].lower() + name[1:]
        if found not in self._names and name.startswith("Get"):
            found = name[3:4].lower() + name[4:]
        return _message_value(getattr(self.model, self._names[found]))

    def plain(self) -> Any:  # noqa: ANN401 - JSON
        """Return it as protobuf's JSON."""
        return self.model.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude_none=True)


def _message_value(value: Any) -> Any:  # noqa: ANN401 - any values
    match value:
        case ApiModel():
            return MessagePart(value)
        case Enum():
            return value.value
        case timedelta():
            return duration_text(value)
        case dict():
            if all(isinstance(each, str) for each in value.values()):
                return TextMap(value)
            return {key: _message_value(each) for key, each in value.items()}
        case list() | tuple():
            return [_message_value(each) for each in value]
        case _:
            return value


class Fields:
    """A struct with these fields."""

    def __init__(self, fields: Mapping[str, Any]) -> None:
        self._fields = fields

    def field(self, name: str) -> Any:  # noqa: ANN401 - any value
        """Return a field. Raises ``KeyError`` where there is none."""
        return self._fields[name]

    def plain(self) -> Any:  # noqa: ANN401 - JSON
        """Return it as JSON, as far as its fields are."""
        return dict(self._fields)
