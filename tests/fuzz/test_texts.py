"""Random texts and values in every place where users and peers write: none may do more than be refused.

``FUZZ_TEXTS`` says how many (10,000 in CI take some half a minute). What hypothesis prints makes the text again.
"""

from __future__ import annotations

import json
import math
import os
from contextlib import suppress
from typing import Any

import pytest
from envoy.config.core.v3.base_pb2 import Node
from google.protobuf.struct_pb2 import Struct, Value
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from controlplane.ads.node import proxy_of
from controlplane.ads.refusal import StreamRefused
from controlplane.apis.kinds import KINDS
from controlplane.apis.mesh import InvalidMeshConfigError, MeshConfig
from controlplane.apis.mesh_fields import stated_fields
from controlplane.apis.mesh_networks import MeshNetworks
from controlplane.apis.mesh_proxy import ProxyConfig
from controlplane.documents.extent import is_deeper
from controlplane.documents.json_reader import json_documents, json_pruned, json_value
from controlplane.documents.limits import MAX_DEPTH, Document, UnreadableError
from controlplane.documents.yaml_reader import chunks, yaml_documents
from controlplane.model.objects import Rejected
from controlplane.registry import span_source
from controlplane.registry.proxy_settings import ANNOTATION, METADATA_KEY, own_settings
from controlplane.registry.store import View
from controlplane.registry.workloads import workload
from controlplane.validation.verdict import verdict
from controlplane.watchers.kinds import parse
from controlplane.webhooks.review import NotAReviewError, answer
from controlplane.webhooks.validation import validate
from tests.translate.listeners.world import World, sidecar

TEXTS = int(os.environ.get("FUZZ_TEXTS", "1200"))
PLACES = 8
settings.register_profile(
    "texts",
    max_examples=max(TEXTS // PLACES, 1),
    deadline=None,
    suppress_health_check=list(HealthCheck),
    database=None,
    derandomize=os.environ.get("CI") == "true",  # the same texts each time: what failed fails again
)
TEXT = settings.get_profile("texts")
OUR_MISTAKE = "cannot be read ("

#: what means something to YAML, JSON or the loader, and what people mistake for something
TOKENS = (
    *(
        "[",
        "]",
        "{",
        "}",
        ", ",
        ": ",
        ":",
        "- ",
        "\n",
        "\n  ",
        "? ",
        "| \n",
        "> \n",
        "'",
        '"',
        "# ",
        "\\",
        "\t",
        "---\n",
        "...\n",
    ),
    *(
        "&a ",
        "*a",
        "<<: ",
        "<<: *a",
        "!!bool ",
        "!!int ",
        "!!timestamp ",
        "!!binary ",
        "!!set ",
        "!x ",
        "%YAML 1.1\n",
        "%TAG ",
    ),
    *(
        "y",
        "no",
        "~",
        "null",
        "0x1F",
        "1_000",
        ".5e3",
        "1e999",
        "-0",
        "2024-99-99",
        "12:30",
        "::",
        "2001:db8::",
        "NaN",
        "inf",
    ),
    *("\x00", "\x85", "\ue000", "\ufeff", "\ud800", "é", "\U0001f600", "[" * 200, "{a: " * 200, "x" * 5000, "9" * 400),
)
MESH_FIELDS = sorted(str(field.alias) for field in MeshConfig.model_fields.values())
PROXY_FIELDS = sorted(str(field.alias) for field in ProxyConfig.model_fields.values())
NAMES = st.sampled_from(
    ("name", "hosts", "http", "spec", "metadata", "kind", "", "a", "port", *MESH_FIELDS, *PROXY_FIELDS)
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(("1s", "0.0.0.0", "*", "ENABLE", "/x", "a.example", "%REQ(a)%", "(", "80", "true", "a" * 3000)),
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4), max_leaves=25
)
SOUP = st.lists(st.sampled_from(TOKENS) | NAMES | st.text(max_size=8), max_size=40).map("".join)
#: lists and mappings in each other, to depths about those that are allowed and beyond what any stack takes
DEEP = st.tuples(
    st.sampled_from((1, 20, 99, 100, 101, 300, 3000, 50_000)), st.sampled_from(("[", '{"a": ')), st.booleans()
).map(lambda drawn: drawn[1] * drawn[0] + ("1" + {"[": "]", '{"a": ': "}"}[drawn[1]] * drawn[0] if drawn[2] else ""))


