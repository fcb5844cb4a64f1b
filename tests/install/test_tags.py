"""Tags: what one consists of, and what cannot be one."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from controlplane.injector.webhooks import Injector, webhook_configuration
from controlplane.install.errors import RefusedInputError
from controlplane.install.tags import Tag, objects, source, switched, tags


def installed(revision: str, tag: str = "") -> dict[str, Any]:
    found = webhook_configuration(Injector(revision, tag))
    for each in found["webhooks"]:
        each["clientConfig"]["caBundle"] = "cm9vdA=="
    return found


CONFIGURATIONS = [installed("default"), installed("canary"), installed("canary", "prod")]


def namespace(name: str, **labels: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "labels": {key.replace("_", "/"): value for key, value in labels.items()}}}


def test_tags_know_who_asks_for_them() -> None:
    spaces = [
        namespace("a", **{"istio.io_rev": "prod"}),
        namespace("b", **{"istio.io_rev": "prod", "istio-injection": "disabled"}),
        namespace("c", **{"istio-injection": "enabled"}),
        namespace("d"),
    ]
    assert tags([*CONFIGURATIONS, installed("canary", "default")], spaces) == [
        Tag("default", "canary", ("c",)),
        Tag("prod", "canary", ("a",)),
    ]


def test_a_tag_asks_the_revision_with_its_roots() -> None:
    made = {each["kind"]: each for each in objects("prod", CONFIGURATIONS[1])}
    webhooks = made["MutatingWebhookConfiguration"]
    assert webhooks["metadata"]["name"] == "istio-revision-tag-prod"
    assert webhooks["metadata"]["labels"].items() >= {"istio.io/rev": "canary", "istio.io/tag": "prod"}.items()
    assert {each["clientConfig"]["service"]["name"] for each in webhooks["webhooks"]} == {"istiod-canary"}
    assert {each["clientConfig"]["caBundle"] for each in webhooks["webhooks"]} == {"cm9vdA=="}
    (rule,) = made["ClusterRole"]["rules"]
    assert rule["resourceNames"] == ["istio-revision-tag-prod"]
    assert made["ClusterRoleBinding"]["subjects"][0]["name"] == "istiod-canary"
    assert made["Service"]["spec"]["selector"] == {"app": "istiod", "istio.io/rev": "canary"}


@pytest.mark.parametrize(
    ("tag", "revision", "problem"),
    [
        ("x", "none", "no control plane has the revision none; there are canary, default"),
        ("canary", "default", "canary is the name of a revision"),
        ("default", "default", "default is that revision already"),
        ("prod", "default", "the tag prod stands for canary; --overwrite moves it"),
    ],
)
def test_what_cannot_be_a_tag_is_refused(tag: str, revision: str, problem: str) -> None:
    with pytest.raises(RefusedInputError, match=problem):
        source(tag, revision, CONFIGURATIONS, overwrite=False)


@pytest.mark.parametrize(
    "tag", ["", "Prod", "a b", "../x", "-x", "a.b", "prod\n", "x\x1b[31m", "é", "a" * 44, "a" * 100000]
)
def test_what_is_no_name_is_refused(tag: str) -> None:
    """Before anything is written: roles may be called what Services may not."""
    with pytest.raises(RefusedInputError, match=r"tag: .*: must be lower-case letters, digits") as refused:
        source(tag, "canary", CONFIGURATIONS, overwrite=False)
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 300


def test_the_longest_name_fits() -> None:
    assert source("a" * 43, "canary", CONFIGURATIONS, overwrite=False) == CONFIGURATIONS[1]


def test_somebody_elses_configuration_is_no_revision() -> None:
    """One that has the label and no webhooks cannot be asked."""
    theirs = {"metadata": {"name": "theirs", "labels": {"istio.io/rev": "theirs"}}}
    with pytest.raises(RefusedInputError, match="no control plane has the revision theirs"):
        source("x", "theirs", [*CONFIGURATIONS, theirs], overwrite=False)


def test_a_tag_may_be_moved() -> None:
    assert source("prod", "default", CONFIGURATIONS, overwrite=True) == CONFIGURATIONS[0]


def test_webhooks_are_switched_off_and_on_again() -> None:
    """The patch off, applied, is undone by the patch on."""
    given = deepcopy(CONFIGURATIONS[0])
    for each in switched(given, on=False):
        _, _, at, key, _ = each["path"].split("/")
        given["webhooks"][int(at)][key]["matchLabels"] = each["value"]
    assert switched(given, on=False) == []
    paths = [each["path"] for each in switched(given, on=True)]
    assert len(paths) == 8
    assert switched(CONFIGURATIONS[0], on=True) == []
