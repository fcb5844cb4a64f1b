"""Mutual TLS between two sidecars in pods: who speaks it, who insists on it, and whom each side trusts."""

from __future__ import annotations

import json
from typing import Any

import pytest

from controlplane.agent.identity import WorkloadIdentity
from controlplane.registry.environment import ANY_TRUST_DOMAIN
from samples.authority import LocalAuthority, spiffe_id
from samples.backends import Backend
from tests.envoy.mesh import eventually, write
from tests.envoy.pods import APP_PORT, HOST_ADDRESS, Pod, curl
from tests.envoy.test_interception import SERVICE_ADDRESS, Cluster, kube, running

HOST = "server.default.svc.cluster.local"
NAMESPACE, WORKLOAD = ("default", ""), ("default", "server")
MESH = ("istio-system", "")
Json = dict[str, Any]
PLAIN, PROVED, CLOSED = "plain", "proved", "closed"
"""What a request meets: served without a certificate, served with a certificate of the caller, not served."""

MODES: list[tuple[dict[tuple[str, str], Json], str, str]] = [
    # policies by where they apply; what a caller without a sidecar meets; what one with a sidecar meets
    # at first two that cannot be read: STRICT is what they ask for, or may be
    ({WORKLOAD: {"mtls": {"mode": "STRICT"}, "portLevelMtls": {"http": {"mode": "DISABLE"}}}}, CLOSED, PROVED),
    ({NAMESPACE: {"mtls": {"mode": "strict"}}}, CLOSED, PROVED),
    ({MESH: {"mtls": {"mode": "STRICT"}}}, CLOSED, PROVED),
    ({MESH: {"mtls": {"mode": "STRICT"}}, NAMESPACE: {"mtls": {"mode": "PERMISSIVE"}}}, PLAIN, PROVED),
    ({MESH: {"mtls": {"mode": "STRICT"}}, NAMESPACE: {"mtls": {"mode": "DISABLE"}}}, PLAIN, PLAIN),
    # as in Istio: where a namespace says DISABLE its callers speak plaintext, unless a DestinationRule says otherwise
    ({NAMESPACE: {"mtls": {"mode": "DISABLE"}}, WORKLOAD: {"mtls": {"mode": "STRICT"}}}, CLOSED, CLOSED),
    (
        {WORKLOAD: {"mtls": {"mode": "STRICT"}, "portLevelMtls": {str(APP_PORT): {"mode": "PERMISSIVE"}}}},
        PLAIN,
        PROVED,
    ),
    ({WORKLOAD: {"mtls": {"mode": "DISABLE"}, "portLevelMtls": {str(APP_PORT): {"mode": "STRICT"}}}}, CLOSED, PROVED),
    ({WORKLOAD: {"mtls": {"mode": "STRICT"}, "portLevelMtls": {str(APP_PORT): {"mode": "DISABLE"}}}}, PLAIN, PLAIN),
    ({NAMESPACE: {"mtls": {"mode": "UNSET"}}, MESH: {"mtls": {"mode": "STRICT"}}}, CLOSED, PROVED),
]


def policy(where: tuple[str, str], spec: Json) -> Json:
    """Return a PeerAuthentication of the whole mesh, a namespace, or one of its workloads."""
    namespace, workload = where
    selecting: Json = {"selector": {"matchLabels": {"app": workload}}} if workload else {}
    made = kube("PeerAuthentication", workload or "default", "security.istio.io/v1", spec={**selecting, **spec})
    made["metadata"]["namespace"] = namespace
    return made


def rule(**traffic_policy: Any) -> Json:
    spec = {"host": HOST, "trafficPolicy": traffic_policy}
    return kube("DestinationRule", "server", "networking.istio.io/v1", spec=spec)


def met(status: int, body: str) -> str:
    if status != 200:
        return CLOSED
    return PROVED if "x-forwarded-client-cert" in json.loads(body)["headers"] else PLAIN


async def by_sidecar(cluster: Cluster) -> str:
    return met(*await cluster.client.curl(f"http://{SERVICE_ADDRESS}/"))


async def until(cluster: Cluster, expected: str, what: str) -> None:
    async def is_so() -> bool:
        return await by_sidecar(cluster) == expected

    await eventually(is_so, f"{what}: a request of the sidecar is {expected}")


def mount(pod: Pod, identity: WorkloadIdentity, *roots: LocalAuthority) -> None:
    """Give a pod another certificate, and the roots that it trusts."""
    mounted = pod.folder / "etc" / "certs"
    (mounted / "root-cert.pem").write_bytes(b"".join(each.root_certificate for each in roots))
    (mounted / "key.pem").write_bytes(identity.private_key)
    (mounted / "cert-chain.pem").write_bytes(identity.certificate_chain)


