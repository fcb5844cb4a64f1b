"""The tables of fields that nothing translates, against the models and the code they speak of."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from structlog.testing import capture_logs

import controlplane
from controlplane.analysis.untranslated import (
    MESH_NOT_TRANSLATED,
    NOT_TRANSLATED,
    UntranslatedFields,
    untranslated,
)
from controlplane.apis.common import ApiModel
from controlplane.apis.kinds import KINDS
from controlplane.apis.mesh import MeshConfig
from controlplane.apis.mesh_networks import MeshNetworks
from controlplane.model import kinds
from controlplane.model.kinds import istio_kind
from controlplane.model.objects import ChangeSet, Meta, Object, ObjectKey
from controlplane.model.parse import Parsed
from controlplane.watchers.kinds import parse
from tests.feature.objects import NETWORKING, Json, manifest, to, virtual_service

PACKAGES = ("translate", "registry", "frontends", "compiler", "patches")
TRANSLATED = sorted(KINDS)


#: fields of the API that validation refuses, as Istio does: nobody can have them
REFUSED = {".http[].fault.abort.http2Error", ".http[].fault.delay.exponentialDelay"}


def _code(*packages: str) -> str:
    """Return the text of all that may read a field, without the tables themselves."""
    root = Path(controlplane.__file__).parent
    paths = [path for package in packages for path in (root / package).rglob("*.py") if path.name != "untranslated.py"]
    return "\n".join(path.read_text() for path in paths)


MODEL = Path(controlplane.__file__).parent / "model"
CODE = _code(*PACKAGES) + "".join((MODEL / name).read_text() for name in ("wanted_secrets.py", "label_selector.py"))
FOR_PODS = {"ProxyConfig": _code("injector"), "WorkloadGroup": _code("controllers", "install")}
"""What reads the fields of kinds that are for the injector, and for machines."""
HANDED_ON = {".probe.": "install/machines.py gives the whole probe to the agent"}


def _models(annotation: Any) -> Iterator[type[ApiModel]]:
    if isinstance(annotation, type) and issubclass(annotation, ApiModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument)


def _fields(model: type[ApiModel], path: str = "", above: tuple[type, ...] = ()) -> Iterator[tuple[str, str]]:
    """Yield the path and the Python name of every field below a model."""
    for name, field in model.model_fields.items():
        text = str(field.annotation)
        here = f"{path}.{field.alias}" + ("[]" if text.startswith("tuple") else "")
        yield here.removesuffix("[]"), name
        for inner in _models(field.annotation):
            if inner not in above:
                yield from _fields(inner, here + ("{}" if text.startswith("dict") else ""), (*above, model))


def _is_read(name: str, code: str = CODE) -> bool:
    """Whether code mentions the field, as an attribute or by a text; a common name is found too easily."""
    return re.search(rf"""[."']{name}\b""", code) is not None


@pytest.mark.parametrize("kind", TRANSLATED)
def test_every_field_is_read_or_named(kind: str) -> None:
    tails = tuple(f".{end}" for end in NOT_TRANSLATED.get(kind, ()))
    code = FOR_PODS.get(kind, CODE)
    unread = {path for path, name in _fields(KINDS[kind].load()) if not _is_read(name, code)}
    unread = {path for path in unread if not path.startswith(tuple(HANDED_ON))}
    silent = {path for path in unread if not any(f"{tail}." in f"{path}." for tail in tails)}
    assert silent - REFUSED == set()


@pytest.mark.parametrize("kind", NOT_TRANSLATED)
def test_what_is_named_exists(kind: str) -> None:
    paths = [path for path, _ in _fields(KINDS[kind].load())]
    unknown = [end for end in NOT_TRANSLATED[kind] if not any(path.endswith(f".{end}") for path in paths)]
    assert unknown == []


@pytest.mark.parametrize("name", ["consecutive_errors", "source_subnet"])
def test_what_is_named_is_not_read(name: str) -> None:
    """Those whose names are like no other's: a translator that begins to read one has to take it out."""
    assert not _is_read(name)


