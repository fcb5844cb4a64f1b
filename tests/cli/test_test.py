"""``controlplane test``: routing tests beside the manifests."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.cli.command import ROOT, invoked, run

BOOKSHOP = str(ROOT / "docs" / "examples" / "bookshop")
BAD = """
from: pod/shop/productpage
tests:
- name: wrong subset
  request: {url: "http://reviews:9080/", headers: {end-user: jason}}
  expect: {subset: v1, timeout: 3s}
- name: denied without a word of it
  as: sa/shop/ratings
  request: {url: "http://reviews:9080/", headers: {end-user: jason}}
  expect: {subset: v2}
- name: mended since
  request: {url: "http://reviews:9080/", headers: {end-user: jason}}
  expect: {subset: v2}
  skip: it was broken
"""


async def test_what_is_expected_happens_and_rules_are_counted() -> None:
    result = await run("test", "-f", BOOKSHOP, BOOKSHOP)
    assert result.code == 0, result.out
    assert "6 requests: 5 as expected, 0 not, 1 skipped" in result.out
    assert "shop/public   1 of 2   not reached: reviews" in result.out


async def test_a_failing_test_says_what_differs_and_is_explained(tmp_path: Path) -> None:
    tests, report = tmp_path / "bad.routes.yaml", tmp_path / "junit.xml"
    tests.write_text(BAD)
    result = await run("test", "-f", BOOKSHOP, str(tests), "--junit", str(report))
    assert result.code == 1
    lines = [line.strip() for line in result.out.splitlines()]
    assert "subset: expected v1, got v2" in lines
    assert "it was to arrive, and fails: 403: no rule of AuthorizationPolicy shop/reviews-viewer allows it" in lines
    assert "passes now, and is skipped: it was broken" in lines
    assert any("VirtualService shop/reviews  spec.http[0].match[0]" in line for line in lines)
    suite = ET.parse(report).getroot().find("testsuite")
    assert suite is not None
    assert (suite.get("tests"), suite.get("failures")) == ("3", "3")


async def test_too_few_rules_reached_is_a_failure() -> None:
    result = await run("test", "-f", BOOKSHOP, BOOKSHOP, "--fail-under", "90", "-o", "json")
    assert result.code == 1
    answer = json.loads(result.out)
    assert 60 < answer["coverage"]["percent"] < 90
    assert {each["verdict"] for each in answer["tests"]} == {"ok", "skip"}


def test_a_proxy_that_only_a_file_describes_is_named_with_the_cure() -> None:
    """It is told without a control plane being asked."""
    result = invoked("test", "--live", "--address", "127.0.0.1:1", str(ROOT / "samples" / "shop.routes.yaml"))
    assert result.code == 1
    cure = "with --live name one that is connected, as pod/default/client"
    assert f"storefront is a proxy that only the file describes; {cure}" in result.out


async def test_a_report_that_cannot_be_written_is_told_after_the_results(tmp_path: Path) -> None:
    result = await run("test", "-f", BOOKSHOP, BOOKSHOP, "--junit", str(tmp_path / "none" / "x.xml"))
    assert result.code == 2
    assert "6 requests: 5 as expected, 0 not, 1 skipped" in result.out
    assert "--junit" in result.err
    assert f"{tmp_path}/none/x.xml: No such file or directory" in " ".join(result.err.split())
    assert "Traceback" not in result.err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("tests: [{name: a, request: 'http://a/', expect: {servise: b}}]", "tests[0].expect.servise ('a')"),
        ("tests: [{name: a, request: 'http://a/', expect: {service: b}}]", "'a' has no from"),
        (
            "from: a\ntests: [{name: a, request: 'http://a/', expect: {}}]",
            "expect ('a'): names nothing",
        ),
        (
            "from: a\ntests: [{name: a, request: {url: 'http://a/{path}', each: {pth: [b]}}, expect: {service: b}}]",
            "'a': each.pth: {pth} stands neither in the URL nor in headers",
        ),
        (
            "from: a\ntests: [{name: a, request: {url: 'http://a/{path}', each: {path: []}}, expect: {service: b}}]",
            "'a': each.path has no values",
        ),
        ("tests: 3", "tests: Input should be a valid list"),
        ("tests: [", "x.routes.yaml:2: did not find"),
    ],
)
async def test_a_file_that_holds_no_tests_is_told_of(tmp_path: Path, text: str, said: str) -> None:
    tests = tmp_path / "x.routes.yaml"
    tests.write_text(text)
    result = await run("test", "-f", BOOKSHOP, str(tests))
    assert result.code == 2
    assert said in result.err


async def test_objects_in_a_file_that_is_named_as_tests_are_the_mesh(tmp_path: Path) -> None:
    """Whoever names a manifest so loses nothing of it, and tests in the same directory run."""
    for file in (ROOT / "docs" / "examples" / "bookshop").glob("*.yaml"):
        (tmp_path / file.name.replace(".yaml", ".routes.yaml")).write_text(file.read_text())
    result = await run("test", "-f", str(tmp_path), str(tmp_path))
    assert result.code == 0, result.out + result.err
    assert "6 requests: 5 as expected, 0 not, 1 skipped" in result.out
