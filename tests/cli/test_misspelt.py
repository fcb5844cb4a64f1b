"""What somebody may have meant who misspelt something, and bad names that are refused where they are given."""

from __future__ import annotations

from pathlib import Path

import pytest
from multidict import MultiDict

from controlplane.api.queries import OTHER_KINDS, ObjectsQuery, ProxiesQuery, WrongQueryError
from controlplane.watchers.core_kinds import READERS
from controlplane.watchers.kubernetes.contexts import check_kubeconfig
from controlplane.watchers.kubernetes.errors import ConfigurationError
from tests.admin import world
from tests.cli.command import ROOT, invoked, run

BOOKSHOP = str(ROOT / "docs" / "examples" / "bookshop")
TYPOS = """\
apiVersion: networking.istio.io/v1
kind: VirtualServce
metadata: {name: a, namespace: shop}
spec: {hosts: [a]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: b, namespace: shop, lables: {a: b}}
sepc: {}
spec: {hosts: [b], http: [{route: [{destination: {host: reviews}}]}]}
"""
KUBECONFIG = "apiVersion: v1\nkind: Config\ncontexts: [{name: prod, context: {}}, {name: test, context: {}}]\n"


def test_a_kind_and_fields_outside_the_spec(tmp_path: Path) -> None:
    file = tmp_path / "typos.yaml"
    file.write_text(TYPOS)
    result = invoked("plan", "--config-dir", BOOKSHOP, "-f", str(file))
    assert result.code == 3
    assert "networking.istio.io has no VirtualServce, is VirtualService meant?" in result.out
    assert "! sepc: unknown field\n" in result.out
    assert "! metadata.lables: unknown field\n" in result.out
    judged = invoked("validate", "-f", str(file))
    assert "kind: networking.istio.io has no VirtualServce, is VirtualService meant?" in judged.out + judged.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["virtualservce/shop/reviews"], "there is no kind 'virtualservce'; nearest: VirtualService"),
        (["vs/shop/revews"], "there is no VirtualService shop/revews; nearest: reviews"),
        (
            ["--from", "pod/shp/productpage", "GET", "http://reviews:9080/"],
            "nor such a namespace with pods; nearest: shop",
        ),
        (["--from", "pod/shop/productpage", "GET", "http://revews:9080/"], "no object has it; nearest: reviews;"),
    ],
)
def test_what_explain_is_asked_about(arguments: list[str], said: str) -> None:
    result = invoked("explain", "-f", BOOKSHOP, *arguments)
    assert said in result.out + result.err


async def test_a_proxy_of_another_namespace_or_name() -> None:
    async with world.serving(world.sources()) as address:
        elsewhere = await run("status", "web-1", "-n", "wrong", "--address", address)
        like = await run("status", "wev-1.shop", "--address", address)
    assert (elsewhere.code, like.code) == (1, 1)
    assert "Proxy web-1 in namespace wrong is not connected" in elsewhere.err
    assert "; there is web-1.shop\n" in elsewhere.err
    assert "; nearest: web-1.shop" in like.err


def test_a_context_of_the_kubeconfig(tmp_path: Path) -> None:
    file = tmp_path / "config"
    file.write_text(KUBECONFIG)
    check_kubeconfig(str(file), "prod")
    check_kubeconfig(f"{tmp_path / 'none'}:{file}", "")
    with pytest.raises(ConfigurationError, match="has no context pord; nearest: prod"):
        check_kubeconfig(str(file), "pord")
    with pytest.raises(ConfigurationError, match="has no context foo; it has prod, test"):
        check_kubeconfig(str(file), "foo")
    with pytest.raises(ConfigurationError, match=r"there is no kubeconfig: .* is no file; --kubeconfig names one"):
        check_kubeconfig(str(tmp_path / "none"), "foo")


def test_a_filter_of_the_api_by_kind() -> None:
    def kind(text: str) -> str:
        return ObjectsQuery.of(MultiDict(kind=text), {}).kind

    assert [kind(each) for each in ("vs", "virtualservices", "VirtualService", "ConfigMap", "")] == [
        *["VirtualService"] * 3,
        "ConfigMap",
        "",
    ]
    assert set(OTHER_KINDS) == {name for _, _, name in READERS}, "all that can be wrong can be asked for"
    with pytest.raises(WrongQueryError, match=r"\?kind=: there is no kind 'VirtualServce'; nearest: VirtualService"):
        kind("VirtualServce")
    with pytest.raises(WrongQueryError, match=r"\?kin=: there is no such parameter"):
        ProxiesQuery.of(MultiDict(kin="a"), {})


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--name", "Bad_Name", "--namespace", "shop"], "metadata.name: must be a DNS name"),
        (["--name", "ok", "--namespace", "Shop_"], "metadata.namespace: must be a DNS name"),
        (["--name", "ok", "--namespace", "shop", "--ports", "bad_name=80"], "spec.template.ports.bad_name"),
    ],
)
def test_bad_names_of_a_workload_group(arguments: list[str], said: str) -> None:
    result = invoked("workload", "group", "create", *arguments)
    assert result.code == 2
    assert said in result.err
    assert not result.out


async def test_a_file_is_no_directory_of_an_authority(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    result = await run(
        "serve", "--config-dir", BOOKSHOP, "--xds-port", "0", "--monitoring-port", "0", "--secure-port", "0",
        "--ca-dir", str(file),
    )  # fmt: skip
    assert result.code == 1
    assert f"--ca-dir: {file} is no directory" in result.err