def flow(names: st.SearchStrategy[str], inner: st.SearchStrategy[Any] = VALUES) -> st.SearchStrategy[str]:
    """JSON, which YAML is too, of a mapping with these names."""
    return st.dictionaries(names, inner, max_size=5).map(lambda value: json.dumps(value, ensure_ascii=False))


MESH_TEXTS = SOUP | DEEP | flow(st.sampled_from(MESH_FIELDS))
PROXY_TEXTS = SOUP | DEEP | flow(st.sampled_from(PROXY_FIELDS))


@TEXT
@given(text=SOUP | DEEP | flow(NAMES))
def test_documents(text: str) -> None:
    for found in [
        *yaml_documents(text),
        *json_documents(text),
        *(each for _, piece in chunks(text) for each in yaml_documents(piece)),
    ]:
        if isinstance(found, Document):
            assert not is_deeper(found.value, MAX_DEPTH)
            assert json.loads(json.dumps(found.value)) is not Ellipsis, "it is JSON"
            assert len(json.dumps(found.value)) < 10 * len(text) + 100_000


@TEXT
@given(text=SOUP | DEEP | flow(NAMES))
def test_json_of_machines(text: str) -> None:
    body = text.encode(errors="surrogatepass")
    for read in (json_value, json_pruned):
        try:
            value = read(body)
        except UnreadableError:
            continue
        assert not is_deeper(value, 2 * MAX_DEPTH if read is json_pruned else MAX_DEPTH) or read is json_pruned


@TEXT
@given(text=MESH_TEXTS)
def test_mesh_configuration(text: str) -> None:
    for read in (MeshConfig.parse, lambda given: stated_fields(MeshNetworks, given)):
        with suppress(InvalidMeshConfigError):
            read(text)
    metadata = {"name": "istio", "namespace": "istio-system"}
    found = verdict({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"mesh": text}})
    assert found is not None
    assert not any(OUR_MISTAKE in str(problem) for problem in found.errors)


VIEW = View(World().registry)


@TEXT
@given(text=PROXY_TEXTS, stated=st.none() | VALUES)
def test_annotations(text: str, stated: object) -> None:
    with capture_logs():
        own_settings(VIEW, sidecar(), {ANNOTATION: text})
        own_settings(VIEW, sidecar(metadata={"ANNOTATIONS": {ANNOTATION: text}, "POD_PORTS": text}), {})
        own_settings(VIEW, sidecar(metadata={METADATA_KEY: stated, "ANNOTATIONS": stated}), {})


KEYS = (
    "LABELS",
    "INSTANCE_IPS",
    "NAMESPACE",
    "ANNOTATIONS",
    METADATA_KEY,
    "POD_PORTS",
    "CLUSTER_ID",
    "DNS_CAPTURE",
    "HTTP_PROXY_PORT",
    "ISTIO_VERSION",
    "X",
)


def _message(value: Any) -> Value:
    match value:
        case None:
            return Value(null_value=0)  # type: ignore[arg-type]
        case bool():
            return Value(bool_value=value)
        case int() | float():
            return Value(number_value=float(value) if abs(value) < 2**60 or math.isnan(value) else math.inf)
        case str():
            return Value(string_value=value.encode(errors="replace").decode())
        case list():
            made = Value()
            made.list_value.values.extend(map(_message, value))
            return made
        case _:
            return Value(struct_value=_struct(value))


def _struct(value: dict[str, Any]) -> Struct:
    return Struct(fields={key.encode(errors="replace").decode(): _message(each) for key, each in value.items()})


