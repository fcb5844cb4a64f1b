"""``controlplane kube-inject``."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.cli.command import Result
from tests.cli.command import run as run_anywhere

SERVICE = """# the shop's service
apiVersion: v1
kind: Service
metadata:
  name:   web      # spaces stay
spec:
  selector: {app:   web}
"""
DEPLOYMENT = """apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  template:
    metadata:
      labels: {app: web, "on": "y", number: "1e3"}
    spec:
      containers:
      - name: web
        image: web:1
        args: ["- first", "two\\nlines\\n", ""]
"""
CRON_JOB = """apiVersion: batch/v1
kind: CronJob
metadata: {name: nightly, namespace: shop}
spec:
  jobTemplate:
    metadata: {labels: {team: a}}
    spec:
      template:
        metadata: {labels: {app: nightly}}
        spec: {containers: [{name: run, image: run:1}]}
"""


async def run(*arguments: str, text: str = "") -> Result:
    """Run a command where kubectl would find no cluster."""
    return await run_anywhere(*arguments, environment={"KUBECONFIG": "/nowhere/config"}, text=text)


async def test_only_pods_are_touched() -> None:
    result = await run("kube-inject", "-f", "-", text=f"{SERVICE}---\n{DEPLOYMENT}---\n# only a comment\n")
    assert (result.code, result.err) == (0, "")
    service, deployment, comment, rest = result.out.split("---\n")
    assert (service, comment, rest) == (SERVICE, "# only a comment\n", "")
    template = yaml.safe_load(deployment)["spec"]["template"]
    assert [each["name"] for each in template["spec"]["containers"]] == ["web", "istio-proxy"]
    assert template["spec"]["containers"][0]["args"] == ["- first", "two\nlines\n", ""]
    assert {"on": "y", "number": "1e3", "app": "web"}.items() <= template["metadata"]["labels"].items()
    assert 'number: "1e3"' in deployment


async def test_what_came_out_goes_in_again(tmp_path: Path) -> None:
    once = await run("kube-inject", "-f", "-", text=f"{DEPLOYMENT}---\n{CRON_JOB}")
    (tmp_path / "once.yaml").write_text(once.out)
    again = await run("kube-inject", "-f", str(tmp_path / "once.yaml"), "-o", str(tmp_path / "again.yaml"))
    assert (again.code, again.out) == (0, "")
    assert (tmp_path / "again.yaml").read_text() == once.out


async def test_the_pods_of_a_cron_job_are_labelled() -> None:
    result = await run("kube-inject", "-f", "-", text=CRON_JOB)
    job = yaml.safe_load(result.out.removesuffix("---\n"))["spec"]["jobTemplate"]
    template = job["spec"]["template"]
    for part in (job, template):
        assert part["metadata"]["labels"]["service.istio.io/canonical-name"] == "nightly"
        assert "sidecar.istio.io/status" in part["metadata"]["annotations"]
    assert "team" not in template["metadata"]["labels"]


async def test_one_left_alone_is_told() -> None:
    alone = DEPLOYMENT.replace("    spec:\n", "    spec:\n      hostNetwork: true\n")
    result = await run("kube-inject", "-f", "-", text=alone)
    assert (result.code, result.out) == (0, f"{alone}---\n")
    assert '===> Skipping injection because Deployment "web" has host networking enabled' in result.err


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [", ["standard input:1", "not readable"]),
        (
            f"{SERVICE}---\n{DEPLOYMENT.replace('web:1', '[]')}",
            ["standard input:9", 'Deployment "web"', "spec.template.spec"],
        ),
        ("apiVersion: v1\nkind: ReplicationController\nmetadata: {name: rc}\n", ["spec", "required"]),
        (
            DEPLOYMENT.replace("labels:", "annotations: {sidecar.istio.io/proxyCPU: x}\n      labels:"),
            ["proxyCPU", "'x'"],
        ),
        ("\ufffd".encode().decode(), []),
    ],
)
async def test_bad_input_is_refused(text: str, words: list[str]) -> None:
    result = await run("kube-inject", "-f", "-", text=text)
    assert result.code == (1 if words else 0)
    assert all(word in result.err for word in words)
    assert "Traceback" not in result.err


async def test_files_of_the_mesh(tmp_path: Path) -> None:
    (tmp_path / "mesh.yaml").write_text("trustDomain: corp.example\n")
    (tmp_path / "values.yaml").write_text("global: {hub: registry.example/mesh, tag: 1.2}\n")
    (tmp_path / "config.yaml").write_text("templates: {more: 'metadata: {labels: {more: \"{{ .Revision }}\"}}'}\n")
    options = ("--meshConfigFile", "mesh.yaml", "--valuesFile", "values.yaml", "--injectConfigFile", "config.yaml")
    paths = [str(tmp_path / each) if each.endswith(".yaml") else each for each in options]
    text = DEPLOYMENT.replace("labels:", "annotations: {inject.istio.io/templates: 'sidecar,more'}\n      labels:")
    result = await run("kube-inject", "-f", "-", "--revision", "canary", *paths, text=text)
    assert (result.code, result.err) == (0, "")
    template = yaml.safe_load(result.out.removesuffix("---\n"))["spec"]["template"]
    proxy = template["spec"]["containers"][1]
    assert proxy["image"] == "registry.example/mesh/proxyv2:1.2"
    assert {"name": "TRUST_DOMAIN", "value": "corp.example"} in proxy["env"]
    assert template["metadata"]["labels"]["more"] == "canary"


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("--meshConfigFile", "proxyListenPort: -1", "mesh configuration"),
        ("--valuesFile", "[1]", "values: must be a map"),
        ("--injectConfigFile", "templates: [a]", "config: templates: must be a map"),
    ],
)
async def test_files_that_cannot_be_used(tmp_path: Path, name: str, text: str, words: str) -> None:
    (tmp_path / "bad.yaml").write_text(text)
    result = await run("kube-inject", "-f", "-", name, str(tmp_path / "bad.yaml"), text=DEPLOYMENT)
    assert result.code == 1
    assert words in result.err
    missing = await run("kube-inject", "-f", "-", name, str(tmp_path / "none.yaml"), text=DEPLOYMENT)
    assert missing.code == 2
    assert "none.yaml" in missing.err


async def test_an_operator_goes_before_files(tmp_path: Path) -> None:
    (tmp_path / "operator.yaml").write_text(
        "kind: IstioOperator\nspec:\n  revision: canary\n  meshConfig: {trustDomain: theirs}\n"
        "  values: {global: {hub: their}}\n"
    )
    (tmp_path / "mesh.yaml").write_text("trustDomain: ours\n")
    files = ("--operatorFileName", str(tmp_path / "operator.yaml"), "--meshConfigFile", str(tmp_path / "mesh.yaml"))
    result = await run("kube-inject", "-f", "-", *files, text=DEPLOYMENT)
    assert (result.code, result.err) == (0, "")
    template = yaml.safe_load(result.out.removesuffix("---\n"))["spec"]["template"]
    assert template["metadata"]["annotations"]["istio.io/rev"] == "canary"
    proxy = template["spec"]["containers"][1]
    assert proxy["image"].startswith("their/")
    assert {"name": "TRUST_DOMAIN", "value": "theirs"} in proxy["env"]


async def test_a_cluster_that_cannot_be_asked(tmp_path: Path) -> None:
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "users": [{"name": "u", "user": {}}],
        "current-context": "c",
    }
    (tmp_path / "config").write_text(yaml.safe_dump(config))
    named = {"KUBECONFIG": str(tmp_path / "config")}
    asked = await run_anywhere("kube-inject", "-f", "-", environment=named, text=DEPLOYMENT)
    assert asked.code == 1
    assert "the cluster cannot be asked" in asked.err
    alone = await run_anywhere("kube-inject", "-f", "-", "--no-use-kube", environment=named, text=DEPLOYMENT)
    assert (alone.code, alone.err) == (0, "")
    missing = await run("kube-inject", "-f", "-", "--use-kube", text=DEPLOYMENT)
    assert missing.code == 1
    assert "cannot be asked" in missing.err


async def test_without_a_file() -> None:
    result = await run("kube-inject")
    assert result.code == 2
    assert "filename not specified" in result.err
