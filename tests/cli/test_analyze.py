"""``controlplane analyze`` on files."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from controlplane.model import kinds
from controlplane.model.objects import ObjectKey
from controlplane.model.problems import Problem, Sort
from tests.admin import world
from tests.api.test_api import PARTS
from tests.cli.command import run

MESH = """\
apiVersion: v1
kind: Service
metadata: {name: reviews, namespace: shop}
spec:
  selector: {app: reviews}
  ports:
  - {name: http, port: 9080}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews, namespace: shop}
spec:
  hosts: [reviews]
  http:
  - route:
    - weight: 90
      destination:
        host: reviews
    - weight: 10
      destination:
        host: rewiews
---
apiVersion: v1
kind: Namespace
metadata:
  name: shop
"""
NOT_FOUND = 'the host "rewiews" is referred to and not there'


@pytest.fixture
def mesh(tmp_path: Path) -> Path:
    return write(tmp_path / "mesh.yaml", MESH)


def write(file: Path, text: str) -> Path:
    file.write_text(text, encoding="utf-8")
    return file


async def test_a_finding_has_level_code_object_file_line_and_text(mesh: Path) -> None:
    result = await run("analyze", "-f", str(mesh))
    assert result.code == 79
    first, second = result.out.splitlines()
    assert first == f"Error [IST0101] (VirtualService shop/reviews {mesh}:21) {NOT_FOUND}"
    assert second.startswith(f"Info [IST0102] (Namespace shop {mesh}:26) pods of this namespace get no proxy")
    assert result.err.startswith(f"Error: Analyzers found issues when analyzing the files {mesh}.\n")


async def test_json_has_istioctls_names_and_never_fails(mesh: Path) -> None:
    result = await run("analyze", "-f", str(mesh), "-o", "json")
    assert (result.code, result.err) == (0, "")
    assert json.loads(result.out)[0] == {
        "code": "IST0101",
        "documentationUrl": "docs/reference/codes.md#ist0101",
        "level": "Error",
        "message": NOT_FOUND,
        "origin": "VirtualService shop/reviews",
        "reference": f"{mesh}:21",
        "path": "spec.http[0].route[1].destination.host",
    }


async def test_yaml(mesh: Path) -> None:
    result = await run("analyze", "-f", str(mesh), "-o", "yaml")
    assert result.code == 0
    assert result.out.startswith(
        "- code: IST0101\n  documentationUrl: docs/reference/codes.md#ist0101\n  level: Error\n"
    )


async def test_nothing_found(mesh: Path) -> None:
    write(
        mesh,
        MESH.replace("rewiews", "reviews").replace(
            "  name: shop", "  name: shop\n  labels: {istio-injection: disabled}"
        ),
    )
    result = await run("analyze", "-f", str(mesh))
    assert (result.code, result.out) == (0, "")
    assert result.err == f"✔ No validation issues found when analyzing the files {mesh}.\n"
    assert (await run("analyze", "-f", str(mesh), "-o", "json")).out == "[]\n"


async def test_what_is_less_serious_than_the_thresholds_is_not_told_and_does_not_fail(mesh: Path) -> None:
    only_errors = await run("analyze", "-f", str(mesh), "--output-threshold", "Warning")
    assert [line.split()[0] for line in only_errors.out.splitlines()] == ["Error"]
    write(mesh, MESH.replace("rewiews", "reviews"))
    assert (await run("analyze", "-f", str(mesh))).code == 0
    assert (await run("analyze", "-f", str(mesh), "--failure-threshold", "info")).code == 79


async def test_an_annotation_silences_one_object(mesh: Path) -> None:
    silence = 'annotations: {"galley.istio.io/analyze-suppress": "IST0102, IST0101"}'
    annotated = MESH.replace("shop}\nspec:\n  hosts", f"shop, {silence}}}\nspec:\n  hosts")
    assert annotated != MESH
    write(mesh, annotated)
    result = await run("analyze", "-f", str(mesh))
    assert (result.code, [line.split()[1] for line in result.out.splitlines()]) == (0, ["[IST0102]"])
    write(mesh, annotated.replace("IST0102, IST0101", "*"))
    assert (await run("analyze", "-f", str(mesh))).code == 0


@pytest.mark.parametrize(
    "wanted",
    ["VirtualService shop/reviews", "VirtualService shop/*", "* shop/reviews", "*", "VirtualService reviews.shop"],
)
async def test_an_option_silences_objects(mesh: Path, wanted: str) -> None:
    result = await run("analyze", "-f", str(mesh), "-S", f"IST0101={wanted}")
    assert (result.code, "IST0101" in result.out) == (0, False)


async def test_an_option_silences_no_others(mesh: Path) -> None:
    result = await run("analyze", "-f", str(mesh), "-S", "IST0101=VirtualService other/*", "-S", "IST0102=*")
    assert [line.split()[1] for line in result.out.splitlines()] == ["[IST0101]"]


async def test_objects_of_one_namespace(mesh: Path) -> None:
    result = await run("analyze", "-f", str(mesh), "-n", "other")
    assert [line.split()[1] for line in result.out.splitlines()] == ["[IST0102]"]  # a namespace is in none itself


async def test_one_analyzer_alone(mesh: Path) -> None:
    result = await run("analyze", "-f", str(mesh), "--analyzer", "injection.Analyzer")
    assert [line.split()[1] for line in result.out.splitlines()] == ["[IST0102]"]


async def test_patches_that_change_nothing_at_the_proxies_of_the_files(mesh: Path) -> None:
    """Only where the files hold a mesh: an EnvoyFilter alone may be for anything."""
    text = """\
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: slow, namespace: istio-system}
spec:
  configPatches:
  - &patch
    applyTo: CLUSTER
    match: {cluster: {service: reviews.shop.svc.cluster.local}}
    patch: {operation: MERGE, value: {connect_timeout: 3s}}
  - {<<: *patch, match: {cluster: {service: rewiews}}}
