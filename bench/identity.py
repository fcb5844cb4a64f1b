"""What identity and policy cost: a policy of one workload in a large mesh, certificates for agents, new Secrets.

python -m bench.identity (``make bench-identity``); each figure stands beside what it is measured against, in one run.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from rich.box import MARKDOWN
from rich.console import Console
from rich.table import Table

from bench.mesh import Mesh
from bench.subject import usage
from bench.work import objects_of
from controlplane.compiler.compiler import Compiler, Session
from controlplane.frontends import FRONTENDS
from controlplane.model.objects import ChangeSet
from controlplane.model.parse import Parsed
from controlplane.model.proxy import Proxy
from controlplane.registry.store import Registry
from controlplane.security.ca import Authority, Lifetimes
from controlplane.security.issuer import Issuer
from controlplane.security.self_signed import RootPolicy, new_root
from controlplane.watchers.kinds import parse
from tests.feature.identities import authorities_of, securely
from tests.feature.key_pairs import Issuer as Pairs
from tests.feature.key_pairs import tls_secret
from tests.feature.objects import manifest
from tests.feature.test_secrets import Asking, asking

SERVICES, PROXIES, SPACES = 1_000, 500, 20
CERTIFICATES, SECRETS = 10_000, 500
NETWORKING = "networking.istio.io/v1"


@dataclass(frozen=True, slots=True)
class Selected:
    """What a change of a policy did: workloads that it selects, those that got something else, targets built, CPU."""

    selects: int
    changed: int
    targets: int
    milliseconds: float


async def policy_changes(mesh: Mesh, proxies: int) -> dict[str, Selected]:
    """Change a policy of one workload, then one of a namespace, in a mesh with so many proxies in its namespaces.

    Each is changed twice and counted the second time: the first policy adds a filter.
    """
    compiler = Compiler(Registry(frontends=FRONTENDS))
    mesh.write()
    await compiler.apply(ChangeSet(upserts=tuple(objects_of(mesh))))
    sessions = [await compiler.open(_workload(number, mesh.namespaces), lambda: None) for number in range(proxies)]
    found: dict[str, Selected] = {}
    in_namespace = len(range(0, proxies, mesh.namespaces))
    for name, selector, selects in (("one workload", {"app": "client-0"}, 1), ("a namespace", {}, in_namespace)):
        for method in ("PUT", "DELETE"):
            found[name] = await _policy_change(compiler, sessions, _policy(selector, method), selects)
    for session in sessions:
        session.close()
    return found


async def _policy_change(compiler: Compiler, sessions: list[Session], policy: Any, selects: int) -> Selected:  # noqa: ANN401 - a document
    parsed = parse(policy, "bench")
    if not isinstance(parsed, Parsed):
        raise TypeError(parsed)
    before, built, began = [each.snapshot for each in sessions], compiler.builds, process_time()
    await compiler.apply(ChangeSet(upserts=(parsed.object,)))
    milliseconds = (process_time() - began) * 1000
    changed = sum(old is not each.snapshot for old, each in zip(before, sessions, strict=True))
    return Selected(selects, changed, compiler.builds - built, milliseconds)


def _policy(selector: dict[str, str], method: str) -> dict[str, Any]:
    selecting = {"selector": {"matchLabels": selector}} if selector else {}
    rules = [{"to": [{"operation": {"methods": [method]}}]}]
    name = "-".join(selector) or "all"
    metadata = {"name": name, "namespace": "ns-0"}
    spec = {**selecting, "action": "DENY", "rules": rules}
    return {"apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy", "metadata": metadata, "spec": spec}


def _workload(number: int, namespaces: int) -> Proxy:
    """Return the proxy of a workload with labels of its own."""
    space = f"ns-{number % namespaces}"
    address = (f"10.200.{number // 250}.{number % 250 + 1}",)
    labels = {"app": f"client-{number}"}
    return Proxy("sidecar", f"client-{number}.{space}", address, space, f"{space}.svc.cluster.local", labels=labels)


@dataclass(frozen=True, slots=True)
class Signed:
    """How many certificates a second, beside bare signatures with the same key; and how much more memory is held."""

    certificates: float
    signatures: float
    megabytes: float


def certificates(count: int) -> Signed:
    """Sign so many requests of agents, one after the other, as the certificate service does."""
    issuer = Issuer.of_self_signed(new_root(RootPolicy(), datetime.now(UTC)))
    authority = Authority(issuer, Lifetimes())
    key = ec.generate_private_key(ec.SECP256R1())
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    pem = request.public_bytes(serialization.Encoding.PEM).decode()
    names = [[f"spiffe://cluster.local/ns/ns-{number % SPACES}/sa/client-{number}"] for number in range(count)]
    authority.sign_csr(pem, names[0], None)
    held = _resident()
    signed = _per_second(names, lambda each: authority.sign_csr(pem, each, None))
    grown = (_resident() - held) / 1e6
    signing_key: rsa.RSAPrivateKey = issuer.key  # type: ignore[assignment]  # a root that is made here has a key of RSA
    bare = _per_second(names, lambda _: signing_key.sign(bytes(900), padding.PKCS1v15(), hashes.SHA256()))
    return Signed(signed, bare, grown)


def _per_second(names: list[list[str]], make: Callable[[list[str]], object]) -> float:
    began = perf_counter()
    for each in names:
        make(each)
    return len(names) / (perf_counter() - began)


def _resident() -> int:
    """Return the bytes that this process holds resident."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * 4096