@TEXT
@given(
    id_=st.sampled_from(("sidecar~10.0.0.1~a.b~c", "router~::1~a.b~b.svc", "sidecar~x~a~b")) | SOUP,
    metadata=st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=6),
)
def test_nodes(id_: str, metadata: dict[str, Any]) -> None:
    with capture_logs():
        try:
            proxy = proxy_of(Node(id=id_.encode(errors="replace").decode(), metadata=_struct(metadata)))
        except StreamRefused:
            return
        own_settings(VIEW, proxy, {})
        workload(VIEW, proxy)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("HTTP_PROXY_PORT", math.inf),
        ("HTTP_PROXY_PORT", math.nan),
        ("HTTP_PROXY_PORT", "9" * 5000),
        ("POD_PORTS", '[{"containerPort": 1e400}]'),
        ("POD_PORTS", '[{"containerPort": "' + "9" * 5000 + '"}]'),
        ("ISTIO_VERSION", "1." + "9" * 5000),
        ("ISTIO_VERSION", "1.²"),
    ],
)
def test_nodes_with_numbers_that_are_none(key: str, value: object) -> None:
    proxy = proxy_of(Node(id="sidecar~10.0.0.1~a.b~b.svc.cluster.local", metadata=_struct({key: value})))
    assert workload(VIEW, proxy) is not None
    assert span_source._release(proxy) == span_source.LAST_RELEASE  # noqa: SLF001 - what reads the version


REQUESTS = st.fixed_dictionaries(
    {"uid": SCALARS, "operation": st.sampled_from(("CREATE", "UPDATE", "DELETE", "x"))},
    optional={
        "kind": st.fixed_dictionaries({"group": SCALARS, "kind": st.sampled_from((*KINDS, "ConfigMap", "x"))}) | VALUES,
        "object": VALUES,
        "namespace": SCALARS,
        "resource": VALUES,
    },
)
REVIEWS = st.fixed_dictionaries(
    {"kind": st.just("AdmissionReview"), "apiVersion": st.sampled_from(("admission.k8s.io/v1", "x", None))},
    optional={"request": REQUESTS | VALUES},
)


@TEXT
@given(body=(REVIEWS | VALUES).map(json.dumps) | SOUP | DEEP)
def test_admission_reviews(body: str) -> None:
    with capture_logs():
        try:
            answered = answer(json_value(body.encode(errors="surrogatepass")), validate)
        except (NotAReviewError, UnreadableError):
            return
    assert json.dumps(answered)


@TEXT
@given(kind=st.sampled_from(sorted(KINDS)), spec=VALUES, metadata=VALUES, status=VALUES)
def test_objects_of_any_shape(kind: str, spec: object, metadata: object, status: object) -> None:
    api_version = f"{KINDS[kind].group}/{KINDS[kind].versions[0]}"
    obj = {"apiVersion": api_version, "kind": kind, "metadata": metadata, "spec": spec, "status": status}
    found = verdict(obj)
    assert found is not None
    assert not any(OUR_MISTAKE in str(problem) for problem in found.errors), found.errors
    result = parse(obj, "fuzz")
    assert not (isinstance(result, Rejected) and any(OUR_MISTAKE in problem for problem in result.problems)), result


CORE = (
    ("v1", "Service"),
    ("v1", "Pod"),
    ("v1", "ConfigMap"),
    ("discovery.k8s.io/v1", "EndpointSlice"),
    ("networking.k8s.io/v1", "Ingress"),
)


@TEXT
@given(of=st.sampled_from(CORE), fields=st.dictionaries(NAMES, VALUES, max_size=5))
def test_objects_of_kubernetes(of: tuple[str, str], fields: dict[str, Any]) -> None:
    obj = {**fields, "apiVersion": of[0], "kind": of[1]}
    result = parse(obj, "fuzz")
    assert not (isinstance(result, Rejected) and any(OUR_MISTAKE in problem for problem in result.problems)), result
