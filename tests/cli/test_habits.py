"""What hands type that know istioctl and kubectl works, or is told of in words that lead on."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer

from controlplane import __version__
from controlplane.cli.habits import ELSEWHERE, method_meant, object_meant, proxy_meant, proxy_named
from controlplane.cli.main import ALIASES, COMMANDS
from tests.cli.command import run

BOOKSHOP = "docs/examples/bookshop"


def test_what_is_said_to_be_elsewhere_is_not_here() -> None:
    assert not {*COMMANDS, *ALIASES} & ELSEWHERE["controlplane"].keys()


@pytest.mark.parametrize(
    ("words", "namespace", "meant"),
    [
        (["vs/shop/reviews"], "", "vs/shop/reviews"),
        (["vs/reviews"], "shop", "vs/shop/reviews"),
        (["vs/reviews.shop"], "shop", "vs/reviews.shop"),
        (["vs", "reviews"], "shop", "vs/shop/reviews"),
        (["vs", "reviews.shop"], "", "vs/reviews.shop"),
        (["GET", "http://reviews/"], "", None),
        (["GET", "reviews"], "", None),
        (["get", "reviews"], "", None),
        (["PURGE-ALL", "reviews:9080"], "", None),
        (["http://reviews/"], "shop", None),
        (["reviews"], "shop", None),
    ],
)
def test_an_object_is_named_as_for_kubectl(words: list[str], namespace: str, meant: str | None) -> None:
    assert object_meant(words, namespace) == meant


@pytest.mark.parametrize("words", [["vs/shop/reviews"], ["vs/reviews.shop"], ["vs", "reviews.shop"]])
def test_two_namespaces_are_one_too_many(words: list[str]) -> None:
    with pytest.raises(typer.BadParameter, match="is in namespace shop, and -n says web"):
        object_meant(words, "web")


@pytest.mark.parametrize(
    ("given", "namespace", "meant"),
    [
        ("pod/shop/web", "other", "pod/shop/web"),
        ("web.shop", "", "pod/shop/web"),
        ("web", "shop", "pod/shop/web"),
        ("pod/web", "shop", "pod/shop/web"),
        ("gateway/edge", "shop", "gateway/shop/edge"),
        ("namespace/shop", "other", "namespace/shop"),
        ("web", "", "web"),
        ("", "shop", ""),
    ],
)
def test_a_caller_is_named_as_for_istioctl(given: str, namespace: str, meant: str) -> None:
    assert proxy_meant(given, namespace) == meant


@pytest.mark.parametrize(
    ("given", "namespace", "meant"),
    [
        ("web.shop", "", "web.shop"),
        ("web", "shop", "web.shop"),
        ("pod/web.shop", "shop", "web.shop"),
        ("web", "", "web"),
        ("", "shop", ""),
    ],
)
def test_a_proxy_is_named_as_for_istioctl(given: str, namespace: str, meant: str) -> None:
    assert proxy_named(given, namespace) == meant


@pytest.mark.parametrize(("given", "said"), [("deploy/web", "is no proxy: name a pod"), ("web.other", "-n says shop")])
def test_what_is_no_proxy_is_refused(given: str, said: str) -> None:
    with pytest.raises(typer.BadParameter, match=said):
        proxy_named(given, "shop")


@pytest.mark.parametrize(
    ("word", "said"),
    [("GTE", "nearest: GET"), ("reviews", "written in capital letters"), ("A/B", "written in capital letters")],
)
def test_what_is_no_method_is_refused(word: str, said: str) -> None:
    with pytest.raises(typer.BadParameter, match=said):
        method_meant(word)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--version",), 0, __version__),
        (("help",), 0, "Usage: controlplane COMMAND"),
        (("help", "plan"), 0, "Usage: controlplane plan"),
        (("version", "--short", "--remote=false"), 0, f"client version: {__version__}"),
        (("validate", BOOKSHOP), 0, "7 objects checked: 0 errors"),
        (("validate",), 2, "give -f: what is checked"),
        (("validate", "--help"), 0, "controlplane validate [OPTIONS] [FILE]...\n"),
        (("analyze", "--help"), 0, "controlplane analyze [OPTIONS] [FILE]...\n"),
        (("test", "--help"), 0, "controlplane test [OPTIONS] {TESTS}...\n"),
        (("authz", "check", "web"), 2, "'authz' is no command here: `controlplane describe pod NAME`"),
        (("x", "waypoint", "list"), 2, "there is no ambient mode here"),
        (("get", "vs"), 2, "kubectl shows objects; `controlplane explain"),
        (("pc", "log", "web.shop"), 2, "Envoy alone has it"),
        (("proxy-config", "secrets", "web.shop"), 2, "http://localhost:15000/certs"),
        (("pc", "cluster", "deploy/web", "-n", "shop"), 2, "'deploy/web' is no proxy: name a pod"),
        (("describe", "web.shop"), 2, "give `describe pod NAME` or `describe service NAME`"),
        (("dash", "kiali"), 2, "kubectl port-forward leads there"),
        (("d", "nothing"), 2, "only the control plane's own page is opened"),
        (("ps", "-A", "-n", "shop"), 2, "give either -n or -A"),
        (("ps", "deploy/web"), 2, "is no proxy: name a pod"),
        (("explain", "-f", BOOKSHOP, "vs", "reviews", "-n", "shop"), 0, "VirtualService shop/reviews"),
        (("statsu",), 2, "Did you mean 'status'?"),
    ],
)
async def test_a_habit_works_or_leads_on(arguments: tuple[str, ...], code: int, said: str) -> None:
    result = await run(*arguments)
    assert (result.code, said in result.out + result.err) == (code, True), result.out + result.err


async def test_a_dump_in_a_file_is_read_whatever_namespace_is_given(tmp_path: Path) -> None:
    dump = tmp_path / "dump.json"
    dump.write_text('{"configs": []}')
    result = await run("pc", "cluster", "web", "-n", "shop", "-f", str(dump), "-o", "short")
    assert (result.code, result.out.splitlines()[0].split()[:2]) == (0, ["SERVICE", "FQDN"]), result.err
