"""Objects as a whole: metadata, unknown fields, and every problem at once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from controlplane.apis.kinds import KINDS
from controlplane.apis.validation.regex import regex_problem
from controlplane.apis.virtual_service import VirtualService
from controlplane.model import kinds
from controlplane.model.objects import ObjectKey, Rejected
from controlplane.model.parse import Parsed, parse

SPEC: dict[str, Any] = {"hosts": ["a"], "http": [{"route": [{"destination": {"host": "a"}}]}]}


def virtual_service(spec: Any = SPEC, **metadata: Any) -> dict[str, Any]:
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": "x"} | metadata,
        "spec": spec,
    }


def problems(obj: dict[str, Any], *, strict: bool = False) -> tuple[str, ...]:
    got = parse("VirtualService", obj, strict=strict)
    assert isinstance(got, Rejected), got
    return got.problems


def test_metadata_is_read() -> None:
    got = parse(
        "VirtualService",
        virtual_service(
            namespace="shop",
            creationTimestamp=datetime(2026, 1, 2, 4, tzinfo=timezone(timedelta(hours=1))),
            labels={"a": "b"},
            annotations={"c": "d"},
            generation=3,
        ),
        source="x.yaml:1",
    )
    assert isinstance(got, Parsed)
    meta = got.object.meta
    assert got.object.key == ObjectKey(kinds.VIRTUAL_SERVICE, "shop", "x")
    assert isinstance(got.object.spec, VirtualService)
    assert (meta.created, meta.generation, meta.source) == ("2026-01-02T03:00:00Z", 3, "x.yaml:1")
    assert (meta.labels, meta.annotations) == ({"a": "b"}, {"c": "d"})


@pytest.mark.parametrize(
    "written",
    [
        "2026-01-02T03:00:00Z",
        datetime(2026, 1, 2, 3, tzinfo=UTC),
        datetime(2026, 1, 2, 3, tzinfo=UTC).replace(tzinfo=None),
    ],
)
def test_a_time_is_the_same_however_written(written: Any) -> None:
    got = parse("VirtualService", virtual_service(creationTimestamp=written))
    assert isinstance(got, Parsed)
    assert got.object.meta.created == "2026-01-02T03:00:00Z"


def test_the_namespace_has_a_default() -> None:
    got = parse("VirtualService", virtual_service())
    assert isinstance(got, Parsed)
    assert got.object.meta.namespace == "default"


@pytest.mark.parametrize(
    ("metadata", "path"),
    [
        pytest.param({"name": ""}, "metadata.name: is required", id="no-name"),
        pytest.param({"name": "a" * 300}, "metadata.name", id="300-characters"),
        pytest.param({"name": "A"}, "metadata.name", id="upper-case"),
        pytest.param({"name": 5}, "metadata.name", id="number"),
        pytest.param({"namespace": "a_b"}, "metadata.namespace", id="namespace"),
        pytest.param({"labels": {"a": 1}}, "metadata.labels.a", id="label-not-text"),
        pytest.param({"annotations": ["a"]}, "metadata.annotations", id="annotations-not-a-map"),
        pytest.param({"creationTimestamp": "yesterday"}, "metadata.creationTimestamp", id="time"),
    ],
)
def test_bad_metadata(metadata: dict[str, Any], path: str) -> None:
    assert problems(virtual_service(**metadata))[0].startswith(path)


def test_every_problem_at_once() -> None:
    """Metadata, schema and rules are told together."""
    got = problems(
        virtual_service(
            {
                "hosts": ["a", "a"],
                "exportTo": "all",
                "http": [
                    {
                        "timeout": "soon",
                        "match": [{"uri": {"regex": "a(b"}}],
                        "route": [{"destination": {"host": "*"}, "weight": "x"}],
                    }
                ],
            },
            name="A" * 300,
        )
    )
    paths = {each.partition(": ")[0] for each in got}
    assert paths == {
        "metadata.name",
        "spec.exportTo",
        "spec.http[0].timeout",
        "spec.http[0].route[0].weight",
        "spec.hosts[1]",
        "spec.http[0].match[0].uri.regex",
        "spec.http[0].route[0].destination.host",
    }


def test_unknown_fields_are_dropped_with_a_warning_or_refused() -> None:
    obj = virtual_service(SPEC | {"colour": "red", "http": [SPEC["http"][0] | {"shape": {"round": True}}]})
    got = parse("VirtualService", obj)
    assert isinstance(got, Parsed)
    assert set(got.warnings) == {"spec.colour: unknown field, ignored", "spec.http[0].shape: unknown field, ignored"}
    assert got.object.spec == VirtualService.model_validate(SPEC)
    assert set(problems(obj, strict=True)) == {"spec.colour: unknown field", "spec.http[0].shape: unknown field"}


def test_unknown_fields_do_not_hide_problems() -> None:
    assert problems(virtual_service(SPEC | {"colour": "red", "hosts": ["a", "a"]}))[0].startswith("spec.hosts[1]")


@pytest.mark.parametrize("spec", [[], "x", 5])
def test_a_spec_that_is_no_mapping(spec: Any) -> None:
    assert problems(virtual_service(spec))[0].startswith("spec: ")


def test_a_missing_spec_is_an_empty_one() -> None:
    got = parse("PeerAuthentication", {"metadata": {"name": "x"}})
    assert isinstance(got, Parsed)


def test_versions() -> None:
    for version in ("v1", "v1beta1", "v1alpha3"):
        assert isinstance(
            parse("VirtualService", virtual_service() | {"apiVersion": f"networking.istio.io/{version}"}), Parsed
        )
    assert problems(virtual_service() | {"apiVersion": "networking.istio.io/v9"})[0].startswith("apiVersion")
    assert problems(virtual_service() | {"kind": "Gateway"})[0].startswith("kind")


def test_an_unknown_kind_is_rejected() -> None:
    got = parse("Pod", {"metadata": {"name": "x"}})
    assert isinstance(got, Rejected)
    assert got.problems[0].startswith("kind: Pod")


def test_reserved_annotations_are_refused_of_people() -> None:
    obj = virtual_service(annotations={"internal.istio.io/parents": "x"})
    assert isinstance(parse("VirtualService", obj), Parsed)
    assert problems(obj, strict=True)[0].startswith("metadata.annotations.internal.istio.io/parents")
    assert problems(virtual_service(annotations={"istio.io/dry-run": "true"}), strict=True)
    assert problems(virtual_service() | {"extra": 1}, strict=True) == ("extra: unknown field",)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_loaded_and_ruled(kind: str) -> None:
    """An empty spec of any kind gives an answer, never an exception."""
    assert isinstance(parse(kind, {"metadata": {"name": "x"}}), Parsed | Rejected)


def test_a_policy_without_end_is_refused() -> None:
    metadata = {"name": "many", "namespace": "default"}
    policy = {"apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy", "metadata": metadata}
    assert isinstance(parse("AuthorizationPolicy", {**policy, "spec": {"rules": [{}] * 512}}), Parsed)
    got = parse("AuthorizationPolicy", {**policy, "spec": {"rules": [{}] * 10_000}})
    assert isinstance(got, Rejected)
    assert got.problems == ("spec.rules: tuple should have at most 512 items after validation, not 10000",)


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("(a+)+$", ""),  # the engine of Envoy and of ours takes time in proportion to the text
        ("(((a{100}){100}){100}){100}", "is not an RE2 expression: invalid repetition size"),
        ("a" * 1025, "must be at most 1024 characters"),
    ],
)
def test_an_expression_that_grows_without_end_is_refused(pattern: str, reason: str) -> None:
    problem = regex_problem(pattern)
    assert problem.startswith(reason)
    assert bool(problem) is bool(reason)
