"""What an agent does beside configuration, with a real Envoy and a real control plane."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import ssl
import stat
import tempfile
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from datetime import timedelta
from http import HTTPStatus
from pathlib import Path

import aiohttp
import dns.asyncquery
import dns.message
import pytest
from cryptography import x509

from controlplane.agent.addresses import TcpAddress
from controlplane.agent.options import options
from controlplane.agent.sds import SecretServer
from controlplane.agent.secrets import Secrets
from samples.authority import LocalAuthority, spiffe_id
from samples.backends import Backend
from samples.control_plane import LOOPBACK, free_port
from samples.proxy import Proxy, mount_certificates
from tests.agent.test_cloud import metadata_server
from tests.envoy.agents import WEB, SecureMesh, secure_mesh, started
from tests.envoy.mesh import eventually, istio, write
from tests.patience import PATIENCE_SECONDS

SERVICE = istio(
    "ServiceEntry",
    "db",
    hosts=["db.test"],
    addresses=["240.0.0.9"],
    ports=[{"number": free_port(), "name": "tcp", "protocol": "TCP"}],
    resolution="STATIC",
    endpoints=[{"address": "10.9.9.9"}],
)


@pytest.fixture
async def mesh() -> AsyncIterator[SecureMesh]:
    with tempfile.TemporaryDirectory(prefix="agent-") as name:  # short: paths of Unix sockets end at 107 bytes
        async with secure_mesh(Path(name)) as running:
            write(running.config / "mesh.yaml", SERVICE)
            yield running


def with_metrics_port(port: int) -> Mapping[str, str]:
    """Return what makes Envoy ask for secrets: a listener with mutual TLS."""
    return {"ENVOY_SECURE_METRICS_PORT": str(port)}


async def shown(port: int) -> x509.Certificate | None:
    """Return what a TLS listener shows, nothing while it does not listen or has no certificate."""
    try:
        pem = await asyncio.to_thread(ssl.get_server_certificate, (LOOPBACK, port))
    except OSError:
        return None
    return x509.load_pem_x509_certificate(pem.encode())


async def shows(port: int, old: x509.Certificate | None = None) -> x509.Certificate:
    """Wait until a TLS listener shows a certificate that is another than this one."""
    found: list[x509.Certificate] = []

    async def another() -> bool:
        certificate = await shown(port)
        if certificate is None or (old is not None and certificate.serial_number == old.serial_number):
            return False
        found.append(certificate)
        return True

    await eventually(another, f"port {port} shows another certificate")
    return found[0]


def names(certificate: x509.Certificate) -> list[str]:
    extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return extension.value.get_values_for_type(x509.UniformResourceIdentifier)


async def test_certificates_are_renewed_before_they_end(mesh: SecureMesh) -> None:
    """One that lives for seconds is another one again and again; the agent stays ready and Envoy refuses nothing."""
    port = free_port()
    environment = {"SECRET_TTL": "20s", "SECRET_GRACE_PERIOD_RATIO": "0.92", **with_metrics_port(port)}
    async with started(await mesh.proxy(WEB, None, **environment)) as proxy:
        first = await shows(port)
        second = await shows(port, first)
        third = await shows(port, second)
        assert {tuple(names(each)) for each in (first, second, third)} == {
            ("spiffe://cluster.local/ns/shop/sa/default",)
        }
        assert third.not_valid_after_utc > second.not_valid_after_utc > first.not_valid_after_utc
        assert first.public_key() != second.public_key()
        assert await proxy.is_ready()
        assert await proxy.rejected() == {}


async def test_files_win_over_the_authority(mesh: SecureMesh) -> None:
    """Nobody is asked to sign; a new pair of files reaches Envoy, half of one does not."""
    port, authority = free_port(), LocalAuthority()
    proxy = await mesh.proxy(WEB, None, **with_metrics_port(port), XDS_ROOT_CA="./first/root-cert.pem")
    mount_certificates(proxy.folder, authority, "shop", "from-files")
    async with started(proxy):
        first = await shows(port)
        assert names(first) == [spiffe_id("shop", "from-files")]
        assert not proxy.process.said("agent.certificate_received")
        mounted = proxy.folder / "etc" / "certs"
        other = authority.issue(spiffe_id("shop", "renamed"))
        (mounted / "key.pem").write_bytes(other.private_key)

        async def refused() -> bool:
            return proxy.process.said("agent.file_unusable")

        await eventually(refused, "a key alone is no pair")
        still = await shown(port)
        assert still is not None
        assert still.serial_number == first.serial_number
        (mounted / "cert-chain.pem").write_bytes(other.certificate_chain)
        assert names(await shows(port, first)) == [spiffe_id("shop", "renamed")]


async def test_a_foreign_socket_is_respected(mesh: SecureMesh) -> None:
    """Somebody else serves the workload's certificate; the agent neither asks for one nor touches the socket."""
    port = free_port()
    proxy = await mesh.proxy(WEB, None, **with_metrics_port(port))
    folder = proxy.folder / "var/run/secrets/workload-spiffe-uds"
    folder.mkdir(parents=True)
    foreign = SecretServer(Secrets(LocalAuthority().issue("spiffe://spire.test/web")), folder / "socket")
    await foreign.start()
    try:
        async with started(proxy):
            assert names(await shows(port)) == ["spiffe://spire.test/web"]
            assert not proxy.process.said("agent.certificate_received")
            assert '"file-credential": "true"' in (await proxy.ask(proxy.ports.admin, "/config_dump"))[1]
        assert (folder / "socket").is_socket()
    finally:
        await foreign.stop()


