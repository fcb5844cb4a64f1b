"""``controlplane plan``, against files."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from controlplane.documents.yaml_reader import yaml_documents
from tests.cli.command import ROOT, Result, invoked

EXAMPLES = ROOT / "docs" / "examples"
BOOKSHOP = str(EXAMPLES / "bookshop")
HALF, WITHOUT_V2 = str(EXAMPLES / "half"), str(EXAMPLES / "without-v2")


def plan(*arguments: str) -> Result:
    return invoked("plan", "--config-dir", BOOKSHOP, *arguments)


def planned(*arguments: str) -> Any:
    return json.loads((plan(*arguments, "-o", "json")).out)


def test_what_is_the_same_changes_nothing() -> None:
    result = plan("-f", BOOKSHOP)
    assert result.code == 0, result.err
    assert "0 objects: nothing changes." in result.out
    assert "Requests that change: 0 of 6." in result.out


def test_fields_proxies_and_resources_of_a_change(tmp_path: Path) -> None:
    shutil.copytree(HALF, tmp_path / "new")
    (tmp_path / "new" / "reviews.routes.yaml").write_text("from: pod/shop/productpage\ntests: []\n")
    answer = planned("-f", str(tmp_path / "new"))
    (obj,) = answer["objects"]
    assert (obj["change"], obj["kind"], obj["name"]) == ("changed", "VirtualService", "reviews")
    assert [(each["path"], each["was"], each["value"]) for each in obj["patch"]] == [
        ("/spec/http/2/route/0/weight", 90, 50),
        ("/spec/http/2/route/1/weight", 10, 50),
    ]
    assert obj["effect"] == {"proxyCount": 4, "sidecars": 4, "gateways": [], "resources": {"RDS": {"changed": 1}}}
    (group,) = answer["classes"]
    (resource,) = group["resources"]
    assert (resource["type"], resource["name"], group["proxyCount"]) == ("RDS", "9080", 4)
    assert [each["value"] for each in resource["patch"]] == [50, 50]
    assert answer["totals"]["bytes"] == {"RDS": 4 * resource["sizeBytes"]}
    assert (answer["errors"], answer["requests"]) == (0, [])
    assert (plan("-f", str(tmp_path / "new"))).code == 2, "new tests take the place of old ones"


def test_a_test_that_fails_then_is_an_error() -> None:
    result = plan("-f", HALF)
    assert result.code == 3
    assert "everybody else 90/10 [path=/]   ! fails now" in result.out
    assert "Requests that change: 2 of 6:" in result.out


def with_test(directory: Path, origin: str) -> str:
    """Return a copy of a change with a test of its own, which nothing satisfies."""
    shutil.copytree(HALF, directory / "new")
    test = "{name: gone, request: GET http://reviews:9080/, expect: {redirect: 301}}"
    (directory / "new" / "reviews.routes.yaml").write_text(f"from: {origin}\ntests:\n- {test}\n")
    return str(directory / "new")


def test_a_new_test_that_fails_too_is_an_error(tmp_path: Path) -> None:
    """It fails before as well: what it wants is nowhere yet."""
    result = plan("-f", with_test(tmp_path, "pod/shop/productpage"))
    assert result.code == 3, result.out
    assert "! fails before and after" in result.out


def test_a_test_that_cannot_be_asked_is_an_error(tmp_path: Path) -> None:
    result = plan("-f", with_test(tmp_path, "pod/shop/nope"))
    assert result.code == 3, result.out
    assert "there is no" in result.out


def test_what_cannot_be_read_takes_nothing_away(tmp_path: Path) -> None:
    """With ``--prune`` its objects would go."""
    shutil.copytree(BOOKSHOP, tmp_path, dirs_exist_ok=True)
    (tmp_path / "reviews.yaml").write_text("a: [b\n")
    result = plan("-f", str(tmp_path), "--prune")
    assert result.code == 1, result.out
    assert "reviews.yaml:1: not readable" in result.err or "reviews.yaml:2: not readable" in result.err


def test_what_envoy_would_refuse_is_an_error_and_explained(tmp_path: Path) -> None:
    lua = "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua"
    patch = {
        "applyTo": "HTTP_FILTER",
        "match": {"context": "SIDECAR_OUTBOUND"},
        "patch": {
            "operation": "INSERT_FIRST",
            "value": {"name": "a", "typed_config": {"@type": lua, "inlineCode": "function ("}},
        },
    }
    obj = {
        "apiVersion": "networking.istio.io/v1alpha3",
        "kind": "EnvoyFilter",
        "metadata": {"name": "bad", "namespace": "shop"},
        "spec": {"configPatches": [patch]},
    }
    shutil.copytree(BOOKSHOP, tmp_path, dirs_exist_ok=True)
    (tmp_path / "filter.yaml").write_text(json.dumps(obj))
    result = plan("-f", str(tmp_path / "filter.yaml"))
    assert result.code == 3, result.out
    assert "(HTTP_FILTER INSERT_FIRST) is left out, Envoy would refuse what it makes: " in result.out
    explained = invoked("explain", "-f", str(tmp_path), "envoyfilter/shop/bad")
    assert explained.code == 3, explained.out
    assert "(HTTP_FILTER INSERT_FIRST) is left out" in explained.out


def test_what_is_led_to_and_goes_is_an_error_of_the_object_that_takes_it() -> None:
    answer = planned("-f", WITHOUT_V2)
    (broken,) = [each for each in answer["problems"] if "503 NC" in each["reason"]]
    assert (broken["code"], broken["object"]["kind"]) == ("IST0101", "DestinationRule")
    assert "outbound|9080|v2|reviews.shop.svc.cluster.local is not there, and RDS 9080 leads to it" in broken["reason"]
    assert (plan("-f", WITHOUT_V2)).code == 3


def test_a_new_conflict_names_winner_and_loser() -> None:
    answer = planned("-f", WITHOUT_V2)
    (conflict,) = [each for each in answer["problems"] if each["winner"]]
    assert (conflict["object"]["name"], conflict["winner"]["name"], conflict["code"]) == ("again", "reviews", "IST0109")


def test_a_conflict_that_ends_is_told() -> None:
    result = plan("--delete", "vs/shop/old-reviews")
    assert result.code == 2, result.out
    assert "- VirtualService shop/old-reviews" in result.out
    assert "Solved:\n    VirtualService shop/old-reviews spec.hosts[0]: " in result.out


def test_what_is_new_moves_no_address_of_others(tmp_path: Path) -> None:
    """Addresses that files do not state are given in the order of names; one before all is no change of the others."""
    (tmp_path / "a.yaml").write_text(
        "apiVersion: v1\nkind: Service\nmetadata: {name: aaa, namespace: shop}\n"
        "spec: {selector: {app: aaa}, ports: [{name: http, port: 7000}]}\n---\n"
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: aaa, namespace: shop}\n"
        "spec: {template: {metadata: {labels: {app: aaa}}, spec: {containers: [{name: a, image: a}]}}}\n"
    )
    answer = planned("-f", str(tmp_path))
    assert {(each["kind"], each["change"]) for each in answer["objects"]} == {
        ("Service", "added"),
        ("Pod", "added"),
        ("EndpointSlice", "added"),
    }
    assert answer["totals"]["resources"]["CDS"] == {"added": 1}
    assert "changed" not in answer["totals"]["resources"]["LDS"]


def test_prune_takes_what_files_do_not_have(tmp_path: Path) -> None:
    shutil.copytree(BOOKSHOP, tmp_path, dirs_exist_ok=True)
    documents = (tmp_path / "reviews.yaml").read_text().split("---\n")
    kept = [each for each in documents if "old-reviews" not in each]
    (tmp_path / "reviews.yaml").write_text("---\n".join(kept))
    assert (planned("-f", str(tmp_path)))["objects"] == []
    (obj,) = (planned("-f", str(tmp_path), "--prune"))["objects"]
    assert (obj["change"], obj["name"]) == ("removed", "old-reviews")
    assert len(documents) > len(kept) > 1
    assert all(yaml_documents(each) for each in kept)


def test_a_refused_object_leaves_the_one_of_before(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text((Path(HALF) / "reviews.yaml").read_text().replace("3s", "never"))
    result = plan("-f", str(tmp_path))
    assert result.code == 3
    assert "! VirtualService shop/reviews is refused, and what is in force stays" in result.out
    assert "spec.http[0].timeout: " in result.out
    assert "Plan: 0 of 5 proxies" in result.out


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        pytest.param([], "give -f or --delete", id="nothing"),
        pytest.param(["--delete", "vs/shop/none"], "there is no VirtualService shop/none", id="not-there"),
        pytest.param(["--delete", "vs/reviews"], "is not VirtualService/NAMESPACE/NAME", id="no-namespace"),
        pytest.param(["--delete", "thing/a/b"], "there is no kind 'thing'", id="no-kind"),
        pytest.param(["--wrong"], "No such option", id="option"),
        pytest.param(["-f", "nowhere"], "No such file", id="no-file"),
    ],
)
def test_wrong_usage_is_told_from_changes(arguments: list[str], reason: str) -> None:
    """Exit code 2 says that something changes."""
    result = plan(*arguments)
    assert (result.code, reason in result.err) == (1, True), result.err


def test_no_control_plane() -> None:
    result = invoked("plan", "-f", HALF, "--address", "127.0.0.1:1")
    assert result.code == 1
    assert "cannot be reached" in result.err
