"""The cases of a sample: requests of its proxies, and what must become of them.

``samples/NAME`` holds objects alone, so that it can be served or applied as it is; the cases stand beside it, in
``samples/NAME.cases.yaml``, and ``samples/README.md`` says how to read and write them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from controlplane.compiler.compiler import Compiler
from controlplane.model.objects import Rejected
from controlplane.model.proxy import Locality, Proxy
from controlplane.registry.store import Registry
from controlplane.snapshots import Snapshot
from controlplane.watchers.files import FileSource
from tests.samples.held import Held
from tests.samples.matching import Call

SAMPLES = Path(__file__).resolve().parents[2] / "samples"
OUTSIDE = "203.0.113.10"  # what DNS says of a name that no object of the sample knows
_DEFAULT_PORTS = {"http": 80, "tls": 443}


@dataclass(frozen=True, slots=True)
class Sample:
    """One sample: its name, its proxies and its cases as the file has them."""

    name: str
    proxies: Mapping[str, Proxy]
    cases: tuple[Mapping[str, Any], ...]

    @classmethod
    def read(cls, path: Path) -> Sample:
        """Read ``NAME.cases.yaml``."""
        text = yaml.safe_load(path.read_text())
        proxies = {name: _proxy(name, fields) for name, fields in text["proxies"].items()}
        return cls(path.name.removesuffix(".cases.yaml"), proxies, tuple(text["cases"]))

    @property
    def directory(self) -> Path:
        """Where its objects are."""
        return SAMPLES / self.name


def samples() -> list[Sample]:
    """Return every sample."""
    return [Sample.read(path) for path in sorted(SAMPLES.glob("*.cases.yaml"))]


def snapshots(sample: Sample) -> dict[str, Snapshot]:
    """Return what each proxy of a sample is served. Fails when an object is refused or odd."""

    async def build() -> dict[str, Snapshot]:
        source = FileSource(sample.directory)
        change = source.load()
        refused: list[Rejected] = list(source.rejected.values())
        assert not refused, refused
        assert not source.warnings, source.warnings
        assert not source.unused, source.unused
        compiler = Compiler(Registry())
        await compiler.apply(change)
        opened = {name: await compiler.open(proxy, lambda: None) for name, proxy in sample.proxies.items()}
        return {name: held.snapshot for name, held in opened.items()}

    return asyncio.run(build())


def call_of(sample: Sample, case: Mapping[str, Any]) -> Call:
    """Return the call that a case describes: ``GET http://host/path``, ``tcp://host:port`` or ``tls://host``."""
    method, _, url = str(case["request"]).rpartition(" ")
    parts = urlsplit(url)
    host = parts.hostname or ""
    port = parts.port or _DEFAULT_PORTS[parts.scheme]
    proxy = sample.proxies[case["from"]]
    address = proxy.ips[0] if proxy.type == "router" else addresses(sample, proxy.namespace).get(host, OUTSIDE)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    authority = parts.netloc if parts.scheme == "http" else host
    return Call(parts.scheme, address, port, authority, method or "GET", path, case.get("headers", {}))


def addresses(sample: Sample, namespace: str) -> dict[str, str]:
    """Return what DNS in a namespace says: the address of each name of a Service or ServiceEntry, and of addresses."""
    found: dict[str, str] = {}
    for obj in objects(sample.directory):
        meta, spec = obj["metadata"], obj.get("spec", {})
        if obj["kind"] == "Service":
            full = f"{meta['name']}.{meta['namespace']}"
            names = [full, f"{full}.svc", f"{full}.svc.cluster.local"]
            names += [meta["name"]] if meta["namespace"] == namespace else []
            found |= dict.fromkeys(names, spec["clusterIP"])
        if obj["kind"] == "ServiceEntry" and spec.get("addresses"):
            found |= dict.fromkeys(spec["hosts"], spec["addresses"][0])
    return found


def objects(directory: Path) -> Iterator[Mapping[str, Any]]:
    """Yield every object of a sample."""
    for path in sorted(directory.glob("*.yaml")):
        yield from (document for document in yaml.safe_load_all(path.read_text()) if document)


def happened(held: Held, call: Call, expected: Mapping[str, Any]) -> dict[str, Any]:
    """Return what becomes of a call, told with the words that the expectation uses."""
    outcome = held.outcome(call)
    clusters = list(outcome.clusters)
    told: dict[str, Any] = {
        "cluster": clusters[0] if len(clusters) == 1 else None,
        "clusters": {name: f"{float(share):.0%}" for name, share in outcome.clusters.items()},
        "status": outcome.status or None,
        "path": outcome.path,
        "mirrors": list(outcome.mirrors),
        "timeout": outcome.timeout,
        "attempts": outcome.attempts,
        "error": outcome.error or None,
    }
    unknown = set(expected) - set(told) - {"endpoints", "by_priority", "by_locality", "server_name"}
    assert not unknown, f"no such expectation: {unknown}"
    by_priority = [held.endpoints(name) for name in clusters]
    if "endpoints" in expected:
        told["endpoints"] = sorted(address for one in by_priority for same in one for address in same)
    if "by_priority" in expected:
        told["by_priority"] = by_priority[0] if by_priority else []
    if "by_locality" in expected:
        told["by_locality"] = held.locality_weights(clusters[0])
    if "server_name" in expected:
        told["server_name"] = held.server_name(clusters[0])
    # Where a request goes is always told: whoever expects a status must not overlook a cluster.
    always = {"error", "status"} | ({"clusters"} if "clusters" in expected else {"cluster"})
    return {name: told[name] for name in {*expected, *always} if told[name] is not None or name in expected}


def _proxy(name: str, fields: Mapping[str, Any]) -> Proxy:
    return Proxy(
        type=fields.get("type", "sidecar"),
        id=f"{name}.{fields['namespace']}",
        ips=(fields["ip"],),
        namespace=fields["namespace"],
        domain=f"{fields['namespace']}.svc.cluster.local",
        labels=fields.get("labels", {}),
        locality=Locality.parse(fields.get("locality", "")),
    )