@dataclass(frozen=True, slots=True)
class Rotated:
    """How long a gateway waited for Secrets that were replaced, and what that cost the control plane's processor."""

    secrets: int
    milliseconds: float
    cpu_milliseconds: float


async def rotations(folder: Path, counts: Iterable[int]) -> list[Rotated]:
    """Replace so many Secrets at once, in one file, before a gateway that uses as many of them as the most."""
    counts = tuple(counts)
    hosts = [f"host-{number}" for number in range(max(counts))]
    found = []
    with ExitStack() as stack:
        server = stack.enter_context(securely(folder, _gateway(hosts)))
        for host in hosts:
            server.write(f"{host}.yaml", tls_secret(host, PAIRS.pair(f"{host}.test")))
        authorities = await authorities_of(server)
        async with asking(server, authorities) as gateway:
            names = [f"kubernetes://{host}" for host in hosts]
            await gateway.ask(*names)
            await gateway.until(lambda: len(gateway.held) == len(names))
            for count in counts:
                fresh = [tls_secret(host, PAIRS.pair(f"{host}.test")) for host in hosts[:count]]
                for number, host in enumerate(hosts[:count]):
                    if number:
                        server.remove(f"{host}.yaml")
                held, used, began = dict(gateway.held), usage(server.process.pid).cpu, perf_counter()
                server.write(f"{hosts[0]}.yaml", *fresh)
                await gateway.until(lambda held=held, count=count: _others(gateway, held) >= count)  # type: ignore[misc]
                waited = (perf_counter() - began) * 1000
                spent = (usage(server.process.pid).cpu - used).total_seconds() * 1000
                found.append(Rotated(count, waited, spent))
    return found


PAIRS = Pairs()


def _others(gateway: Asking, held: dict[str, Any]) -> int:
    return sum(gateway.held[name] != before for name, before in held.items())


def _gateway(hosts: list[str]) -> dict[str, Any]:
    servers = [
        {
            "port": {"number": 443, "name": f"https-{host}", "protocol": "HTTPS"},
            "hosts": [f"{host}.test"],
            "tls": {"mode": "SIMPLE", "credentialName": host},
        }
        for host in hosts
    ]
    spec = {"selector": {"istio": "edge"}, "servers": servers}
    return manifest(NETWORKING, "Gateway", "edge", "istio-system", spec=spec)


def tables(selected: dict[str, Selected], signed: Signed, count: int, rotated: list[Rotated]) -> list[Table]:
    """Return the figures as tables, which print as Markdown."""
    policies = _table("a policy of", "workloads selected", "proxies that got something", "targets built", "CPU, ms")
    for name, each in selected.items():
        policies.add_row(name, str(each.selects), str(each.changed), str(each.targets), f"{each.milliseconds:.1f}")
    signing = _table(f"{count:,} requests", "certificates a second", "bare signatures a second", "more memory, MB")
    signing.add_row(
        "one after the other", f"{signed.certificates:.0f}", f"{signed.signatures:.0f}", f"{signed.megabytes:.1f}"
    )
    secrets = _table("Secrets replaced at once", "to the gateway, ms", "CPU, ms", "CPU for each, ms")
    for one in rotated:
        each_ms = one.cpu_milliseconds / one.secrets
        secrets.add_row(str(one.secrets), f"{one.milliseconds:.0f}", f"{one.cpu_milliseconds:.0f}", f"{each_ms:.2f}")
    return [policies, signing, secrets]


def _table(first: str, *others: str) -> Table:
    made = Table(first, box=MARKDOWN)
    for each in others:
        made.add_column(each, justify="right")
    return made


def main() -> int:
    """Measure and print; 1 if a policy reached a workload that it does not select."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (
        ("services", SERVICES),
        ("proxies", PROXIES),
        ("certificates", CERTIFICATES),
        ("secrets", SECRETS),
    ):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    console = Console(width=130)
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        (folder := Path(name) / "mesh").mkdir()
        selected = asyncio.run(policy_changes(Mesh(folder, options.services, 10, SPACES), options.proxies))
        signed = certificates(options.certificates)
        (served := Path(name) / "served").mkdir()
        rotated = asyncio.run(rotations(served, (1, options.secrets)))
    for table in tables(selected, signed, options.certificates, rotated):
        console.print(table)
    return int(any(each.changed != each.selects for each in selected.values()))


if __name__ == "__main__":
    raise SystemExit(main())
