"""The definitions of all kinds: names, versions, columns and status around the schema of ``spec``."""

from __future__ import annotations

from typing import Any, NamedTuple

from controlplane.apis.crds.schema import Schema, model_schema
from controlplane.apis.kinds import KINDS, Kind


class Column(NamedTuple):
    """A column that ``kubectl get`` prints."""

    name: str
    path: str
    type: str = "string"


class Presentation(NamedTuple):
    """What people see of a kind. ``needs_spec``: an object without ``spec`` is refused."""

    short_name: str = ""
    columns: tuple[Column, ...] = ()
    needs_spec: bool = False


AGE = Column("Age", ".metadata.creationTimestamp", "date")

PRESENTATIONS: dict[str, Presentation] = {
    "TrafficExtension": Presentation(columns=(AGE,), needs_spec=True),
    "WasmPlugin": Presentation(columns=(AGE,), needs_spec=True),
    "DestinationRule": Presentation("dr", (Column("Host", ".spec.host"), AGE)),
    "EnvoyFilter": Presentation(),
    "Gateway": Presentation("gw"),
    "ProxyConfig": Presentation(),
    "ServiceEntry": Presentation(
        "se",
        (
            Column("Hosts", ".spec.hosts"),
            Column("Location", ".spec.location"),
            Column("Resolution", ".spec.resolution"),
            AGE,
        ),
        needs_spec=True,
    ),
    "Sidecar": Presentation(),
    "VirtualService": Presentation("vs", (Column("Gateways", ".spec.gateways"), Column("Hosts", ".spec.hosts"), AGE)),
    "WorkloadEntry": Presentation("we", (AGE, Column("Address", ".spec.address")), needs_spec=True),
    "WorkloadGroup": Presentation("wg", (AGE,), needs_spec=True),
    "AuthorizationPolicy": Presentation("ap", (Column("Action", ".spec.action"), AGE)),
    "PeerAuthentication": Presentation("pa", (Column("Mode", ".spec.mtls.mode"), AGE)),
    "RequestAuthentication": Presentation("ra"),
    "Telemetry": Presentation("telemetry", (AGE,)),
}

_STORED = {"Telemetry": "v1alpha1"}  # elsewhere the first version

_COUNTER: Schema = {"anyOf": [{"type": "integer"}, {"type": "string"}], "x-kubernetes-int-or-string": True}
_TEXT: Schema = {"type": "string"}
_TIME: Schema = {"type": "string", "format": "date-time"}
_STATUS: Schema = {
    "description": "What the control plane says of the object; fields that others write stay as they are.",
    "type": "object",
    "properties": {
        "conditions": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "lastProbeTime": _TIME,
                    "lastTransitionTime": _TIME,
                    "message": _TEXT,
                    "observedGeneration": _COUNTER,
                    "reason": _TEXT,
                    "status": _TEXT,
                    "type": _TEXT,
                },
            },
        },
        "observedGeneration": _COUNTER,
        "validationMessages": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "documentationUrl": _TEXT,
                    "level": {"type": "string", "enum": ["UNKNOWN", "ERROR", "WARNING", "INFO"]},
                    "type": {"type": "object", "properties": {"code": _TEXT, "name": _TEXT}},
                },
            },
        },
    },
    "x-kubernetes-preserve-unknown-fields": True,
}


def definition(kind: Kind) -> dict[str, Any]:
    """Return the CustomResourceDefinition of a kind as a value for YAML."""
    shown = PRESENTATIONS[kind.name]
    names: dict[str, Any] = {
        "categories": ["istio-io", f"{kind.group.partition('.')[0]}-istio-io"],
        "kind": kind.name,
        "listKind": f"{kind.name}List",
        "plural": kind.plural,
        "singular": kind.name.lower(),
    }
    if shown.short_name:
        names["shortNames"] = [shown.short_name]
    schema: Schema = {
        "type": "object",
        "properties": {"spec": model_schema(kind.load()), "status": _STATUS},
    }
    if shown.needs_spec:
        schema["required"] = ["spec"]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.plural}.{kind.group}"},
        "spec": {
            "group": kind.group,
            "names": names,
            "scope": "Namespaced",
            "versions": [_version(kind, name, shown, schema) for name in kind.versions],
        },
    }


def _version(kind: Kind, name: str, shown: Presentation, schema: Schema) -> dict[str, Any]:
    version: dict[str, Any] = {
        "name": name,
        "served": True,
        "storage": name == _STORED.get(kind.name, kind.versions[0]),
        "schema": {"openAPIV3Schema": schema},
        "subresources": {"status": {}},
    }
    if shown.columns:
        version["additionalPrinterColumns"] = [
            {"name": column.name, "type": column.type, "jsonPath": column.path} for column in shown.columns
        ]
    return version


def definitions() -> dict[str, dict[str, Any]]:
    """Return every definition by the name of its kind, in the order of ``KINDS``."""
    return {name: definition(kind) for name, kind in KINDS.items()}
