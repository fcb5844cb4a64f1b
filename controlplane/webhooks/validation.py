"""The reviewer of Istio's kinds: the registry's rules, applied strictly before an object is stored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import structlog

from controlplane.apis.kinds import KINDS
from controlplane.validation.verdict import INGRESS_GROUPS, verdict
from controlplane.webhooks.review import Request, Response

log = structlog.get_logger()

INVALID = "configuration is invalid: "
UNKNOWN = "unrecognized type "
UNSUPPORTED_OPERATION, UNKNOWN_TYPE = "unsupported_operation", "unknown_type"
NO_OBJECT, INVALID_RESOURCE = "yaml_decode_error", "invalid_resource"
"""Words for counting. Source: the label ``reason`` of istiod's ``galley_validation_failed``."""
_OF_KUBERNETES = frozenset({("", "ConfigMap"), *((group, "Ingress") for group in INGRESS_GROUPS)})
"""Kinds of which some objects mean something to the mesh: its configuration, and Ingresses of its class."""
_WRITES = frozenset({"CREATE", "UPDATE"})


def validate(request: Request) -> Response:
    """Refuse an object that the registry would refuse, or of which it would ignore a field.

    Only what is written is looked at: deletions pass, and so does the last update of an object that is being deleted,
    since one that got in before there was a webhook must be able to go.
    """
    obj = request.object
    if request.operation not in _WRITES:
        return Response(failure=UNSUPPORTED_OPERATION)
    kind = KINDS.get(request.kind)
    known = kind is not None and kind.group == request.group
    if not known and (request.group, request.kind) not in _OF_KUBERNETES:
        return Response(f"{UNKNOWN}{request.kind}.{request.group}", failure=UNKNOWN_TYPE)
    if obj is None:
        return Response(f"{INVALID}request.object: is required", failure=NO_OBJECT)
    metadata = obj.get("metadata")
    if isinstance(metadata, Mapping) and metadata.get("deletionTimestamp"):
        return Response()
    found = verdict(complete(obj, request))
    if found is None and not known:
        return Response()  # one that means nothing to the mesh
    if found is None:
        return Response(f"{UNKNOWN}{obj.get('apiVersion')}, {request.kind}", failure=UNKNOWN_TYPE)
    if found.errors:
        problems = tuple(map(str, found.errors))
        log.info("webhooks.refused", object=str(found.key), problems=problems)
        return Response(f"{INVALID}{found.key}: {'; '.join(problems)}", failure=INVALID_RESOURCE)
    return Response(warnings=tuple(f"{found.key}: {each}" for each in found.warnings))


def complete(obj: Mapping[str, Any], request: Request) -> Mapping[str, Any]:
    """Return the object with the name and namespace that the API server will give it where it has none."""
    metadata = obj.get("metadata")
    if not isinstance(metadata, Mapping):
        return obj
    given: dict[str, Any] = {}
    if not metadata.get("namespace") and request.namespace:
        given["namespace"] = request.namespace
    if not metadata.get("name") and isinstance(prefix := metadata.get("generateName"), str) and prefix:
        given["name"] = f"{prefix}x"
    return {**obj, "metadata": {**metadata, **given}} if given else obj