def _has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


FAMILIES = {"ipv4": (LOOPBACK,), "ipv6": ("::1",), "both": (LOOPBACK, "::1")}
"""Where a pod of a kind is asked; of both kinds are pods with addresses of the machine's, beside their own."""
HERE = ["ipv4", "ipv6", "both"] if _has_ipv6() else ["ipv4"]


@pytest.mark.parametrize("kind", HERE)
async def test_a_pod_is_probed_and_scraped_by_each_of_its_families(mesh: SecureMesh, kind: str) -> None:
    """Envoy's own listeners answer by the family of the pod's addresses, or by both where that is asked for."""
    both = {"ISTIO_DUAL_STACK": "true"} if kind == "both" else {}
    proxy = await mesh.proxy(WEB if kind == "ipv4" else replace(WEB, ip="fd00::7"), None, **both)
    if not both:
        annotations = proxy.folder / "etc/istio/pod/annotations"
        annotations.parent.mkdir(parents=True)
        everything = ",".join(name for _, name in socket.if_nameindex())
        annotations.write_text(f'traffic.sidecar.istio.io/excludeInterfaces="{everything}"\n', encoding="utf-8")
    elif all(":" in each for each in options([], {}).workload.ips):
        pytest.skip("this machine has no IPv4 but its loopback")
    async with started(proxy), aiohttp.ClientSession() as session:

        async def page(host: str, port: int, path: str) -> str:
            async with session.get(f"http://{TcpAddress(host, port)}{path}") as answer:
                assert answer.status == HTTPStatus.OK, (host, path)
                return await answer.text()

        for host in FAMILIES[kind]:
            await page(host, proxy.ports.ready, "/healthz/ready")
            assert "envoy_server_live" in await page(host, proxy.ports.metrics, "/stats/prometheus")
            assert "envoy_server_live" in await page(host, proxy.ports.agent, "/stats/prometheus")
        assert await page(FAMILIES[kind][-1], proxy.ports.admin, "/ready") == "LIVE\n"


async def test_names_are_answered(mesh: SecureMesh) -> None:
    """The table comes over the stream of configuration, and readiness waits for it."""
    port = free_port()
    environment = {"ISTIO_META_DNS_CAPTURE": "true", "DNS_PROXY_ADDR": f"{LOOPBACK}:{port}"}

    async def address(name: str) -> set[str]:
        answer = await dns.asyncquery.udp(
            dns.message.make_query(name, "A"), LOOPBACK, port=port, timeout=PATIENCE_SECONDS
        )
        return {record.to_text() for rrset in answer.answer for record in rrset}

    async with started(await mesh.proxy(WEB, None, **environment)) as proxy:
        assert await address("db.test.") == {"240.0.0.9"}
        status, page = await proxy.ask(proxy.ports.agent, "/debug/ndsz")
        assert (status, json.loads(page)["table"]["db.test."]) == (200, ["240.0.0.9"])
        changed = json.loads(json.dumps(SERVICE).replace("240.0.0.9", "240.0.0.10"))
        write(mesh.config / "mesh.yaml", changed)

        async def other() -> bool:
            return await address("db.test.") == {"240.0.0.10"}

        await eventually(other, "a change of the table is answered")


