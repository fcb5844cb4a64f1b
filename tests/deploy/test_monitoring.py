"""What watches the control plane: alerts by ``promtool``; a real Prometheus, in which dashboards find their series."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from aiohttp import web

from controlplane.metrics import REGISTRY
from samples.control_plane import LOOPBACK, ControlPlane, free_port
from samples.process import ChildProcess
from tests.envoy.agents import secure_mesh, started
from tests.feature.client import connected
from tests.feature.objects import service, to, virtual_service
from tests.patience import PATIENCE_SECONDS, patience

OF_PROXIES = (
    'envoy_cluster_upstream_cx_active{cluster_name="xds-grpc",app="web"}',
    'envoy_server_live{app="web"}',
    'istio_agent_startup_duration_seconds{app="web"}',
    'of_the_application_total{app="web",kind="test"}',
    'pilot_xds{app="istiod"} == 1',
)
"""What comes of Envoy, its agent and the application behind them in one page; and of the control plane beside it."""
MONITORING = Path(__file__).parents[2] / "deploy" / "monitoring"
NAME = re.compile(r"\b(?:pilot|istio|istiod|citadel|galley|sidecar|controlplane|process|go)_[a-z0-9_]+")
ISTIOS = (
    "pilot_xds_pushes",
    "pilot_k8s_cfg_events",
    "pilot_k8s_reg_events",
    "pilot_push_triggers",
    "pilot_xds",
    "pilot_total_xds_rejects",
    "pilot_total_xds_internal_errors",
    "pilot_xds_push_time_bucket",
    "pilot_xds_config_size_bytes_bucket",
    "pilot_proxy_convergence_time_sum",
    "pilot_proxy_convergence_time_count",
    "pilot_services",
    "pilot_info",
    "go_memstats_stack_inuse_bytes",
    "go_memstats_heap_inuse_bytes",
    "go_memstats_heap_alloc_bytes",
    "go_memstats_alloc_bytes_total",
    "go_memstats_mallocs_total",
    "go_goroutines",
    "process_cpu_seconds_total",
    "process_resident_memory_bytes",
    "sidecar_injection_success_total",
    "sidecar_injection_failure_total",
    'istio_build{component="pilot"}',
)
"""What Istio's dashboard of the control plane and Kiali ask for, but for what other programs give."""


def needed(program: str) -> str:
    """Return the path of a program; the test skips without it, and fails where ``CI=true``."""
    found = shutil.which(program)
    if found is not None:
        return found
    reason = f"needs {program}: apt-get install prometheus"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def groups() -> dict[str, Any]:
    return {"groups": yaml.safe_load((MONITORING / "rules.yaml").read_text())["spec"]["groups"]}


def dashboard() -> list[str]:
    panels = json.loads((MONITORING / "dashboard.json").read_text())["panels"]
    return [target["expr"] for panel in panels for target in panel["targets"]]


def known() -> set[str]:
    """Return the names of all series that the program may have."""
    found: set[str] = set()
    for metric in REGISTRY.collect():
        ends = {"counter": ("", "_total"), "histogram": ("_bucket", "_sum", "_count")}.get(metric.type, ("",))
        found |= {metric.name + end for end in ends} | {sample.name for sample in metric.samples}
    return found


def asked(expressions: list[str]) -> set[str]:
    return {name for each in expressions for name in NAME.findall(each)}


def test_alerts_and_panels_ask_for_what_there_is() -> None:
    import controlplane.wiring.look_alikes  # noqa: F401, PLC0415 - registers what it has
    from controlplane.admin import metrics_page  # noqa: F401, PLC0415 - as the program does

    rules = [rule["expr"] for group in groups()["groups"] for rule in group["rules"]]
    of_others = {
        "pilot_services",
        "pilot_xds",
        "controlplane_api_server_away_seconds",
        "controlplane_watch_lag_seconds",
        "process_cpu_seconds_total",
        "process_resident_memory_bytes",
    }
    assert asked([*rules, *dashboard()]) - known() - of_others == set()


