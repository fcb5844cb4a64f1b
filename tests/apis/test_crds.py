"""The CustomResourceDefinitions: what the API publishes, path by path, and what an API server takes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from controlplane.apis.crds.definitions import definition
from controlplane.apis.crds.files import files
from controlplane.apis.kinds import KINDS

HERE = Path(__file__).parent
CRDS = HERE.parents[1] / "crds"
#: kubectl keeps what was applied in an annotation, and annotations end here
MAX_ANNOTATIONS = 262_144

Lines = dict[str, set[str]]
"""What is stated of each path, in no order."""


@cache
def _facts() -> dict[str, Lines]:
    """Kind -> path -> statements, from the list of facts; the kind's own line stands under its name."""
    found: dict[str, Lines] = {}
    kind = ""
    for line in (HERE / "crd_fields.txt").read_text().splitlines():
        if line.startswith("#") or not line:
            continue
        if not line.startswith("  "):
            kind, _, names = line.partition(" ")
            found[kind] = {kind: set(map(_unordered, re.split(r" (?=\w[\w-]*=)", names)))}
            continue
        path, _, stated = re.sub(r"^(\(spec\)|column \w+ =|top-level)", r"\1:", line.strip()).partition(":")
        parts = stated.strip().removeprefix("; ").split(" ; ")
        found[kind].setdefault(path, set()).update(map(_unordered, parts))
    return found


def _unordered(statement: str) -> str:
    """Required fields, versions and enums are sets."""
    for word, separator in (("required: ", ","), ("enum ", "|"), ("versions=", ", ")):
        if statement.startswith(word):
            return word + separator.join(sorted(statement.removeprefix(word).split(separator)))
    return statement


def _stated(kind: str) -> Lines:
    """The same of the definition that is made."""
    made = definition(KINDS[kind])["spec"]
    names, versions = made["names"], made["versions"]
    tags = sorted(f"{each['name']}{'(storage)' if each['storage'] else ''}" for each in versions)
    lines: Lines = {
        kind: {
            f"group={made['group']}",
            f"plural={names['plural']}",
            f"singular={names['singular']}",
            f"short={','.join(names.get('shortNames', ['-']))}",
            f"categories={','.join(names['categories'])}",
            f"scope={made['scope']}",
            f"versions={', '.join(tags)}",
            f"status-subresource={'yes' if all('status' in each['subresources'] for each in versions) else 'no'}",
        }
    }
    for column in versions[0].get("additionalPrinterColumns", ()):
        lines[f"column {column['name']} ="] = {f"{column['jsonPath']} ({column['type']})"}
    schema = versions[0]["schema"]["openAPIV3Schema"]
    if "required" in schema:
        lines["top-level"] = {f"required: {','.join(sorted(schema['required']))}"}
    spec = schema["properties"]["spec"]
    own = set(_statements(spec)) - {"object"}
    if own:
        lines["(spec)"] = own
    lines.update((path, set(_statements(each))) for path, each in _below(spec, ""))
    return lines


