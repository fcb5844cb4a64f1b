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
spec: {template: {serviceAccount: vm, address: 10.0.0.1}}
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
    result = explained("DestinationRule/shop/reviews")
    assert (result.code, "IST0173" in result.out) == (3, True), "no pod is in its subset v3"
    assert (explained("pa/shop/default")).code == 0


def test_winner_and_loser_name_each_other() -> None:
    winner, loser = answered("vs/shop/reviews"), answered("vs/shop/old-reviews")
    assert [each["object"]["name"] for each in winner["overrides"]] == ["old-reviews"]
    assert [each["winner"]["name"] for each in loser["problems"]] == ["reviews"]
    assert (loser["effect"]["proxyCount"], loser["rules"][0]["inUse"]) == (0, False)
    result = explained("vs/shop/old-reviews")
    assert result.code == 4
    assert "makes    nothing: none of 5 proxies has anything because of it" in result.out


def test_a_rule_behind_one_that_takes_all_is_without_effect(more: str) -> None:
    result = explained("vs/shop/ratings", mesh=more)
    assert result.code == 3, result.err
    assert "rule     spec.http[0]  all   in use" in result.out
    assert "rule     spec.http[1]  never   ! no proxy has a route of it" in result.out


def test_what_is_read_and_not_used_is_told(more: str) -> None:
    result = explained("wg/shop/vms", mesh=more)
    assert (result.code, "C301" in result.out) == (4, True), result.out + result.err


def test_a_refused_object_says_why(more: str) -> None:
    result = explained("dr/shop/broken", mesh=more)
    assert result.code == 3
    assert "Refused: its last good version is in force, if there was one:\n  spec.host: " in result.out


@pytest.mark.parametrize("name", ["vs/shop/none", "thing/shop/a", "vs/reviews"])
def test_an_object_that_is_none(name: str) -> None:
    assert (explained(name)).code == 2


def virtual_service(spec: str) -> str:
    return (
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: it, namespace: shop}\n"
        f"spec: {{hosts: [it], http: [{{route: [{{destination: {{host: reviews}}}}]}}], {spec}}}\n"
        "---\napiVersion: v1\nkind: Service\nmetadata: {name: it, namespace: shop}\n"
        "spec: {selector: {app: it}, ports: [{name: http, port: 80}]}\n"
    )


def policy(kind: str, name: str, spec: str, namespace: str = "shop", api: str = "security.istio.io/v1") -> str:
    return f"apiVersion: {api}\nkind: {kind}\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec: {spec}\n"


@pytest.mark.parametrize(
    ("name", "written", "reason"),
    [
        pytest.param("vs/shop/it", virtual_service("gateways: [pubic]"), 'the gateway "pubic"', id="no-gateway"),
        pytest.param("vs/shop/it", virtual_service("exportTo: [nobody]"), "spec.exportTo: no proxy is in", id="hidden"),
        pytest.param(
            "vs/shop/it",
            virtual_service("gateways: [in]")
            + "---\n"
            + policy(
                "Gateway",
                "in",
                "{selector: {a: b}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: [a.com]}]}",
                api="networking.istio.io/v1",
            ),
            "IST0132",
            id="gateway-of-others",
        ),
        pytest.param(
            "peerauthentication/shop/it",
            policy("PeerAuthentication", "it", "{selector: {matchLabels: {app: none}}, mtls: {mode: STRICT}}"),
            "no workload of namespace shop has the labels app=none",
            id="selects-nobody",
        ),
        pytest.param(
            "peerauthentication/away/it",
            policy("PeerAuthentication", "it", "{mtls: {mode: STRICT}}", "away"),
            "it is for proxies of namespace away, and there is none",
            id="nobody-there",
        ),
        pytest.param(
            "vs/shop/it",
            virtual_service("exportTo: ['*']")
            + "---\n"
            + policy("Sidecar", "all", "{egress: [{hosts: ['istio-system/*']}]}", api="networking.istio.io/v1"),
            "the egress hosts of Sidecars leave it out (shop/all)",
            id="not-imported",
        ),
        pytest.param(
            "peerauthentication/shop/it",
            policy("PeerAuthentication", "it", "{selector: {matchLabels: {app: reviews}}, mtls: {mode: STRICT}}"),
            "PeerAuthentication shop/default says the same, or comes before it",
            id="says-the-same",
        ),
    ],
)
def test_an_object_without_effect_says_why(name: str, written: str, reason: str, tmp_path: Path) -> None:
    shutil.copytree(BOOKSHOP, tmp_path, dirs_exist_ok=True)
    (tmp_path / "it.yaml").write_text(written)
    result = explained(name, mesh=str(tmp_path))
    assert (result.code, reason in result.out) == (4, True), result.out + result.err


def test_of_two_with_one_name_both_places_are_told(tmp_path: Path) -> None:
    shutil.copytree(BOOKSHOP, tmp_path, dirs_exist_ok=True)
    shutil.copy(tmp_path / "services.yaml", tmp_path / "twice.yaml")
    result = explained("vs/shop/reviews", mesh=str(tmp_path))
    assert f"already defined in {tmp_path}/services.yaml:1, which is used" in result.err
    assert "Deployment.apps shop/reviews-v1" in result.err or "Deployment shop/reviews-v1" in result.err
