"""``controlplane plan``, against files."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from controlplane.cli.plan_text import fields
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
    assert explained.code == 4, explained.out
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


def test_a_refused_policy_is_not_said_to_change_nothing(tmp_path: Path) -> None:
    """What stands for it comes into force, and its problems say so."""
    (tmp_path / "bad.yaml").write_text(
        "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: a, namespace: shop}\n"
        "spec: {action: DENY, rules: [{to: [{operation: {ports: [80-90]}}]}]}\n"
    )
    result = plan("-f", str(tmp_path))
    assert "! AuthorizationPolicy shop/a is refused   " in result.out
    assert "+ AuthorizationPolicy shop/a" in result.out
    assert "    object: a good version of before stays in force; without one, " in result.out


REFERENCES = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: away, namespace: shop}
spec:
  hosts: [away.example.com]
  gateways: [pubic]
  http: [{route: [{destination: {host: reviws}}]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: root, namespace: shop}
spec: {hosts: [root.example.com], http: [{delegate: {name: nobody}}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: away, namespace: shop}
spec: {host: reviws}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: away, namespace: shop}
spec: {selector: {matchLabels: {app: reviws}}}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: away, namespace: shop}
spec: {selector: {matchLabels: {app: reviws}}, mtls: {mode: STRICT}}
"""


def test_references_to_nothing_are_new_findings_and_go_away(tmp_path: Path) -> None:
    file = tmp_path / "away.yaml"
    file.write_text(REFERENCES)
    answer = planned("-f", str(file))
    found = {(each["object"]["kind"], each["path"], each["code"], each["level"]) for each in answer["problems"]}
    assert {
        ("VirtualService", "spec.gateways[0]", "IST0101", "Error"),
        ("VirtualService", "spec.http[0].route[0].destination.host", "IST0101", "Error"),
        ("VirtualService", "spec.http[0].delegate", "C204", "Error"),
        ("DestinationRule", "spec.host", "IST0174", "Warning"),
        ("AuthorizationPolicy", "spec.selector", "IST0127", "Warning"),
        ("PeerAuthentication", "spec.selector.matchLabels", "C203", "Warning"),
    } <= found
    result = plan("-f", str(file))
    assert result.code == 3
    assert 'spec.gateways[0]: the gateway "pubic" is referred to and not there   IST0101' in result.out
    shutil.copytree(BOOKSHOP, tmp_path / "all")
    file.rename(tmp_path / "all" / "away.yaml")
    back = invoked("plan", "--config-dir", str(tmp_path / "all"), "-f", BOOKSHOP, "--prune", "-o", "json")
    solved = {(each["object"]["kind"], each["path"], each["code"]) for each in json.loads(back.out)["solved"]}
    lasting = {(each["object"]["kind"], each["path"], each["code"]) for each in answer["problems"] if each["path"]}
    assert lasting <= solved
    assert back.code == 2, back.err


def test_a_finding_that_moves_in_a_list_is_not_new(tmp_path: Path) -> None:
    shutil.copytree(BOOKSHOP, tmp_path / "old")
    route = "{route: [{destination: {host: nowhere}}]}"
    text = (
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: more, namespace: shop}\n"
        "spec: {hosts: [more.example.com], http: [%s]}\n"
    )
    (tmp_path / "old" / "more.yaml").write_text(text % route)
    new = tmp_path / "more.yaml"
    new.write_text(text % ("{match: [{uri: {prefix: /a}}], redirect: {uri: /b}}, " + route))
    answer = json.loads(invoked("plan", "--config-dir", str(tmp_path / "old"), "-f", str(new), "-o", "json").out)
    assert (answer["problems"], answer["solved"]) == ([], [])
    (step,) = answer["objects"][0]["patch"]
    assert (step["op"], step["place"]) == ("add", "/spec/http/0")


def test_what_is_given_twice_is_told_and_the_last_counts(tmp_path: Path) -> None:
    half = (Path(HALF) / "reviews.yaml").read_text()
    (tmp_path / "a.yaml").write_text(half)
    (tmp_path / "b.yaml").write_text("# again\n" + half.replace("weight: 50", "weight: 51", 1))
    result = plan("-f", str(tmp_path))
    told = f"! VirtualService shop/reviews: {tmp_path}/a.yaml:1, then {tmp_path}/b.yaml:2"
    assert told in result.out, result.out
    assert "90 -> 51" in result.out
    assert "1 warning. Nothing was applied." in result.out


