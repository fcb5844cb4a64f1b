"""Tokens, Secrets, Leases and ConfigMaps on a real API server."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from kubernetes.aio import client, config

from controlplane.controllers.leader import Leadership, LeaseTimes
from controlplane.controllers.root_certificates import CONFIG_MAP, RevokedCertificates, RootCertificates, keep_all
from controlplane.messages.istio_auth_pb2 import IstioCertificateRequest
from controlplane.security.authentication import Authenticator, TrustDomains
from controlplane.security.ca import Authority, Lifetimes
from controlplane.security.certificate_service import CertificateService
from controlplane.security.cluster_memory import ClusterMemory
from controlplane.security.issuer import InvalidIssuerError
from controlplane.security.refusal import CallRefused, Refusal
from controlplane.security.rotation import Rotator, open_authority
from controlplane.security.secret_source import ClusterSource
from controlplane.security.self_signed import RootPolicy
from controlplane.security.serving import ServingTls, SignedHere, serving_names
from controlplane.security.sources import SourceUnavailableError
from controlplane.security.tokens import TokenReviews
from tests import patience
from tests.cluster.api_server import ApiServer
from tests.kubernetes.objects import no_signals
from tests.security.authorities import Clock, cacerts, csr, root
from tests.security.test_certificate_service import names
from tests.security.wire import SecurePort, create_certificate

POLICY = RootPolicy(lifetime=timedelta(days=100), overlap=timedelta(days=1))
AUDIENCES = ("istio-ca",)
KEY = ec.generate_private_key(ec.SECP256R1())


@asynccontextmanager
async def api(cluster: ApiServer, kubeconfig: Path | None = None) -> AsyncIterator[client.ApiClient]:
    configuration = client.Configuration()
    await config.load_kube_config(str(kubeconfig or cluster.kubeconfig), client_configuration=configuration)
    async with client.ApiClient(configuration) as made:
        yield made


def token(cluster: ApiServer, namespace: str, *options: str) -> str:
    return cluster.kubectl("create", "token", "default", "-n", namespace, "--audience=istio-ca", *options).strip()


async def until(condition: Callable[[], bool]) -> None:
    await patience.until(lambda: asyncio.to_thread(condition))


async def refusal(reviews: TokenReviews, presented: str) -> CallRefused:
    with pytest.raises(CallRefused) as refused:
        await reviews.check(presented)
    return refused.value


# Tokens


def away() -> bool:
    """Whether the API server is away: so it is wherever one of these tests gets no answer."""
    return True


async def test_a_token_of_kubectl_gets_a_certificate(kube_cluster: ApiServer, namespace: str, tmp_path: Path) -> None:
    async with api(kube_cluster) as made:
        source = ClusterSource(made, namespace, tmp_path, POLICY)
        authority = Authority(await source.read(), Lifetimes())
        authenticator = Authenticator(TrustDomains, TokenReviews(made, AUDIENCES, away), ["Kubernetes"])
        tls = ServingTls(SignedHere(authority, lambda: serving_names("istio-system")))
        request = IstioCertificateRequest(csr=csr(ec.generate_private_key(ec.SECP256R1())))
        async with SecurePort(CertificateService(authenticator, authority)).serve(tls.grpc_context()) as secure:
            metadata = {"authorization": f"Bearer {token(kube_cluster, namespace)}", "clusterid": "Kubernetes"}
            chain = await create_certificate(secure.port, request, authority.bundle, metadata)
    assert names(chain) == [f"spiffe://cluster.local/ns/{namespace}/sa/default"]
    assert chain[-1] == authority.bundle


async def test_tokens_that_are_not_accepted(kube_cluster: ApiServer, namespace: str) -> None:
    async with api(kube_cluster) as made:
        reviews = TokenReviews(made, AUDIENCES, away)
        for presented in (kube_cluster.kubectl("create", "token", "default", "-n", namespace).strip(), "nonsense"):
            refused = await refusal(reviews, presented)
            assert refused.kind is Refusal.UNAUTHENTICATED
            assert str(refused).startswith("token: ")


async def test_a_review_is_remembered_for_minutes(own_kube_cluster: ApiServer) -> None:
    clock = Clock(datetime.now(UTC))
    async with api(own_kube_cluster) as made:
        reviews = TokenReviews(made, AUDIENCES, away, clock=clock)
        longer = TokenReviews(made, AUDIENCES, away, remember=timedelta(hours=1), clock=clock)
        presented = token(own_kube_cluster, "default", "--duration=10m")
        await longer.check(presented)
        assert (await reviews.check(presented)).username == "system:serviceaccount:default:default"
        own_kube_cluster.api.stop()
        clock.pass_by(timedelta(minutes=4))
        await reviews.check(presented)
        assert reviews.away_since is None  # nobody was asked
        clock.pass_by(timedelta(minutes=2))
        await reviews.check(presented)  # asked in vain: known, and it lives
        assert reviews.away_since == clock.now
        await longer.check(presented)
        assert longer.away_since is None
        clock.pass_by(timedelta(minutes=5))
        for each in (reviews, longer):  # no longer than the token lives
            assert (await refusal(each, presented)).kind is Refusal.UNAVAILABLE


async def test_without_an_api_server_the_keys_of_the_cluster_decide(own_kube_cluster: ApiServer) -> None:
    presented, other = token(own_kube_cluster, "default"), token(own_kube_cluster, "kube-system")
    api_token = own_kube_cluster.kubectl("create", "token", "default").strip()
    async with api(own_kube_cluster) as made:
        reviews, without_keys = TokenReviews(made, AUDIENCES, away), TokenReviews(made, AUDIENCES, away)
        assert await reviews.fetch_keys()
        own_kube_cluster.api.stop()
        assert (await reviews.check(presented)).username == "system:serviceaccount:default:default"
        assert (await reviews.check(other)).username == "system:serviceaccount:kube-system:default"
        for wrong in (api_token, presented[:-10] + "AAAAAAAAAA"):
            assert (await refusal(reviews, wrong)).kind is Refusal.UNAUTHENTICATED
        refused = await refusal(without_keys, presented)
        assert refused.kind is Refusal.UNAVAILABLE
        assert "cannot be checked now: the API server does not answer" in str(refused)
        assert not await reviews.fetch_keys()  # those of before stay
        await reviews.check(presented)
        own_kube_cluster.api.start()
        await asyncio.to_thread(own_kube_cluster.wait_ready)
        await reviews.check(presented)
        assert reviews.away_since is None


@pytest.mark.parametrize("wrong", [timedelta(hours=-3), timedelta(hours=3)], ids=["behind", "ahead"])
async def test_a_clock_that_is_wrong(own_kube_cluster: ApiServer, wrong: timedelta) -> None:
    presented = token(own_kube_cluster, "default")
    clock = Clock(datetime.now(UTC) + wrong)
    async with api(own_kube_cluster) as made:
        reviews = TokenReviews(made, AUDIENCES, away, clock=clock)
        assert await reviews.fetch_keys()
        await reviews.check(presented)
        own_kube_cluster.api.stop()
        await reviews.check(presented)
        assert reviews.away_since is None
        clock.pass_by(timedelta(minutes=6))
        await reviews.check(presented)
        clock.pass_by(timedelta(hours=2))  # a token lives for one
        assert (await refusal(reviews, presented)).kind is Refusal.UNAUTHENTICATED


async def test_who_may_not_review_says_which_right_is_missing(
    kube_cluster: ApiServer, namespace: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = kube_cluster.kubectl("create", "token", "default", "-n", namespace).strip()
    async with api(kube_cluster, kube_cluster.write_kubeconfig(tmp_path / "poor", own)) as made:
        reviews = TokenReviews(made, AUDIENCES, away)
        for _ in range(2):
            refused = await refusal(reviews, token(kube_cluster, namespace))
            assert refused.kind is Refusal.UNAVAILABLE
            assert "may not create tokenreviews.authentication.k8s.io" in str(refused)
    assert capsys.readouterr().out.count("security.token_review_forbidden") == 1


# Where the issuer comes from


def secret(cluster: ApiServer, namespace: str, name: str) -> dict[str, bytes]:
    data = json.loads(cluster.kubectl("get", "secret", name, "-n", namespace, "-o", "json"))
    return {key: base64.b64decode(value) for key, value in data["data"].items()}


def plug_in(cluster: ApiServer, namespace: str, files: dict[str, bytes]) -> None:
    data = {name: base64.b64encode(content).decode() for name, content in files.items()}
    obj = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "cacerts", "namespace": namespace}, "data": data}
    cluster.kubectl("apply", "-f", "-", text=json.dumps(obj))


async def test_replicas_that_start_at_once_agree(kube_cluster: ApiServer, namespace: str, tmp_path: Path) -> None:
    async with api(kube_cluster) as made:
        sources = [ClusterSource(made, namespace, tmp_path, POLICY) for _ in range(3)]
        first, *others = await asyncio.gather(*(each.read() for each in sources))
    assert all(each == first for each in others)
    kind = kube_cluster.kubectl("get", "secret", "istio-ca-secret", "-n", namespace, "-o", "jsonpath={.type}")
    assert kind == "istio.io/ca-root"
    held = secret(kube_cluster, namespace, "istio-ca-secret")
    assert set(held) == {"ca-cert.pem", "ca-key.pem", "root-cert.pem", "cert-chain.pem", "key.pem"}
    assert held["root-cert.pem"] == held["ca-cert.pem"]


async def test_a_root_whose_secret_is_removed_is_written_again(
    kube_cluster: ApiServer, namespace: str, tmp_path: Path
) -> None:
    async with api(kube_cluster) as made:
        source = ClusterSource(made, namespace, tmp_path, POLICY)
        before = await source.read()
        kube_cluster.kubectl("delete", "secret", "istio-ca-secret", "-n", namespace)
        assert await source.read() == before


async def test_replicas_renew_a_root_once(kube_cluster: ApiServer, namespace: str, tmp_path: Path) -> None:
    clock = Clock(datetime.now(UTC))
    async with api(kube_cluster) as made:
        sources = [ClusterSource(made, namespace, tmp_path, POLICY, clock) for _ in range(3)]
        old = await sources[0].read()
        clock.pass_by(timedelta(days=81))
        staged = await asyncio.gather(*(each.read() for each in sources))
        assert all(each == staged[0] for each in staged)
        assert (staged[0].certificate, len(staged[0].roots)) == (old.certificate, 2)
        clock.pass_by(timedelta(days=1))
        renewed = await asyncio.gather(*(each.read() for each in sources))
        assert all(each == renewed[0] for each in renewed)
        assert renewed[0].certificate == staged[0].roots[1]
        assert renewed[0].certificate.public_key() == old.certificate.public_key()


async def test_the_order_of_sources(kube_cluster: ApiServer, namespace: str, tmp_path: Path) -> None:
    of_files, of_secret = root("files"), root("secret")
    async with api(kube_cluster) as made:
        source = ClusterSource(made, namespace, tmp_path, POLICY)
        own = await source.read()
        assert own.certificate.subject.rfc4514_string() == "O=cluster.local"
        intermediate = of_secret.signs("of secret")
        plug_in(kube_cluster, namespace, dict(cacerts(intermediate, [of_secret], [of_secret])))
        issuer = await source.read()
        assert (issuer.certificate, issuer.chain) == (intermediate.certificate, (intermediate.certificate,))
        plug_in(kube_cluster, namespace, {"istio-generated": b""} | dict(cacerts(of_secret, [], [of_secret])))
        assert await source.read() == own
        for name, content in cacerts(of_files, [], [of_files]).items():
            (tmp_path / name).write_bytes(content)
        assert (await source.read()).certificate == of_files.certificate


async def test_a_plugged_in_secret_that_is_wrong_is_named(
    kube_cluster: ApiServer, namespace: str, tmp_path: Path
) -> None:
    plug_in(kube_cluster, namespace, {"ca-cert.pem": root("half").pem})
    async with api(kube_cluster) as made:
        with pytest.raises(InvalidIssuerError, match=f"Secret {namespace}/cacerts: incomplete: has ca-cert.pem"):
            await ClusterSource(made, namespace, tmp_path, POLICY).read()


async def test_a_missing_right_is_named(kube_cluster: ApiServer, namespace: str, tmp_path: Path) -> None:
    own = kube_cluster.kubectl("create", "token", "default", "-n", namespace).strip()
    async with api(kube_cluster, kube_cluster.write_kubeconfig(tmp_path / "poor", own)) as made:
        with pytest.raises(SourceUnavailableError, match=f"cannot get Secret cacerts in namespace {namespace}: 403"):
            await ClusterSource(made, namespace, tmp_path / "none", POLICY).read()


async def replica(made: client.ApiClient, namespace: str, folder: Path) -> tuple[Authority, Rotator]:
    """Start as a new process does."""
    source, memory = ClusterSource(made, namespace, folder, POLICY), ClusterMemory(made, namespace)
    authority = await open_authority(source, Lifetimes(), memory)
    serving = ServingTls(SignedHere(authority, lambda: serving_names(namespace)))
    return authority, Rotator(source, authority, serving, timedelta(minutes=1), memory)


async def test_a_root_that_is_replaced_with_a_restart_is_trusted_before_it_signs(
    kube_cluster: ApiServer, namespace: str, tmp_path: Path
) -> None:
    plugged_in = root("plugged in")
    async with api(kube_cluster) as made:
        old, _ = await replica(made, namespace, tmp_path)
        plug_in(kube_cluster, namespace, dict(cacerts(plugged_in, [], [plugged_in])))
        kube_cluster.kubectl("delete", "secret", "istio-ca-secret", "-n", namespace)  # its key is nowhere else
        started = [await replica(made, namespace, tmp_path) for _ in range(2)]
        for authority, rotator in started:
            await rotator.once()
            assert not rotator.problem
            assert authority.issuer.certificate == old.issuer.certificate
            assert authority.roots == (old.issuer.certificate, plugged_in.certificate)
            assert authority.sign_csr(csr(KEY), ["a"], None)[-1] == authority.bundle
        held = secret(kube_cluster, namespace, "istio-ca-handover")
        trust = json.loads(held["trust.json"])
        trust["since"] = [entry | {"at": "2020-01-01T00:00:00+00:00"} for entry in trust["since"]]
        text = base64.b64encode(json.dumps(trust).encode()).decode()
        patch = json.dumps({"data": {"trust.json": text}})
        kube_cluster.kubectl("patch", "secret", "istio-ca-handover", "-n", namespace, "-p", patch)  # a day passes
        for authority, rotator in started:
            await rotator.once()
            assert not rotator.problem
            assert authority.issuer.certificate == plugged_in.certificate
            assert set(authority.roots) == {old.issuer.certificate, plugged_in.certificate}
        version = ["get", "secret", "istio-ca-handover", "-n", namespace, "-o", "jsonpath={.metadata.resourceVersion}"]
        written = kube_cluster.kubectl(*version)
        third, rotator = await replica(made, namespace, tmp_path)
        await rotator.once()
        assert third.issuer.certificate == plugged_in.certificate
        assert old.issuer.certificate in third.roots
        assert kube_cluster.kubectl(*version) == written  # nothing new, no write


async def test_a_handover_that_is_nonsense_is_written_anew(
    kube_cluster: ApiServer, namespace: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with api(kube_cluster) as made:
        authority, _ = await replica(made, namespace, tmp_path)
        patch = json.dumps({"data": {"ca-key.pem": base64.b64encode(b"nonsense").decode()}})
        kube_cluster.kubectl("patch", "secret", "istio-ca-handover", "-n", namespace, "-p", patch)
        again, rotator = await replica(made, namespace, tmp_path)
        await rotator.once()
        assert again.issuer == authority.issuer
        assert capsys.readouterr().out.count("security.handover_unusable") == 1
        assert b"nonsense" not in secret(kube_cluster, namespace, "istio-ca-handover")["ca-key.pem"]


# Leader election

LASTING = LeaseTimes(timedelta(hours=1), timedelta(minutes=30), timedelta(seconds=0.3))
"""A lease that does not run out while a test waits."""


class Candidate:
    """One replica that notes whether it works."""

    def __init__(self, made: client.ApiClient, namespace: str, name: str, times: LeaseTimes = LASTING) -> None:
        self.working = False
        self.leadership = Leadership(made, (namespace, "test-leader"), name, self._work, times)
        self.task = asyncio.create_task(self.leadership.run())

    async def _work(self) -> None:
        self.working = True
        try:
            await asyncio.Event().wait()
        finally:
            self.working = False

    async def stop(self) -> None:
        self.task.cancel()
        with suppress(asyncio.CancelledError):
            await self.task


def lease(cluster: ApiServer, namespace: str) -> dict[str, Any]:
    text = cluster.kubectl("get", "lease", "test-leader", "-n", namespace, "-o", "json")
    spec: dict[str, Any] = json.loads(text)["spec"]
    return spec


async def test_one_leads_and_hands_over_when_it_stops(kube_cluster: ApiServer, namespace: str) -> None:
    async with api(kube_cluster) as made:
        first = Candidate(made, namespace, "istiod-1")
        await until(lambda: first.working)
        second = Candidate(made, namespace, "istiod-2")
        for _ in range(3):
            before = lease(kube_cluster, namespace)["renewTime"]
            await until(lambda before=before: lease(kube_cluster, namespace)["renewTime"] != before)  # type: ignore[misc]
        assert (first.working, second.working) == (True, False)
        spec = lease(kube_cluster, namespace)
        assert (spec["holderIdentity"], spec["leaseDurationSeconds"]) == ("istiod-1", 3600)
        age = datetime.now(UTC) - datetime.fromisoformat(spec["renewTime"])
        assert abs(age) < timedelta(minutes=2)
        await first.stop()
        assert not first.working
        await until(lambda: second.working)  # given back, not run out
        assert lease(kube_cluster, namespace)["leaseTransitions"] == 1
        await second.stop()


async def test_the_lease_of_one_that_was_killed_runs_out(kube_cluster: ApiServer, namespace: str) -> None:
    dead = {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": "test-leader", "namespace": namespace},
        "spec": {"holderIdentity": "istiod-0", "leaseDurationSeconds": 2, "renewTime": "2099-01-01T00:00:00.000000Z"},
    }
    kube_cluster.kubectl("apply", "-f", "-", text=json.dumps(dead))
    async with api(kube_cluster) as made:
        begun = time.monotonic()
        heir = Candidate(made, namespace, "istiod-1")
        await until(lambda: heir.working)
        assert time.monotonic() - begun > 1.9
        await heir.stop()


async def test_a_leader_that_cannot_renew_stops_before_its_lease_runs_out(own_kube_cluster: ApiServer) -> None:
    async with api(own_kube_cluster) as made:
        leader = Candidate(made, "default", "istiod-1", replace(LASTING, deadline=timedelta(seconds=3)))
        await until(lambda: leader.working)
        own_kube_cluster.api.stop()
        await until(lambda: not leader.working)
        own_kube_cluster.api.start()
        await asyncio.to_thread(own_kube_cluster.wait_ready)
        await until(lambda: leader.working)
        await leader.stop()


# Root certificates


def bundle_in(cluster: ApiServer, namespace: str) -> str:
    template = r"jsonpath={.data.root-cert\.pem}"
    return cluster.kubectl("get", "cm", CONFIG_MAP, "-n", namespace, "--ignore-not-found", "-o", template)


async def test_lists_of_revoked_certificates_are_in_each_namespace_while_there_are_any(
    own_kube_cluster: ApiServer,
) -> None:
    cluster, lists = own_kube_cluster, [""]
    cluster.kubectl("create", "namespace", "istio-system")
    cluster.kubectl("create", "namespace", "shop")

    def shown() -> list[str]:
        found = json.loads(cluster.kubectl("get", "cm", "-A", "-o", "json"))["items"]
        return sorted(
            f"{each['metadata']['namespace']}: {each['data']['ca-crl.pem']}"
            for each in found
            if each["metadata"]["name"] == "revoked" and each["metadata"]["namespace"] in {"shop", "istio-system"}
        )

    async with api(cluster) as made:
        roots = RootCertificates(made, "istio-system", lambda: "roots", signals=no_signals)
        revoked = RevokedCertificates(made, "istio-system", lambda: lists[0], signals=no_signals, name="revoked")
        task = asyncio.create_task(keep_all((roots, revoked)))
        await until(lambda: bundle_in(cluster, "shop") == "roots")
        assert shown() == []
        lists[0] = "first"
        revoked.changed()
        await until(lambda: shown() == ["istio-system: first", "shop: first"])
        lists[0] = ""
        revoked.changed()
        await until(lambda: shown() == ["istio-system: ", "shop: "])
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_every_namespace_has_the_root_and_keeps_it(own_kube_cluster: ApiServer) -> None:
    cluster, bundle = own_kube_cluster, ["first"]

    def has(namespace: str, expected: str) -> Callable[[], bool]:
        return lambda: bundle_in(cluster, namespace) == expected

    cluster.kubectl("create", "namespace", "istio-system")
    cluster.kubectl("create", "namespace", "apart")
    cluster.kubectl("label", "namespace", "apart", "mesh=none")
    async with api(cluster) as made:
        writer = RootCertificates(
            made, "istio-system", lambda: bundle[0], lambda labels: labels.get("mesh") != "none", signals=no_signals
        )
        task = asyncio.create_task(writer.run())
        for namespace in ("default", "kube-system", "istio-system"):
            await until(has(namespace, "first"))
        for namespace in ("kube-public", "kube-node-lease", "apart"):
            assert not bundle_in(cluster, namespace)
        obj = json.loads(cluster.kubectl("get", "cm", CONFIG_MAP, "-o", "json"))
        assert obj["metadata"]["labels"] == {"istio.io/config": "true"}
        assert [each["kind"] for each in obj["metadata"]["ownerReferences"]] == ["Namespace"]

        cluster.kubectl("create", "namespace", "late")
        await until(has("late", "first"))
        cluster.kubectl("delete", "cm", CONFIG_MAP)
        await until(has("default", "first"))
        cluster.kubectl("patch", "cm", CONFIG_MAP, "-p", '{"data": {"root-cert.pem": "forged", "other": "kept"}}')
        await until(has("default", "first"))
        cluster.kubectl("label", "namespace", "apart", "mesh-")
        await until(has("apart", "first"))
        writes = writer.writes
        cluster.kubectl("annotate", "namespace", "late", "a=b")
        cluster.kubectl("annotate", "cm", CONFIG_MAP, "a=b")
        writer.changed()
        await asyncio.sleep(1)
        assert writer.writes == writes  # what is right is not written
        bundle[0] = "second"
        writer.changed()
        for namespace in ("default", "kube-system", "late", "apart"):
            await until(has(namespace, "second"))
        assert "kept" in cluster.kubectl("get", "cm", CONFIG_MAP, "-o", "json")

        cluster.api.stop()
        bundle[0] = "third"
        writer.changed()
        cluster.api.start()
        await asyncio.to_thread(cluster.wait_ready)
        await until(has("late", "third"))
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