async def test_metrics_are_one_page_and_probes_reach_the_application(mesh: SecureMesh) -> None:
    backend = Backend("v1", "0.0.0.0")
    await backend.start()
    try:
        probe = {"/app-health/web/livez": {"httpGet": {"port": backend.port, "path": "/live"}}}
        environment = {
            "ISTIO_KUBE_APP_PROBERS": json.dumps(probe),
            "ISTIO_PROMETHEUS_ANNOTATIONS": json.dumps({"scrape": "true", "port": str(backend.port)}),
        }
        pod = await mesh.proxy(replace(WEB, ip=LOOPBACK), None, **environment)
        async with started(pod) as proxy:
            status, text = await proxy.ask(proxy.ports.agent, "/stats/prometheus")
            assert status == 200
            assert "istio_agent_xds_proxy_responses" in text
            assert "envoy_server_live" in text
            assert '"version": "v1"' in text
            status, text = await proxy.ask(proxy.ports.agent, "/app-health/web/livez")
            assert (status, json.loads(text)["path"]) == (200, "/live")
    finally:
        await backend.stop()


async def test_applications_without_a_proxy(mesh: SecureMesh) -> None:
    """No Envoy is started; certificates go to files, and a bootstrap names them and the socket of configuration."""
    environment = {
        "DISABLE_ENVOY": "true",
        "OUTPUT_CERTS": "./out",
        "ISTIO_META_GENERATOR": "grpc",
        "SECRET_TTL": "1h",
        "KUBERNETES_SERVICE_HOST": "10.96.0.1",
    }
    async with started(await mesh.proxy(WEB, None, **environment)) as proxy:
        said = json.loads((proxy.folder / "etc/istio/proxy/grpc-bootstrap.json").read_text())
        assert said["xds_servers"][0]["server_uri"].endswith("etc/istio/proxy/XDS")
        assert said["node"]["metadata"]["GENERATOR"] == "grpc"
        files = said["certificate_providers"]["default"]["config"]
        assert stat.S_IMODE((proxy.folder / files["private_key_file"]).stat().st_mode) == 0o644
        certificate = x509.load_pem_x509_certificate((proxy.folder / files["certificate_file"]).read_bytes())
        assert names(certificate) == ["spiffe://cluster.local/ns/shop/sa/default"]
        assert certificate.not_valid_after_utc - certificate.not_valid_before_utc < timedelta(hours=2)
        assert not children(proxy)
        await proxy.stop()
        assert proxy.process.returncode == 0


def children(proxy: Proxy) -> list[str]:
    path = f"/proc/{proxy.process.pid}/task/{proxy.process.pid}/children"
    with open(path, encoding="utf-8") as file:  # noqa: PTH123 - a page of the kernel
        return file.read().split()


async def test_a_workload_that_is_not_healthy_is_told_of(mesh: SecureMesh) -> None:
    """The control plane hears of it on the stream of configuration, now and on each new one."""
    probe = {"exec": {"command": ["test", "-e", "healthy"]}, "periodSeconds": 1}
    proxy = await mesh.proxy(WEB, {"readinessProbe": probe})
    async with started(proxy):

        def told(healthy: bool) -> int:  # noqa: FBT001 - which of the two
            lines = proxy.process.log_path.read_text().splitlines()
            events = [json.loads(line) for line in lines if line.startswith("{")]
            return sum(each["event"] == "agent.workload_health" and each["healthy"] is healthy for each in events)

        async def unhealthy() -> bool:
            return told(healthy=False) == 1

        await eventually(unhealthy, "the workload is not healthy")
        (proxy.folder / "healthy").touch()

        async def healthy() -> bool:
            return told(healthy=True) == 1

        await eventually(healthy, "the workload is healthy")
        assert proxy.process.pid is not None
        assert await proxy.rejected() == {}


async def test_a_second_bootstrap_and_the_users_own(mesh: SecureMesh) -> None:
    """The user's template is filled in, and another bootstrap is laid over it by Envoy; a cloud says where it runs."""
    async with metadata_server() as address:
        await check_bootstraps(mesh, {"CLOUD_PLATFORM": "gcp", "CLOUD_METADATA_ADDRESS": address})


