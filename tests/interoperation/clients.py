"""gRPC of other languages against both ports: what a client needs, and what it says.

A client opens twelve streams of each form of the protocol on one connection, asks for all clusters, and then in a
request that is larger than half the first window for load assignments. It says how many streams were served, and with
how many bytes.
"""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from envoy.config.core.v3.base_pb2 import Node
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DiscoveryRequest

from bench.client import build
from tests.attack.floods import CDS, DELTA, EDS, SOTW
from tests.feature.identities import account, authorities_of
from tests.feature.server import Server

HERE = Path(__file__).parent
STREAMS = 12
NAMES = [f"outbound|80||name-{number}.shop.svc.cluster.local" for number in range(1_500)]
NODE = Node(id="sidecar~10.0.0.9~web-1.shop~shop.svc.cluster.local")


def built_java(folder: Path) -> Sequence[str]:
    """Build the client for Java in a folder; return what starts it."""
    shutil.copytree(HERE / "java", folder)
    command = ["mvn", "-q", "-B", "compile", "dependency:build-classpath", "-Dmdep.outputFile=classpath"]
    subprocess.run(command, cwd=folder, check=True)
    return ["java", "-cp", f"{folder / 'target' / 'classes'}:{(folder / 'classpath').read_text()}", "Main"]


def built_go(folder: Path) -> Sequence[str]:
    """Build the client for Go; return what starts it."""
    folder.mkdir()
    return [str(build(folder / "client", HERE / "go"))]


def built_rust(folder: Path) -> Sequence[str]:
    """Build the client for Rust, which is tonic's, in a folder; return what starts it."""
    shutil.copytree(HERE / "rust", folder)
    subprocess.run(["cargo", "build", "-q", "--release", "--locked"], cwd=folder, check=True)
    return [str(folder / "target" / "release" / "interoperation")]


CLIENTS: Mapping[str, Callable[[Path], Sequence[str]]] = {"go": built_go, "java": built_java, "rust": built_rust}


def requests(folder: Path) -> dict[str, tuple[Path, Path]]:
    """Write the two requests of each form; return their files by the method."""
    bodies = {
        SOTW: (DiscoveryRequest(node=NODE, type_url=CDS), DiscoveryRequest(type_url=EDS, resource_names=NAMES)),
        DELTA: (
            DeltaDiscoveryRequest(node=NODE, type_url=CDS),
            DeltaDiscoveryRequest(type_url=EDS, resource_names_subscribe=NAMES),
        ),
    }
    found = {}
    for method, pair in bodies.items():
        files = tuple(folder / f"{method.rpartition('/')[2]}-{number}" for number in range(2))
        for file, body in zip(files, pair, strict=True):
            file.write_bytes(body.SerializeToString())
        found[method] = (files[0], files[1])
    return found


def told(client: Sequence[str], server: Server, folder: Path) -> dict[str, str]:
    """Run the client on both ports; return what it says by port and form, which begins with FAILED where it failed."""
    authorities = asyncio.run(authorities_of(server))
    key, chain = authorities.identity(account("shop"))
    for name, content in (("roots", authorities.roots), ("chain", chain), ("key", key)):
        (folder / name).write_bytes(content)
    secure = [str(folder / name) for name in ("roots", "chain", "key")]
    found: dict[str, str] = {}
    for port, address, options in (("plaintext", server.xds, []), ("TLS", server.secure, secure)):
        for method, files in requests(folder).items():
            command = [*client, address, method, str(STREAMS), *map(str, files), *options]
            done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
            said = done.stdout.strip() if done.returncode == 0 else f"FAILED: {done.stderr.strip()[-500:]}"
            found[f"{port}, {method.rpartition('/')[2]}"] = said
    return found
