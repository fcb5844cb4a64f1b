"""``controlplane explain KIND/NAMESPACE/NAME``: what an object makes, for whom, and what of it is without effect."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.cli.command import ROOT, Result, invoked

BOOKSHOP = str(ROOT / "docs" / "examples" / "bookshop")
MORE = """
apiVersion: v1
kind: Service
metadata: {name: ratings, namespace: shop}
spec: {selector: {app: ratings}, ports: [{name: http, port: 9080}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: ratings, namespace: shop}
spec:
  hosts: [ratings]
  http:
  - name: all
    route: [{destination: {host: ratings}}]
  - name: never
    match: [{uri: {prefix: /never}}]
    route: [{destination: {host: ratings}}]
---
apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {name: vms, namespace: shop}
spec: {template: {serviceAccount: vm}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: broken, namespace: shop}
spec: {host: [ratings]}
"""


def explained(*arguments: str, mesh: str = BOOKSHOP) -> Result:
    return invoked("explain", "-f", mesh, *arguments)


def answered(name: str, mesh: str = BOOKSHOP) -> Any:
    return json.loads((explained(name, "-o", "json", mesh=mesh)).out)


@pytest.fixture
def more(tmp_path: Path) -> str:
    shutil.copytree(BOOKSHOP, tmp_path, dirs_exist_ok=True)
    (tmp_path / "more.yaml").write_text(MORE)
    return str(tmp_path)


def test_what_an_object_makes_and_for_whom() -> None:
    answer = answered("dr/shop/reviews")
    assert answer["effect"]["resources"] == {"CDS": {"added": 3, "changed": 1}, "EDS": {"added": 3}}
    assert (answer["effect"]["sidecars"], answer["effect"]["gateways"]) == (4, ["public.shop"])
    resources = {each["name"]: each for group in answer["classes"] for each in group["resources"]}
    assert resources["outbound|9080|v3|reviews.shop.svc.cluster.local"]["change"] == "added"
    (step,) = resources["outbound|9080||reviews.shop.svc.cluster.local"]["patch"]
    assert (step["op"], "destination-rule/reviews" in str(step["value"])) == ("add", True)
    assert (explained("DestinationRule/shop/reviews")).code == 0


def test_winner_and_loser_name_each_other() -> None:
    winner, loser = answered("vs/shop/reviews"), answered("vs/shop/old-reviews")
    assert [each["object"]["name"] for each in winner["overrides"]] == ["old-reviews"]
    assert [each["winner"]["name"] for each in loser["problems"]] == ["reviews"]
    assert (loser["effect"]["proxyCount"], loser["rules"][0]["inUse"]) == (0, False)
    result = explained("vs/shop/old-reviews")
    assert result.code == 3
    assert "makes    nothing: none of 5 proxies has anything because of it" in result.out


def test_a_rule_behind_one_that_takes_all_is_without_effect(more: str) -> None:
    result = explained("vs/shop/ratings", mesh=more)
    assert result.code == 3, result.err
    assert "rule     spec.http[0]  all   in use" in result.out
    assert "rule     spec.http[1]  never   ! no proxy has a route of it" in result.out


def test_what_is_read_and_not_used_is_told(more: str) -> None:
    result = explained("wg/shop/vms", mesh=more)
    assert (result.code, "C301" in result.out) == (3, True), result.out + result.err


def test_a_refused_object_says_why(more: str) -> None:
    result = explained("dr/shop/broken", mesh=more)
    assert result.code == 3
    assert "Refused: its last good version is in force, if there was one:\n  spec.host: " in result.out


@pytest.mark.parametrize("name", ["vs/shop/none", "thing/shop/a", "vs/reviews"])
def test_an_object_that_is_none(name: str) -> None:
    assert (explained(name)).code == 2
