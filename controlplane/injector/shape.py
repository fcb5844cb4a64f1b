"""Whether something is a pod: everything that the injector looks into has the type that Kubernetes gives it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from controlplane.injector.errors import InjectionError

Check = Callable[[object, str], None]


def check_pod(pod: object, path: str = "") -> None:
    """Raise ``InjectionError``, naming the path, where a part of the pod has another type than it must have."""
    _of({"metadata": _METADATA, "spec": _SPEC}, pod, path)


def _of(fields: Mapping[str, Check], value: object, path: str) -> None:
    if value is None:
        return
    if not isinstance(value, dict):
        raise _wrong(path, "a map", value)
    for name, check in fields.items():
        if value.get(name) is not None:
            check(value[name], f"{path}.{name}" if path else name)


def _wrong(path: str, wanted: str, value: object) -> InjectionError:
    words = {dict: "a map", list: "a list", str: "text", bool: "a boolean", int: "a number", float: "a number"}
    return InjectionError(f"{path or 'the pod'}: must be {wanted}, not {words.get(type(value), 'nothing')}")


def _map(fields: Mapping[str, Check]) -> Check:
    return lambda value, path: _of(fields, value, path)


def _list(item: Check) -> Check:
    def check(value: object, path: str) -> None:
        if not isinstance(value, list):
            raise _wrong(path, "a list", value)
        for index, each in enumerate(value):
            if each is None:
                raise _wrong(f"{path}[{index}]", "a map", each)
            item(each, f"{path}[{index}]")

    return check


def _text(value: object, path: str) -> None:
    if not isinstance(value, str):
        raise _wrong(path, "text", value)


def _number(value: object, path: str) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise _wrong(path, "a whole number", value)


def _port(value: object, path: str) -> None:
    if not isinstance(value, (int, str)) or isinstance(value, bool):
        raise _wrong(path, "a number or a name", value)


def _bool(value: object, path: str) -> None:
    if not isinstance(value, bool):
        raise _wrong(path, "a boolean", value)


def _texts_by_name(value: object, path: str) -> None:
    if not isinstance(value, dict):
        raise _wrong(path, "a map", value)
    for name, each in value.items():
        if each is not None and not isinstance(each, str):
            raise _wrong(f"{path}[{name}]", "text", each)


_NAMED = _map({"name": _text})
_HANDLER: dict[str, Check] = {
    "httpGet": _map({"port": _port, "path": _text, "scheme": _text}),
    "tcpSocket": _map({"port": _port}),
    "grpc": _map({"port": _number}),
}
_PROBE = _map({**_HANDLER, "timeoutSeconds": _number})
_CONTAINER = _map(
    {
        "name": _text,
        "image": _text,
        "args": _list(_text),
        "command": _list(_text),
        "env": _list(_map({"name": _text, "value": _text})),
        "ports": _list(_map({"name": _text, "containerPort": _number, "hostPort": _number, "protocol": _text})),
        "volumeMounts": _list(_map({"name": _text, "mountPath": _text})),
        "resources": _map({}),
        "lifecycle": _map({"preStop": _map(_HANDLER), "postStart": _map(_HANDLER)}),
        "livenessProbe": _PROBE,
        "readinessProbe": _PROBE,
        "startupProbe": _PROBE,
        "restartPolicy": _text,
        "securityContext": _map({"runAsUser": _number, "runAsGroup": _number, "capabilities": _map({})}),
    }
)
_METADATA = _map(
    {
        "name": _text,
        "generateName": _text,
        "namespace": _text,
        "labels": _texts_by_name,
        "annotations": _texts_by_name,
        "ownerReferences": _list(_map({"apiVersion": _text, "kind": _text, "name": _text, "controller": _bool})),
    }
)
_SPEC = _map(
    {
        "containers": _list(_CONTAINER),
        "initContainers": _list(_CONTAINER),
        "volumes": _list(_NAMED),
        "imagePullSecrets": _list(_NAMED),
        "hostNetwork": _bool,
        "securityContext": _map({}),
        "serviceAccountName": _text,
    }
)
