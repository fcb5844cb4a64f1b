"""What a user states that nothing reads: keys that nobody knows, and keys that have no effect.

The schemas beside the charts say which values there are, here as for Helm, and a schema of ours which fields an
IstioOperator has. One that is ``deprecated`` there is known and has no effect; its description says why, or what has.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from controlplane.documents.json_reader import json_value
from controlplane.documents.nearest import nearest
from controlplane.documents.yaml_writer import yaml_text
from controlplane.install.chart import chart
from controlplane.install.operator import Intent, Stated
from controlplane.validation.mesh import MESH, NETWORKS, mesh_problems

Json = Mapping[str, Any]

_TYPES: Mapping[str, tuple[type, ...]] = {
    "array": (list,),
    "boolean": (bool,),
    "integer": (int,),
    "null": (type(None),),
    "number": (int, float),
    "object": (dict,),
    "string": (str,),
}
_ARTICLES = {"array": "a list", "boolean": "true or false", "integer": "a whole number", "object": "a map"}


def findings(intent: Intent) -> tuple[list[str], list[str]]:
    """Return what is wrong in what a user states, and what has no effect; each names its source and its path."""
    errors: list[str] = []
    warnings: list[str] = []
    for each in intent.stated:
        _check(each, errors, warnings)
    return errors, warnings


def _check(stated: Stated, errors: list[str], warnings: list[str]) -> None:
    schema = _operator_schema()
    values = stated.spec.get("values")
    found = list(_problems(schema, schema, stated.spec, ""))
    if isinstance(values, dict):
        of_plugin = chart("cni").schema
        found += _problems(of_plugin, of_plugin, values.get("cni"), "values.cni")
        of_values = chart("istiod").schema
        found += _problems(of_values, of_values, {key: values[key] for key in values if key != "cni"}, "values")
    for path, reason, is_dead in found:
        (warnings if is_dead else errors).append(f"{stated.source}: {path}: {reason}")
    for path, mesh in (("meshConfig", stated.spec), ("values.meshConfig", values)):
        config = mesh.get("meshConfig") if isinstance(mesh, dict) else None
        if isinstance(config, dict):
            _check_text(f"{stated.source}: {path}", MESH, config, (errors, warnings))
    networks = (values.get("global") or {}).get("meshNetworks") if isinstance(values, dict) else None
    if isinstance(networks, dict):
        _check_text(
            f"{stated.source}: values.global.meshNetworks", NETWORKS, {"networks": networks}, (errors, warnings)
        )


def _check_text(where: str, key: str, value: Json, found: tuple[list[str], list[str]]) -> None:
    wrong, doubtful = mesh_problems({key: yaml_text(value)})
    found[0].extend(f"{where}: {each.reason}" for each in (*wrong, *doubtful))


def _problems(root: Json, schema: Json, value: Any, path: str) -> Iterator[tuple[str, str, bool]]:  # noqa: ANN401
    """Yield path, reason and whether it is only without effect, of all that a schema does not have."""
    if "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rpartition("/")[2]]
    if schema.get("deprecated"):
        yield path, str(schema["description"]), True
        return
    if reason := _mismatch(schema, value):
        yield path, reason, False
        return
    if isinstance(value, list):
        for at, each in enumerate(value):
            yield from _problems(root, schema.get("items", {}), each, f"{path}[{at}]")
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        for key, each in value.items():
            below = f"{path}.{key}" if path else str(key)
            if key in properties:
                yield from _problems(root, properties[key], each, below)
            elif schema.get("additionalProperties") is False:
                yield below, f"nobody knows this key{_nearest(key, properties)}", False


def _mismatch(schema: Json, value: object) -> str:
    if "enum" in schema and value is not None and value not in schema["enum"]:
        return f"must be {' or '.join(map(str, schema['enum']))}, and is {value!r}"
    types = schema.get("type", ())
    names = [types] if isinstance(types, str) else list(types)
    allowed = tuple(each for name in names for each in _TYPES[name])
    if not allowed or (isinstance(value, allowed) and not (isinstance(value, bool) and bool not in allowed)):
        return ""
    return f"must be {' or '.join(_ARTICLES.get(each, f'a {each}') for each in names if each != 'null')}"


def _nearest(key: object, known: Json) -> str:
    living = [name for name, each in known.items() if not each.get("deprecated")]
    near = nearest(str(key), living)
    return f"; is it {near[0]}?" if near else ""


@cache
def _operator_schema() -> Json:
    text = (files("controlplane.install") / "operator.schema.json").read_text("utf-8")
    schema: Json = json_value(text)
    return schema