def test_each_alert_fires_on_its_trouble_alone(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(groups()))
    tests = yaml.safe_load((Path(__file__).parent / "rules_test.yaml").read_text())
    told = {rule["alert"]: rule["annotations"] for group in groups()["groups"] for rule in group["rules"]}
    for test in tests["tests"]:
        assert {each["alertname"] for each in test["alert_rule_test"]} == told.keys()
        for each in test["alert_rule_test"]:
            for alert in each.get("exp_alerts", ()):  # the texts are those of the rules, with their labels
                text = told[each["alertname"]]["summary"]
                for label, value in alert["exp_labels"].items():
                    text = text.replace(f"{{{{ $labels.{label} }}}}", value)
                alert["exp_annotations"] = {"summary": text}
    (tmp_path / "tests.yaml").write_text(yaml.safe_dump(tests))
    command = [needed("promtool"), "test", "rules", "tests.yaml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS)
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_is_scraped_exists() -> None:
    service = yaml.safe_load((MONITORING.parent / "base/service.yaml").read_text())
    monitor, _ = yaml.safe_load_all((MONITORING / "monitors.yaml").read_text())
    assert monitor["spec"]["endpoints"][0]["port"] in {port["name"] for port in service["spec"]["ports"]}
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()


class Prometheus:
    """A Prometheus that scrapes one control plane, and a proxy where a port of its agent is given."""

    def __init__(self, folder: Path, target: int, agent: int | None = None) -> None:
        self.port = free_port()
        scraped = [_scraped("istiod", target, "/metrics", app="istiod", pod="istiod-1")]
        if agent is not None:
            scraped.append(_scraped("proxies", agent, "/stats/prometheus", app="web", pod="web-1"))
        configuration = {"global": {"scrape_interval": "1s"}, "scrape_configs": scraped}
        (folder / "prometheus.yml").write_text(yaml.safe_dump(configuration))
        command = [needed("prometheus"), f"--config.file={folder}/prometheus.yml"]
        command += [f"--storage.tsdb.path={folder}/data", f"--web.listen-address={LOOPBACK}:{self.port}"]
        self.process = ChildProcess("prometheus", command, folder / "prometheus.log", {})

    async def found(self, expression: str) -> bool:
        """Whether a query finds a series."""
        url = f"http://{LOOPBACK}:{self.port}/api/v1/query"
        try:
            async with aiohttp.ClientSession() as client, client.get(url, params={"query": expression}) as reply:
                return bool((await reply.json())["data"]["result"])
        except aiohttp.ClientError:
            return False  # it does not listen yet


def _scraped(job: str, port: int, path: str, **labels: str) -> dict[str, Any]:
    return {
        "job_name": job,
        "metrics_path": path,
        "static_configs": [{"targets": [f"{LOOPBACK}:{port}"], "labels": labels}],
    }


async def test_a_prometheus_finds_every_series_that_istios_dashboard_and_ours_ask_for(tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.mkdir()
    control_plane = ControlPlane(config, tmp_path / "control-plane.log")
    await control_plane.start()
    prometheus = Prometheus(tmp_path, control_plane.monitoring.port)
    try:
        await prometheus.process.start()
        async with connected(str(control_plane.xds)):
            for name, objects in {
                "service": service("cart", 1),
                "routes": [virtual_service({"route": [to("v1")]})],
            }.items():
                (config / f"{name}.yaml").write_text(yaml.safe_dump_all(objects))
            missing = list(ISTIOS)
            async with patience():
                while missing := [each for each in missing if not await prometheus.found(each)]:
                    await asyncio.sleep(0.1)
            assert missing == []
            async with patience():
                while not await prometheus.found(
                    'pilot_k8s_cfg_events{type="VirtualService",event="add",app="istiod"}'
                ):
                    await asyncio.sleep(0.1)
    finally:
        await prometheus.process.stop()
        await control_plane.stop()


async def test_a_prometheus_finds_what_envoy_the_agent_and_the_application_say_in_one_page(tmp_path: Path) -> None:
    """The control plane and the proxy, whose agent merges three pages, scraped by the same Prometheus."""

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(text='of_the_application_total{kind="test"} 3\n')

    application = web.Application()
    application.router.add_get("/own", metrics)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, LOOPBACK, 0).start()
    said = {"scrape": "true", "port": str(runner.addresses[0][1]), "path": "/own"}
    with tempfile.TemporaryDirectory(prefix="scraped-") as short:  # paths of Unix sockets end at 107 bytes
        async with secure_mesh(Path(short)) as mesh:
            proxy = await mesh.proxy(ISTIO_PROMETHEUS_ANNOTATIONS=json.dumps(said))
            prometheus = Prometheus(tmp_path, mesh.control_plane.monitoring.port, proxy.ports.agent)
            try:
                async with started(proxy):
                    await prometheus.process.start()
                    missing = list(OF_PROXIES)
                    async with patience():
                        while missing := [each for each in missing if not await prometheus.found(each)]:
                            await asyncio.sleep(0.1)
                    assert missing == []
            finally:
                await prometheus.process.stop()
                await runner.cleanup()