@pytest.mark.usefixtures("pods")
async def test_any_trust_domain_is_served_where_none_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable gives up the name of the trust domain alone: a certificate of another root is still refused."""
    monkeypatch.setenv(ANY_TRUST_DOMAIN, "true")
    async with running() as cluster:
        once = {"http": {"maxRequestsPerConnection": 1}}  # new certificates show at once
        write(
            cluster.config_dir / "rule.yaml", rule(connectionPool=once), policy(NAMESPACE, {"mtls": {"mode": "STRICT"}})
        )
        await until(cluster, PROVED, "our own trust domain")
        identity = spiffe_id("default", "client", "partner.test")
        mount(cluster.client, LocalAuthority("second").issue(identity), cluster.authority)
        await until(cluster, CLOSED, "another root")
        mount(cluster.client, cluster.authority.issue(identity), cluster.authority)
        await until(cluster, PROVED, "another trust domain")
        status, body = await cluster.client.curl(f"http://{SERVICE_ADDRESS}/")
        assert (status, f"URI={identity}" in body) == (200, True)


@pytest.mark.usefixtures("pods")
async def test_who_is_served_by_policies_rules_and_certificates() -> None:
    async with running() as cluster:
        await until(cluster, PROVED, "at first")
        await modes(cluster)
        await endpoints_of_both_kinds(cluster)
        await rules(cluster)
        await trust_domains(cluster)
        await revoked(cluster)
        await two_roots(cluster)


async def modes(cluster: Cluster) -> None:
    """The most particular policy counts; where one says DISABLE the sidecar of the caller speaks plaintext."""
    for policies, plain, proved in MODES:
        write(cluster.config_dir / "modes.yaml", *(policy(*each) for each in policies.items()))

        async def are_met(plain: str = plain, proved: str = proved) -> bool:
            without = met(*await curl(f"http://{cluster.server.address}:{APP_PORT}/"))
            return (without, await by_sidecar(cluster)) == (plain, proved)

        await eventually(are_met, f"{policies}: {plain} without a sidecar, {proved} with one")
    (cluster.config_dir / "modes.yaml").unlink()


async def endpoints_of_both_kinds(cluster: Cluster) -> None:
    """Of one service some endpoints have a sidecar, others have none: each is spoken to as it understands."""
    outsider = Backend("outsider", HOST_ADDRESS)
    await outsider.start()
    more = kube(
        "EndpointSlice",
        "server-2",
        "discovery.k8s.io/v1",
        labels={"kubernetes.io/service-name": "server"},
        addressType="IPv4",
        ports=[{"name": "http", "port": outsider.port, "protocol": "TCP"}],
        endpoints=[{"addresses": [HOST_ADDRESS], "conditions": {"ready": True}}],
    )
    write(cluster.config_dir / "more.yaml", more)
    seen: dict[str, str] = {}

    async def both() -> bool:
        status, body = await cluster.client.curl(f"http://{SERVICE_ADDRESS}/")
        if status == 200:
            seen[json.loads(body)["version"]] = met(status, body)
        return len(seen) == 2

    await eventually(both, "both endpoints have answered")
    assert seen == {"server": PROVED, "outsider": PLAIN}
    (cluster.config_dir / "more.yaml").unlink()

    async def only_the_first() -> bool:
        return {await by_sidecar(cluster) for _ in range(10)} == {PROVED}

    await eventually(only_the_first, "the endpoint has gone")
    await outsider.stop()


async def rules(cluster: Cluster) -> None:
    """A DestinationRule says whom the server has to be; what it says wins over what would go by itself."""
    file = cluster.config_dir / "rule.yaml"
    for names, expected in (["somebody"], CLOSED), (["somebody", "server"], PROVED):
        tls = {"mode": "ISTIO_MUTUAL", "subjectAltNames": [spiffe_id("default", each) for each in names]}
        write(file, rule(tls=tls))
        await until(cluster, expected, f"ISTIO_MUTUAL with {names}")
    write(file, rule(tls={"mode": "DISABLE"}))
    await until(cluster, PLAIN, "DISABLE")
    write(cluster.config_dir / "modes.yaml", policy(NAMESPACE, {"mtls": {"mode": "STRICT"}}))
    await until(cluster, CLOSED, "DISABLE towards STRICT")
    write(file, rule(connectionPool={"http": {"maxRequestsPerConnection": 1}}))  # new certificates show at once
    await until(cluster, PROVED, "no TLS stated")


async def trust_domains(cluster: Cluster) -> None:
    """A certificate of another trust domain counts where that is an alias of ours."""
    partner = cluster.authority.issue(spiffe_id("default", "client", "partner.test"))
    mount(cluster.client, partner, cluster.authority)
    await until(cluster, CLOSED, "another trust domain")
    settings = kube("ConfigMap", "istio", data={"mesh": "trustDomainAliases: [partner.test]"})
    settings["metadata"]["namespace"] = "istio-system"
    write(cluster.config_dir / "mesh.yaml", settings)
    await until(cluster, PROVED, "an alias")
    (cluster.config_dir / "mesh.yaml").unlink()
    await until(cluster, CLOSED, "no alias any more")
    mount(cluster.client, cluster.authority.issue(spiffe_id("default", "client")), cluster.authority)
    await until(cluster, PROVED, "our own trust domain")


async def revoked(cluster: Cluster) -> None:
    """A certificate that the mesh's list of revoked ones has is refused, until the list says otherwise."""
    lists = cluster.server.folder / "var/run/secrets/istio/crl/ca-crl.pem"
    lists.parent.mkdir(parents=True)
    client = cluster.authority.issue(spiffe_id("default", "client"))
    mount(cluster.client, client, cluster.authority)
    for these, expected in ((client,), CLOSED), ((), PROVED):
        lists.write_bytes(cluster.authority.revoked(*these))
        again = cluster.authority.issue(spiffe_id("default", "server"))
        mount(cluster.server, again, cluster.authority)  # so that the agent looks at once, not within half a minute
        await until(cluster, expected, f"{len(these)} certificates revoked")
    lists.unlink()


async def two_roots(cluster: Cluster) -> None:
    """The pods have certificates of different roots: each is served while both roots are trusted, and then not."""
    second = LocalAuthority("second")
    client, server = (spiffe_id("default", name) for name in ("client", "server"))
    mount(cluster.server, cluster.authority.issue(server), cluster.authority, second)
    mount(cluster.client, second.issue(client), cluster.authority, second)
    await until(cluster, PROVED, "both roots")
    mount(cluster.server, cluster.authority.issue(server), cluster.authority)
    await until(cluster, CLOSED, "the first root alone")