"""
    alone = write(mesh.parent / "filter.yaml", text)
    arguments = ("--analyzer", "controlplane.Patches")
    assert (await run("analyze", "-f", str(alone), *arguments)).out == ""
    result = await run("analyze", "-f", str(alone), "-f", str(mesh), *arguments)
    (line,) = result.out.splitlines()
    assert line.startswith(
        f"Warning [C302] (EnvoyFilter istio-system/slow {alone}:10) the patch spec.configPatches[1] "
    )


async def test_the_names_of_analyzers() -> None:
    result = await run("analyze", "-L")
    assert "* virtualservice.DestinationHostAnalyzer:\n    destinations of routes\n" in result.out


async def test_a_file_that_cannot_be_read_hides_nothing_of_others(mesh: Path) -> None:
    broken = mesh.parent / "broken.yaml"
    write(broken, "a: 1\n---\nkind: [\n---\n" + MESH)
    result = await run("analyze", "-f", str(broken), "-o", "json")
    assert result.code == 65
    assert [each["code"] for each in json.loads(result.out)] == ["IST0101", "IST0102"]
    assert f"Error: {broken}:1: is no object: kind and metadata.name are required\n" in result.err
    assert f"Error: {broken}:4: " in result.err


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("-f", "nowhere"), "nowhere: No such file or directory"),
        (("-f", ".", "-S", "IST0101"), "'IST0101' is not CODE=OBJECT"),
        (("-f", ".", "--analyzer", "none"), "'none' is no analyzer; -L names them"),
        (("-f", ".", "--meshConfigFile", "README.md"), "README.md: "),
        (("--nothing",), "No such option: --nothing"),
        (("-f", ".", "-o", "xml"), "'xml' is none of text, log, json, yaml"),
    ],
)
async def test_wrong_usage(arguments: tuple[str, ...], reason: str) -> None:
    result = await run("analyze", *arguments)
    assert (result.code, result.out) == (64, "")
    assert reason in result.err


async def test_without_files_or_a_cluster(tmp_path: Path) -> None:
    result = await run("analyze", environment={"HOME": str(tmp_path), "KUBECONFIG": ""})
    assert (result.code, result.out) == (1, "")
    assert "-f FILE looks at files without a cluster" in result.err
    assert "--config-dir" not in result.err, "an option of serve"


async def test_a_kubeconfig_that_is_none_is_told_in_one_line(tmp_path: Path) -> None:
    nonsense = tmp_path / "nonsense"
    nonsense.write_text("a: [b")
    for file, reason in ((tmp_path / "none", "there is no file"), (nonsense, "cannot be used: it is not YAML")):
        result = await run("analyze", "--kubeconfig", str(file))
        assert (result.code, result.out) == (1, "")
        assert result.err.startswith("Error: ")
        assert reason in result.err
        assert result.err.count("\n") == 1


async def test_standard_input_and_the_mesh_configuration(tmp_path: Path) -> None:
    telemetry = (
        "apiVersion: telemetry.istio.io/v1\nkind: Telemetry\nmetadata: {name: logs, namespace: istio-system}\n"
        "spec: {accessLogging: [{}]}\n"
    )
    assert "[IST0157]" in (await run("analyze", "-f", "-", text=telemetry)).out
    config = tmp_path / "mesh.yaml"
    write(config, "defaultProviders: {accessLogging: [envoy]}\n")
    assert (await run("analyze", "-f", "-", "--meshConfigFile", str(config), text=telemetry)).out == ""
    config_map = (
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio, namespace: istio-system}\n"
        "data: {mesh: 'defaultProviders: {accessLogging: [envoy]}'}\n"
    )
    assert (await run("analyze", "-f", "-", text=f"{config_map}---\n{telemetry}")).out == ""


async def test_a_control_plane_that_runs_tells_what_it_has_found() -> None:
    """Of all of it, whatever it reads; what was suppressed or is of another namespace is not told."""
    reviews = ObjectKey(kinds.VIRTUAL_SERVICE, "shop", "reviews")
    problems = [
        Problem(reviews, Sort.FINDING, "Error", "it loses", "spec.hosts[0]", "C201", source="shop.yaml:7"),
        Problem(ObjectKey(kinds.VIRTUAL_SERVICE, "pay", "old"), Sort.REFUSED, "Error", "spec.http[0]: no destination"),
        Problem(ObjectKey(kinds.AUTHORIZATION_POLICY, "pay", "ext"), Sort.FINDING, "Error", "it is not asked", "spec"),
        *(Problem(reviews, Sort.FINDING, "Info", f"odd {n}", "", "C302") for n in range(501)),
    ]
    async with world.serving(replace(world.sources(), problems=lambda: problems), parts=PARTS) as address:
        both = f"{address},{address.replace('127.0.0.1', 'localhost')}"
        found = await run("analyze", "--address", both, "--output-threshold", "Error")
        every = await run("analyze", "--address", address)
        shop = await run("analyze", "--address", address, "-n", "shop", "-S", "C302=*", "-o", "json")
        pay = await run("analyze", "--address", address, "-n", "pay", "-o", "json")
        wrong = await run("analyze", "--address", address, "-f", "mesh")
    assert sorted(found.out.splitlines()) == [
        "Error (AuthorizationPolicy pay/ext) it is not asked",
        "Error [C201] (VirtualService shop/reviews shop.yaml:7) it loses",
        "Error [IST0106] (VirtualService pay/old) spec.http[0]: no destination",
    ], "once, though two addresses tell it"
    assert found.code == 79
    assert "when analyzing the control plane at" in found.err
    assert len(every.out.splitlines()) == len(problems), "all pages are asked for"
    assert [(each["code"], each["reference"], each["path"]) for each in json.loads(shop.out)] == [
        ("C201", "shop.yaml:7", "spec.hosts[0]")
    ]
    assert {(each["code"], each["documentationUrl"]) for each in json.loads(pay.out)} == {
        ("", ""), ("IST0106", "docs/reference/codes.md#ist0106"),
    }, "a finding without a code has none; what is refused has that of istioctl"  # fmt: skip
    assert wrong.code == 64
    assert "leave files, clusters" in wrong.err
    nobody = await run("analyze", "--address", "127.0.0.1:1")
    assert nobody.code == 1
    assert "The control plane at 127.0.0.1:1 cannot be reached" in nobody.err