def _below(schema: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every path below a schema, written as in the facts."""
    for name, child in schema.get("properties", {}).items():
        here = f"{path}.{name}" if path else name
        yield here, child
        yield from _below(child, here)
    for keyword, mark in (("items", "[]"), ("additionalProperties", "{}")):
        if keyword in schema:
            yield path + mark, schema[keyword]
            yield from _below(schema[keyword], path + mark)


def _statements(schema: dict[str, Any]) -> Iterator[str]:
    yield schema["type"]
    for keyword in ("format", "pattern", *(f"{end}{what}" for end in ("min", "max") for what in _SIZES)):
        if keyword in schema:
            yield f"{keyword} {schema[keyword]}"
    if "enum" in schema:
        yield f"enum {'|'.join(sorted(schema['enum']))}"
    if "required" in schema:
        yield f"required: {','.join(sorted(schema['required']))}"
    if schema.get("nullable"):
        yield "nullable"
    if schema.get("x-kubernetes-preserve-unknown-fields"):
        yield "preserve-unknown"
    for rule in schema.get("x-kubernetes-validations", ()):
        yield f"CEL: {rule['rule']} => {rule['message']}"
    if "x-kubernetes-list-type" in schema:
        yield f"{schema['x-kubernetes-list-type']} by {','.join(schema['x-kubernetes-list-map-keys'])}"
    for choice in (schema.get("oneOf"), *(each["oneOf"] for each in schema.get("allOf", ()))):
        if choice is None:
            continue
        none, *alternatives = choice
        assert none == {"not": {"anyOf": alternatives}}
        yield " | ".join(("oneOf none", *(each["required"][0] for each in alternatives)))


_SIZES = ("imum", "Length", "Items", "Properties")


@pytest.mark.parametrize("kind", KINDS)
def test_a_definition_states_what_the_api_publishes(kind: str) -> None:
    """Path by path: no path more, none less, and the same of each."""
    expected, got = _facts()[kind], _stated(kind)
    assert set(got) == set(expected)
    different = {path: (got[path], expected[path]) for path in got if got[path] != expected[path]}
    assert not different


def test_every_kind_is_in_the_facts() -> None:
    assert set(_facts()) == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_all_versions_have_one_schema(kind: str) -> None:
    versions = definition(KINDS[kind])["spec"]["versions"]
    assert [each["storage"] for each in versions].count(True) == 1
    assert all(each["served"] and each["schema"] == versions[0]["schema"] for each in versions)


# Kubernetes, "Specifying a structural schema": what may stand in one, and what only outside of alternatives.
_ALLOWED = {
    "type",
    "format",
    "description",
    "nullable",
    "properties",
    "additionalProperties",
    "items",
    "required",
    "enum",
    "pattern",
    "oneOf",
    "anyOf",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "maxProperties",
    "minProperties",
    "allOf",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-int-or-string",
    "x-kubernetes-validations",
}
_IN_ALTERNATIVES = {"required", "not", "anyOf"}
_TYPES = {"object", "array", "string", "integer", "number", "boolean"}


def _check_structural(schema: dict[str, Any], path: str) -> None:
    assert set(schema) <= _ALLOWED, path
    if schema.get("x-kubernetes-int-or-string"):
        assert schema["anyOf"] == [{"type": "integer"}, {"type": "string"}], path
        assert "type" not in schema, path
        return
    assert schema["type"] in _TYPES, path
    assert "anyOf" not in schema, path
    assert not ({"properties", "additionalProperties"} <= set(schema)), path
    assert ("items" in schema) == (schema["type"] == "array"), path
    if schema["type"] == "object":
        keep = schema.get("x-kubernetes-preserve-unknown-fields", False)
        assert keep or "properties" in schema or "additionalProperties" in schema, path
        assert set(schema.get("required", ())) <= set(schema.get("properties", ())), path
    for alternative in (*schema.get("oneOf", ()), *(one for each in schema.get("allOf", ()) for one in each["oneOf"])):
        _check_alternative(alternative, schema, path)
    if "x-kubernetes-list-type" in schema:
        assert schema["x-kubernetes-list-type"] == "map", path
        assert set(schema["x-kubernetes-list-map-keys"]) <= set(schema["items"]["required"]), path
    for rule in schema.get("x-kubernetes-validations", ()):
        assert rule["rule"], path
        assert rule["message"], path
        assert "\n" not in rule["message"], path
    for below, child in _children(schema):
        _check_structural(child, path + below)


def _children(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    yield from ((f".{name}", child) for name, child in schema.get("properties", {}).items())
    yield from (("[]", schema[keyword]) for keyword in ("items", "additionalProperties") if keyword in schema)


def _check_alternative(alternative: dict[str, Any], schema: dict[str, Any], path: str) -> None:
    assert set(alternative) <= _IN_ALTERNATIVES, path
    assert set(alternative.get("required", ())) <= set(schema["properties"]), path
    for each in (*alternative.get("anyOf", ()), *([alternative["not"]] if "not" in alternative else ())):
        _check_alternative(each, schema, path)


@pytest.mark.parametrize("kind", KINDS)
def test_schemas_are_structural(kind: str) -> None:
    for version in definition(KINDS[kind])["spec"]["versions"]:
        schema = version["schema"]["openAPIV3Schema"]
        _check_structural(schema, kind)
        assert schema["properties"]["status"]["x-kubernetes-preserve-unknown-fields"] is True
        assert schema["properties"]["spec"]["description"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_definition_fits_into_what_kubectl_keeps(kind: str) -> None:
    assert len(json.dumps(definition(KINDS[kind]), separators=(",", ":"))) < MAX_ANNOTATIONS


def test_descriptions_speak_yaml() -> None:
    """Docstrings call fields as Python does; a person who asks ``kubectl explain`` writes YAML."""
    text = json.dumps([definition(kind) for kind in KINDS.values()])
    assert "`perTryTimeout`" in text
    assert not re.search(r"``|`\w+_\w*[a-z]`|`None`", text)


@pytest.mark.slow
def test_the_files_are_what_the_models_give() -> None:
    made = files()
    kept = {path.name: path.read_text() for path in CRDS.glob("*.yaml")}
    assert sorted(made) == yaml.safe_load(kept.pop("kustomization.yaml"))["resources"]
    assert set(kept) == set(made)
    assert [name for name in made if made[name] != kept[name]] == [], "run `make crds`"
    assert [yaml.safe_load(text)["spec"]["names"]["kind"] for text in made.values()] == list(KINDS)