def test_an_unknown_field_is_an_error_as_for_validate(tmp_path: Path) -> None:
    """It is one whether or not anything else changes; ``kubectl apply`` refuses the object."""
    half = (Path(HALF) / "reviews.yaml").read_text()
    (tmp_path / "a.yaml").write_text(half.replace("weight: 50", "wieght: 50", 1))
    result = plan("-f", str(tmp_path))
    assert result.code == 3, result.out
    assert "    ! spec.http[2].route[0].wieght: unknown field\n" in result.out
    (tmp_path / "a.yaml").write_text(
        (Path(BOOKSHOP) / "reviews.yaml").read_text().replace("weight: 90", "weight: 90, wieght: 9")
    )
    result = plan("-f", str(tmp_path))
    assert (result.code, "0 objects: nothing changes." in result.out) == (3, True), result.out
    assert "1 error, 0 warnings. Nothing was applied." in result.out


def test_what_a_rule_warns_of_is_told_of_objects_that_change(tmp_path: Path) -> None:
    route = {"route": [{"destination": {"host": "reviews"}}]}
    spec = {"hosts": ["never.example.com"], "http": [route, route]}
    meta = {"name": "never", "namespace": "shop"}
    obj = {"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": meta, "spec": spec}
    (tmp_path / "a.yaml").write_text(json.dumps(obj))
    answer = planned("-f", str(tmp_path))
    assert (answer["errors"], answer["warnings"]) == (0, 1)
    (problem,) = answer["problems"]
    assert (problem["level"], problem["path"]) == ("Warning", "spec.http[1]")
    assert problem["object"]["name"] == "never"
    same = json.loads(invoked("plan", "--config-dir", str(tmp_path), "-f", str(tmp_path), "-o", "json").out)
    assert (same["warnings"], same["problems"]) == (0, [])


def test_places_of_entries_that_go_are_those_of_before(tmp_path: Path) -> None:
    text = (Path(BOOKSHOP) / "reviews.yaml").read_text().replace("  - {name: v1, labels: {version: v1}}\n", "")
    (tmp_path / "new.yaml").write_text(text.replace("  - {name: v2, labels: {version: v2}}\n", ""))
    result = plan("-f", str(tmp_path))
    assert 'spec.subsets[0]   - {"name": "v1"' in result.out
    assert 'spec.subsets[1]   - {"name": "v2"' in result.out


def test_long_values_are_cut_where_they_differ() -> None:
    same = "a" * 100
    steps = [{"op": "replace", "path": "/spec/host", "was": f"{same}one{same}", "value": f"{same}two{same}"}]
    (line,) = fields(steps)
    old, new = line.removeprefix("spec.host   ").split(" -> ")
    assert ("one" in old, "two" in new) == (True, True)
    assert max(len(old), len(new)) <= 60
    (line,) = fields([{"op": "replace", "path": "/a", "was": "x" * 60, "value": f"{'x' * 59}y"}])
    assert line == f"a   {'x' * 60} -> {'x' * 59}y"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        pytest.param(
            ["--delete", "pod/shop/ratings-0"], "it stands for Deployment shop/ratings, so name that", id="pod"
        ),
        pytest.param([], "give -f or --delete", id="nothing"),
        pytest.param(["--delete", "vs/shop/none"], "there is no VirtualService shop/none", id="not-there"),
        pytest.param(["--delete", "vs/reviews"], "is not VirtualService/NAMESPACE/NAME", id="no-namespace"),
        pytest.param(["--delete", "vs/shop/revews"], "which is to be deleted; nearest: reviews", id="misspelt"),
        pytest.param(["--delete", "reviews"], "'reviews' is not KIND/NAMESPACE/NAME", id="no-kind-stated"),
        pytest.param(["--delete", "thing/a/b"], "there is no kind 'thing'", id="no-kind"),
        pytest.param(["--wrong"], "No such option", id="option"),
        pytest.param(["-f", "nowhere"], "No such file", id="no-file"),
    ],
)
def test_wrong_usage_is_told_from_changes(arguments: list[str], reason: str) -> None:
    """Exit code 2 says that something changes."""
    result = plan(*arguments)
    assert (result.code, reason in result.err) == (1, True), result.err


def test_an_empty_directory_is_told_by_its_option(tmp_path: Path) -> None:
    result = invoked("plan", "--config-dir", str(tmp_path), "-f", HALF)
    assert (result.code, "--config-dir" in result.err, "for -f" in result.err) == (1, True, False), result.err


def test_no_control_plane() -> None:
    result = invoked("plan", "-f", HALF, "--address", "127.0.0.1:1")
    assert result.code == 1
    assert "cannot be reached" in result.err
