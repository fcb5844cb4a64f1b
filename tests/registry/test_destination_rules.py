"""Which DestinationRules of one host are merged, and which rule a client finds."""

from __future__ import annotations

import pytest

from controlplane.registry.destination_rules import Hosts, Lookup, rules_for
from tests.translate.listeners.world import World

HOST = "web.shop.svc.cluster.local"


def world(*rules: tuple[str, str], default: str = "*") -> World:
    """Return a registry of rules of namespace ``shop`` for one host, the oldest first: each (its name, its spec)."""
    mesh = f"""
apiVersion: v1
kind: ConfigMap
metadata: {{name: istio, namespace: istio-system}}
data: {{mesh: "defaultDestinationRuleExportTo: ['{default}']"}}
"""
    texts = [
        f"""
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: {name}, namespace: shop, creationTimestamp: "2024-01-0{age}T00:00:00Z"}}
spec: {{host: web, subsets: [{{name: {name}}}], {spec}}}
"""
        for age, (name, spec) in enumerate(rules, 1)
    ]
    return World("---".join((mesh, *texts)))


def found(held: World, client: str) -> list[list[str]]:
    """Return the names of the subsets of each rule that a client namespace finds."""
    rules = held.registry.memo.get(rules_for, Lookup(client, HOST, "shop"))
    return [[subset.name for subset in rule.subsets] for rule in rules]


SELECTED = "workloadSelector: {matchLabels: {app: %s}}"


@pytest.mark.parametrize(
    ("rules", "at_home", "elsewhere"),
    [
        pytest.param((("a", ""), ("b", "")), [["a", "b"]], [["a", "b"]], id="alike"),
        pytest.param((("a", ""), ("b", "exportTo: ['*']")), [["a"], ["b"]], [["a"], ["b"]], id="said-and-unsaid"),
        pytest.param((("a", "exportTo: ['.']"), ("b", "")), [["a"], ["b"]], [["b"]], id="narrow-first"),
        pytest.param((("a", "exportTo: [x]"), ("b", "exportTo: [x, '.']")), [["b"]], [["a", "b"]], id="superset"),
        pytest.param(
            (("a", ""), ("b", "exportTo: [x]"), ("c", "")), [["a", "c"]], [["a", "c"], ["b"], ["c"]], id="last-decides"
        ),
        pytest.param(
            (("a", "exportTo: [x]"), ("b", "exportTo: [x, w]"), ("c", "exportTo: [x, w, z]")),
            [],
            [["a", "b", "c"]],
            id="widening",
        ),
        pytest.param(
            (("a", SELECTED % "one"), ("b", SELECTED % "two"), ("c", SELECTED % "one")),
            [["a", "c"], ["b"], ["c"]],
            [],
            id="selectors",
        ),
        pytest.param(
            (("a", SELECTED % "one"), ("b", "exportTo: ['.', x]")), [["a", "b"], ["b"]], [["b"]], id="general-is-kept"
        ),
    ],
)
def test_merging(rules: tuple[tuple[str, str], ...], at_home: list[list[str]], elsewhere: list[list[str]]) -> None:
    """A rule joins those exported alike or to fewer; whether it stays a rule of its own too, the last one decides."""
    held = world(*rules)
    assert found(held, "shop") == at_home
    assert found(held, "x") == elsewhere


@pytest.mark.parametrize(
    ("default", "at_home", "elsewhere"),
    [
        pytest.param("*", [["a"]], [["a"]], id="everybody"),
        pytest.param(".", [["a"]], [], id="nobody-else"),
        pytest.param("y", [["a"]], [["a"]], id="a-namespace-means-nothing"),
    ],
)
def test_default_visibility(default: str, at_home: list[list[str]], elsewhere: list[list[str]]) -> None:
    """Of the mesh's default for DestinationRules only ``.`` makes a difference."""
    held = world(("a", ""), default=default)
    assert found(held, "shop") == at_home
    assert found(held, "x") == elsewhere


@pytest.mark.parametrize(
    ("host", "best"),
    [("a.x", "a.x"), ("b.x", "*.x"), ("c.a.x", "*.a.x"), (".x", "*.x"), ("x", "*x"), ("y", "*"), ("", "*")],
)
def test_the_longest_wildcard_is_found(host: str, best: str) -> None:
    assert Hosts(dict.fromkeys(["*", "*x", "*.x", "*.a.x", "a.x", "c.b.x"], ())).best(host) == best
    assert Hosts({"a.x": ()}).best(host) == ("a.x" if host == "a.x" else None)