async def check_bootstraps(mesh: SecureMesh, cloud: Mapping[str, str]) -> None:
    files = {"ISTIO_BOOTSTRAP": "./own.json", "ISTIO_BOOTSTRAP_OVERRIDE": "./over.json", **cloud}
    without_effect = {"privateKeyProvider": {"cryptomb": {"pollDelay": "10ms"}}}
    proxy = await mesh.proxy(WEB, without_effect, **files, HOST_IP="10.0.0.1")
    own = '{{ mergeOverwrite (fromJson .bootstrap) (dict "node" (dict "metadata" (dict "Y" "own"))) | toJson }}'
    (proxy.folder / "own.json").write_text(own)
    (proxy.folder / "over.json").write_text('{"stats_flush_interval": "3s", "node": {"metadata": {"X": "$(HOST_IP)"}}}')
    async with started(proxy):
        _, text = await proxy.ask(proxy.ports.admin, "/config_dump?resource=&mask=bootstrap")
        bootstrap = next(each for each in json.loads(text)["configs"] if "bootstrap" in each)["bootstrap"]
        assert (bootstrap["stats_flush_interval"], bootstrap["node"]["metadata"]["X"]) == ("3s", "10.0.0.1")
        assert bootstrap["node"]["metadata"]["Y"] == "own"
        assert proxy.process.said("agent.private_key_provider_ignored")
        assert bootstrap["node"]["metadata"]["NAME"] == "web-1"
        assert bootstrap["node"]["locality"]["zone"] == "us-central1-a"


async def test_a_policy_for_cryptography_counts_for_the_agent_and_envoy(mesh: SecureMesh) -> None:
    """Both still reach whom they ask: the control plane and the agent agree on a cipher of FIPS."""
    async with started(await mesh.proxy(WEB, None, COMPLIANCE_POLICY="fips-140-2")) as proxy:
        _, text = await proxy.ask(proxy.ports.admin, "/runtime?format=json")
        assert (
            json.loads(text)["entries"]["envoy.reloadable_features.google_grpc_disable_tls_13"]["final_value"] == "true"
        )
        (envoy,) = children(proxy)
        variables = Path(f"/proc/{envoy}/environ").read_bytes().split(b"\0")  # noqa: ASYNC240 - a page of the kernel
        (ciphers,) = [each for each in variables if each.startswith(b"GRPC_SSL_CIPHER_SUITES=")]
        assert b"ECDHE-RSA-AES256-GCM-SHA384" in ciphers
        assert b"CHACHA20" not in ciphers


async def test_levels_of_the_log_follow_the_annotations(mesh: SecureMesh) -> None:
    proxy = await mesh.proxy()
    annotations = proxy.folder / "etc/istio/pod/annotations"
    annotations.parent.mkdir(parents=True)
    annotations.write_text("")

    async def level(component: str) -> str:
        _, text = await proxy.ask(proxy.ports.admin, "/logging", "POST")
        return next(line.split(": ")[1] for line in text.splitlines() if line.strip().startswith(f"{component}: "))

    async with started(proxy):
        assert await level("upstream") == "warning"
        annotations.write_text(
            'sidecar.istio.io/logLevel="info"\nsidecar.istio.io/componentLogLevel="upstream:debug"\n'
        )

        async def changed() -> bool:
            return (await level("upstream"), await level("main")) == ("debug", "info")

        await eventually(changed, "Envoy logs as the annotations say")
        annotations.write_text('sidecar.istio.io/logLevel="loud"\n')

        async def refused() -> bool:
            return proxy.process.said("agent.log_level_refused")

        await eventually(refused, "a level that is none is said to be none")
        assert (await level("upstream"), await level("main")) == ("debug", "info")


async def test_figures(mesh: SecureMesh) -> None:
    """Prints start time, memory and processor time; the bounds are what a pod may be asked to pay."""
    loop = asyncio.get_running_loop()
    proxy = await mesh.proxy()
    began = loop.time()
    async with started(proxy):
        ready = loop.time() - began
        resident = resident_megabytes(proxy)
        idle = 1.0

        async def quiet() -> bool:
            nonlocal idle
            ticks, since = cpu(proxy), loop.time()
            await asyncio.sleep(3)
            idle = (cpu(proxy) - ticks) / os.sysconf("SC_CLK_TCK") / (loop.time() - since)
            return idle < 0.02

        await eventually(quiet, "the agent is idle")  # the work of its start is over
        print(f"from start to a ready Envoy {ready:.2f} s, resident {resident:.1f} MB, idle {idle:.1%} of a processor")
        assert resident < 60


def resident_megabytes(proxy: Proxy) -> float:
    with open(f"/proc/{proxy.process.pid}/status", encoding="utf-8") as file:  # noqa: PTH123 - of the kernel
        values = dict(line.split(":", 1) for line in file if ":" in line)
    return int(values["VmRSS"].split()[0]) / 1024


def cpu(proxy: Proxy) -> int:
    with open(f"/proc/{proxy.process.pid}/stat", encoding="utf-8") as file:  # noqa: PTH123 - of the kernel
        fields = file.read().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])
