"""Golden cases: YAML in, the Envoy resources out, small enough to review by reading.

A case is a folder: ``in.yaml`` holds the objects and, first, a document with the proxy (``kind: Proxy``) and which
resources the case is about; each output is one file per type. ``--update-golden`` writes the outputs anew: read the
difference before it is committed. Every case's whole snapshot goes through ``envoy --mode validate``.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from google.protobuf.json_format import MessageToJson

from controlplane.ads.virtual_hosts import Splitter
from controlplane.compiler.compiler import Compiler
from controlplane.frontends import FRONTENDS
from controlplane.model.objects import ChangeSet
from controlplane.model.parse import Parsed
from controlplane.model.proxy import Proxy
from controlplane.registry.store import Registry
from controlplane.snapshots import ResourceType, Snapshot
from controlplane.watchers.kinds import parse
from tests.envoy.validate import validate

HERE = Path(__file__).parent
CASES = sorted(path for path in HERE.iterdir() if (path / "in.yaml").exists())
MESSAGES = {
    ResourceType.CLUSTER: ("clusters", Cluster),
    ResourceType.ENDPOINT: ("endpoints", ClusterLoadAssignment),
    ResourceType.LISTENER: ("listeners", Listener),
    ResourceType.ROUTE: ("routes", RouteConfiguration),
}


def compiled(text: str) -> tuple[dict[str, Any], Snapshot]:
    """Return the case's first document and the snapshot of its proxy."""
    case, *raw = list(yaml.safe_load_all(text))
    objects = []
    for obj in raw:
        result = parse(obj, "in.yaml")
        assert isinstance(result, Parsed), result
        assert not result.warnings, result.warnings
        objects.append(result.object)
    proxy = Proxy(
        type=case.get("type", "sidecar"),
        id=f"{case['name']}.{case['namespace']}",
        ips=(case["ip"],),
        namespace=case["namespace"],
        domain=f"{case['namespace']}.svc.cluster.local",
        labels=case.get("labels", {}),
        istio_version=case.get("istioVersion", ""),
    )

    async def build() -> Snapshot:
        compiler = Compiler(Registry(frontends=FRONTENDS))
        await compiler.apply(ChangeSet(upserts=tuple(objects)))
        return (await compiler.open(proxy, lambda: None)).snapshot

    return case, asyncio.run(build())


def outputs(case: dict[str, Any], snapshot: Snapshot) -> dict[str, str]:
    """Return the text of each output file: the resources the case names, by type, as YAML."""
    found: dict[str, str] = {}
    for type_, (noun, message) in MESSAGES.items():
        names = case["shows"].get(noun, [])
        if not names:
            continue
        held = snapshot.of(type_)
        documents = [
            json.loads(MessageToJson(message.FromString(held[name].body), preserving_proto_field_name=True))
            for name in names
        ]
        found[f"{noun}.out.yaml"] = yaml.safe_dump_all(documents, sort_keys=True, width=120)
    return found


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_golden(case: Path, request: pytest.FixtureRequest) -> None:
    described, snapshot = compiled((case / "in.yaml").read_text())
    got = outputs(described, snapshot)
    if request.config.getoption("--update-golden"):
        for stale in case.glob("*.out.yaml"):
            stale.unlink()
        for name, text in got.items():
            (case / name).write_text(text)
    assert {path.name: path.read_text() for path in case.glob("*.out.yaml")} == got


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_stock_envoy_takes_the_whole_snapshot(case: Path) -> None:
    described, snapshot = compiled((case / "in.yaml").read_text())
    if described.get("istioVersion"):
        assert validate(snapshot) is not None, "an istio-proxy's extensions are not in a stock Envoy"
        return
    assert validate(snapshot) is None


@pytest.mark.parametrize("case", CASES, ids=[path.name for path in CASES])
def test_route_configurations_are_the_same_in_both_forms(case: Path) -> None:
    """Who gets virtual hosts one by one has the same ones, with the same contents, beside the same settings."""
    _, snapshot = compiled((case / "in.yaml").read_text())
    splitter = Splitter()
    for name, whole in snapshot.of(ResourceType.ROUTE).items():
        halves = splitter.split(whole)
        if halves is None:
            continue
        joined, wanted = RouteConfiguration.FromString(halves.shell.body), RouteConfiguration.FromString(whole.body)
        joined.ClearField("vhds")
        for each in halves.hosts.values():
            host = joined.virtual_hosts.add()
            host.ParseFromString(each.body)
            host.name = host.name.removeprefix(f"{name}/")
        wanted.virtual_hosts.sort(key=lambda host: host.name)
        joined.virtual_hosts.sort(key=lambda host: host.name)
        assert joined == wanted