def parsed(raw: Json) -> Object:
    result = parse(raw, "test")
    assert isinstance(result, Parsed), result
    return result.object


def rule(name: str, policy: Json) -> Object:
    subsets = [{"name": "v1", "trafficPolicy": policy}]
    spec = {"host": "cart", "trafficPolicy": policy, "subsets": subsets}
    return parsed(manifest(NETWORKING, "DestinationRule", name, spec=spec))


ERRORS = {"outlierDetection": {"consecutiveErrors": 5}}
SERVER_TLS = {"mode": "SIMPLE", "serverCertificate": "/cert", "privateKey": "/key"}
INGRESS = {
    "port": {"number": 443, "name": "tls", "protocol": "HTTPS"},
    "defaultEndpoint": "127.0.0.1:80",
    "tls": SERVER_TLS,
}
WITH_TLS = parsed(manifest(NETWORKING, "Sidecar", "tls", spec={"ingress": [INGRESS]}))
BUDGET = {"retryBudget": {"percent": 10, "budgetInterval": "1s"}}


@pytest.mark.parametrize(
    ("obj", "paths"),
    [
        (parsed(virtual_service({"route": [to("v1")], "retries": {"attempts": 1}})), ()),
        (parsed(manifest("v1", "Service", "web", spec={"ports": [{"port": 80}]})), ()),
        (rule("budget", BUDGET), ()),
        (WITH_TLS, ("spec.ingress[].tls",)),
        (
            rule("errors", ERRORS),
            (
                "spec.subsets[].trafficPolicy.outlierDetection.consecutiveErrors",
                "spec.trafficPolicy.outlierDetection.consecutiveErrors",
            ),
        ),
    ],
    ids=["all-translated", "kubernetes", "policy", "message-without-its-fields", "scalar"],
)
def test_untranslated(obj: Object, paths: Iterable[str]) -> None:
    assert untranslated(obj) == paths


def test_each_field_is_named_once_and_counted() -> None:
    fields = UntranslatedFields()
    path = "spec.trafficPolicy.outlierDetection.consecutiveErrors"
    with capture_logs() as logs:
        list(fields.note(ChangeSet(upserts=(rule("one", ERRORS), rule("two", ERRORS)))))
        list(fields.note(ChangeSet(upserts=(rule("three", ERRORS), rule("two", BUDGET), WITH_TLS))))
        list(fields.note(ChangeSet(deletes=(ObjectKey(kinds.DESTINATION_RULE, "shop", "one"),))))
    assert {(event["event"], event["kind"]) for event in logs} == {
        ("registry.field_not_translated", "DestinationRule"),
        ("registry.field_not_translated", "Sidecar"),
    }
    assert [(event["field"], event["count"]) for event in logs if event["field"] == path] == [(path, 2)]
    assert len(logs) == 3
    assert fields.counts["DestinationRule", path] == 1


def stating(model: type[ApiModel], path: str) -> ApiModel:
    """Return a message in which this field alone is given."""
    head, _, rest = path.partition(".")
    name, field = next(each for each in model.model_fields.items() if each[1].alias == head.removesuffix("[]"))
    value: Any = stating(next(_models(field.annotation)), rest) if rest else None
    return model.model_construct(_fields_set={name}, **{name: (value,) if head.endswith("[]") else value})


NAMED = [
    (kind, path.removeprefix("."))
    for kind, ends in NOT_TRANSLATED.items()
    for path, _ in _fields(KINDS[kind].load())
    if path.endswith(tuple(f".{end}" for end in ends))
]


@pytest.mark.parametrize(("kind", "path"), NAMED)
def test_whatever_is_not_translated_is_named_once_and_counted(kind: str, path: str) -> None:
    model = KINDS[kind].load()
    spec = stating(model, path)
    fields = UntranslatedFields()
    held = [Object(istio_kind(kind), Meta("shop", name), spec) for name in ("one", "two", "three")]
    with capture_logs() as logs:
        list(fields.note(ChangeSet(upserts=tuple(held[:2]))))
        list(fields.note(ChangeSet(upserts=tuple(held[2:]))))
    named = f"spec.{path}"
    assert [(event["kind"], event["field"], event["count"]) for event in logs] == [(kind, named, 2)]
    assert fields.counts == {(kind, named): 3}


def test_a_field_that_is_gone_is_not_counted() -> None:
    fields = UntranslatedFields()
    list(fields.note(ChangeSet(upserts=(rule("one", ERRORS),))))
    list(fields.note(ChangeSet(deletes=(ObjectKey(kinds.DESTINATION_RULE, "shop", "one"),))))
    assert fields.counts == {}


MESH_PATHS = [
    (f"{entry}{path}", name)
    for entry, model in (("mesh", MeshConfig), ("meshNetworks", MeshNetworks))
    for path, name in _fields(model)
]


def mesh_named(path: str) -> bool:
    """Whether the table names a field of the mesh, or the message it is in."""
    return any(f"{path}.".startswith((f"{named}.", f"{named}[]", f"{named}{{}}")) for named in MESH_NOT_TRANSLATED)


def test_every_field_of_the_mesh_is_read_or_named() -> None:
    assert {path for path, name in MESH_PATHS if not _is_read(name) and not mesh_named(path)} == set()


def test_what_is_named_of_the_mesh_exists() -> None:
    assert set(MESH_NOT_TRANSLATED) - {path for path, _ in MESH_PATHS} == set()


def test_what_is_named_of_the_mesh_is_not_read() -> None:
    """A field of the mesh whose name is like no other's, and that somebody begins to read, leaves the table."""
    common = {"ca", "image", "sds", "concurrency", "stackdriver", "certificates", "networks", "mesh_id", "zipkin"}
    # read under the same name elsewhere: of Sidecars, of DestinationRules, of Gateways
    common |= {
        "egress_proxy",
        "tls_settings",
        "load_balancer",
        "port_level_settings",
        "proxy_protocol",
        "retry_budget",
        "tls",
        "tunnel",
        "ca_certificates",
        "ecdh_curves",
        "config_path",
        "datadog",
        "headers",
        "timeout",
        "per_try_timeout",
        "retry_ignore_previous_hosts",
        "retry_remote_localities",
        "policies",
        "context",  # of a patch
        "locality",  # of endpoints
        "proxy_metadata",  # one variable of it is read, the others are for the agent
    }
    read = {path for path, name in MESH_PATHS if path in MESH_NOT_TRANSLATED and name not in common and _is_read(name)}
    assert read == set()


def mesh(text: str, networks: str = "") -> Object:
    data = {"mesh": text, "meshNetworks": networks}
    meta = {"name": "istio", "namespace": "istio-system"}
    return parsed({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": data})


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        pytest.param("connectTimeout: 1s", (), id="translated"),
        pytest.param("{defaultConfig: {statusPort: 1}}", ("data.mesh.defaultConfig.statusPort",), id="of-proxies"),
        pytest.param(
            "{extensionProviders: [{name: a, lightstep: {service: z, port: 1}}]}",
            ("data.mesh.extensionProviders[].lightstep",),
            id="provider",
        ),
        pytest.param("{nobodyKnows: 1, defaultConfig: {norThis: 2}}",
                     ("data.mesh.defaultConfig.norThis", "data.mesh.nobodyKnows"), id="unknown"),
    ],
)  # fmt: skip
def test_untranslated_of_the_mesh(text: str, paths: Iterable[str]) -> None:
    assert untranslated(mesh(text)) == paths


def test_networks_are_named() -> None:
    stated = "networks: {n: {endpoints: [{fromRegistry: a}], gateways: [{address: 1.1.1.1, port: 443, locality: a/b}]}}"
    assert untranslated(mesh("", stated)) == ("data.meshNetworks.networks{}.gateways[].locality",)
