"""The condition ``Reconciled`` at a real API server, written by what reads it there."""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from kubernetes.aio import config
from kubernetes.aio.client import ApiClient, CoreV1Api, CustomObjectsApi

from controlplane.analysis.findings import findings
from controlplane.apis.authorization_policy import Rule
from controlplane.apis.closing.stand_ins import CLOSING
from controlplane.apis.kinds import KINDS
from controlplane.controllers.conditions import WRITTEN_KINDS, Conditions, Inputs
from controlplane.controllers.leader import STATUS, Leadership, LeaseTimes
from controlplane.controllers.status_writer import Counts, Pace
from controlplane.documents.key_sets import key_set_problem
from controlplane.frontends import FRONTENDS
from controlplane.model import kinds
from controlplane.model.objects import ChangeSet, ObjectKey
from controlplane.model.status import Received, Written
from controlplane.registry.store import Registry
from controlplane.watchers.kubernetes.source import ClusterOptions, KubernetesSource
from controlplane.wiring.secrets import Secrets
from tests.apis.rule_tables import GOOD
from tests.cluster.api_server import ApiServer
from tests.feature.key_pairs import DAY, Issuer, Pair, tls_secret
from tests.kubernetes import rights
from tests.kubernetes.rights import Right
from tests.patience import PATIENCE_SECONDS, patience, until
from tests.watchers.kubernetes.following import FAST

ROOT = Path(__file__).parents[2]
SYSTEM, ACCOUNT = "istio-system", "istiod"
QUICK = Pace(scan=0.05, first_pause=0.05, longest_pause=0.2)
SETTLED_SECONDS = 0.5
TIMEOUT_SECONDS = PATIENCE_SECONDS
TIMES = LeaseTimes(timedelta(seconds=6), timedelta(seconds=3), timedelta(seconds=0.5))


@pytest.fixture(scope="module")
def cluster(kube_binaries: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:  # noqa: ARG001
    """An API server of this module's own with everything of ``deploy/``, and an audit log."""
    folder = tmp_path_factory.mktemp("kube")
    server = ApiServer(folder, options=rights.audit_options(folder))
    try:
        server.start()
        server.kubectl("apply", "-k", str(ROOT / "deploy"))
        server.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=120s")
        yield server
    finally:
        server.stop()


@pytest.fixture
async def shop(cluster: ApiServer) -> AsyncIterator[Shop]:
    """A namespace of the module's API server."""
    name = f"shop-{secrets.token_hex(3)}"
    async with await config.new_client_from_config(str(cluster.kubeconfig)) as client:
        namespaces = CoreV1Api(client)
        await namespaces.create_namespace({"metadata": {"name": name}})
        ports = [{"name": "http", "port": 80}]  # routes lead there; one that leads nowhere has another condition
        await namespaces.create_namespaced_service(name, {"metadata": {"name": "cart"}, "spec": {"ports": ports}})
        yield Shop(client, name)
        await namespaces.delete_namespace(name)


class Leader:
    """What the program is, as far as conditions are concerned: a source, a registry and the writer of conditions."""

    def __init__(self, source: KubernetesSource, client: ApiClient, pace: Pace, changed: asyncio.Event) -> None:
        self.source = source
        self.changed = changed
        self.registry = Registry(frontends=FRONTENDS)
        self.registry.memo.keep(findings, ())
        self.secrets = Secrets(self.registry, self.apply, source)
        self.batches: list[ChangeSet] = []
        self.meanwhile: list[Callable[[], object]] = []
        """What happens, one at a time, before the writer looks at an object that it is about to write."""
        self.conditions = Conditions(
            client,
            Inputs(
                received=source.received,
                find=self._find,
                in_force=self.registry.objects.get,
                findings=lambda: self.registry.memo.get(findings, ()) or (),
                changed=changed,
            ),
            pace,
        )

    @property
    def counts(self) -> Counts:
        """What the writer did."""
        return self.conditions.counts

    def _find(self, key: ObjectKey) -> Received | None:
        found = self.source.find(key)
        if self.meanwhile:
            self.meanwhile.pop(0)()
        return found

    def apply(self, changes: ChangeSet) -> None:
        self.registry.memo.invalidate(self.registry.apply(self.secrets.checked(changes)))
        self.secrets.changed()
        self.source.statuses.send()

    async def follow(self) -> None:
        """Put changes in force for ever."""
        async for changes in self.source.changes():
            self.batches.append(changes)
            self.apply(changes)

    async def settled(self, written: int = 0) -> None:
        """Wait until so much has been written, and then nothing for a while."""
        await until(lambda: self.counts.written >= written, f"{written} were written")
        async with patience():
            before = -1
            while before != self.counts.written or self.changed.is_set():
                before = self.counts.written
                await asyncio.sleep(SETTLED_SECONDS)


@asynccontextmanager
async def leading(
    cluster: ApiServer, namespace: str, folder: Path, pace: Pace = QUICK, identity: str = ""
) -> AsyncIterator[Leader]:
    """Run the conditions of one namespace with the rights of the control plane's service account.

    With an ``identity`` it is a candidate for the lease, which writes only while it has it.
    """
    token = await asyncio.to_thread(cluster.kubectl, "-n", SYSTEM, "create", "token", ACCOUNT)
    path = str(cluster.write_kubeconfig(folder / "kubeconfig", token.strip()))
    source = KubernetesSource(ClusterOptions(kubeconfig=path, namespaces=(namespace,)), FAST)
    async with await config.new_client_from_config(path) as client:
        with source.statuses.subscribe() as changed:
            leader = Leader(source, client, pace, changed)
            async with patience():
                leader.apply(await source.load())
            work = leader.conditions.run
            if identity:
                work = Leadership(client, (SYSTEM, STATUS), identity, work, TIMES).run
            tasks = [asyncio.create_task(each()) for each in (leader.follow, work)]
            try:
                yield leader
                assert not any(task.done() for task in tasks)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                await source.close()


class Shop:
    """A namespace, and somebody with every right in it."""

    def __init__(self, client: ApiClient, namespace: str) -> None:
        self.namespace = namespace
        self._objects = CustomObjectsApi(client)
        self._client = client

    async def apply(self, kind: str, name: str, spec: Any, **metadata: Any) -> None:
        """Create an object, or replace its spec."""
        obj = {"apiVersion": f"{KINDS[kind].group}/{KINDS[kind].versions[0]}", "kind": kind, "spec": spec}
        await self._objects.patch_namespaced_custom_object(
            *self._place(kind, name),
            obj | {"metadata": {"name": name, **metadata}},
            field_manager="somebody",
            force=True,
            _content_type="application/apply-patch+yaml",
        )

    async def route(self, name: str, hosts: Sequence[str] = ("cart",), destination: Any = None) -> None:
        """Apply a VirtualService."""
        rule = {"route": [{"destination": destination or {"host": "cart"}}]}
        await self.apply("VirtualService", name, {"hosts": list(hosts), "http": [rule]})

    async def delete(self, name: str) -> None:
        await self._objects.delete_namespaced_custom_object(*self._place("VirtualService", name))

    async def status(self, name: str, kind: str = "VirtualService") -> Any:
        return (await self._objects.get_namespaced_custom_object(*self._place(kind, name))).get("status", {})

    async def put_secret(self, made: dict[str, Any]) -> None:
        """Create a Secret in this namespace, or replace it."""
        await CoreV1Api(self._client).patch_namespaced_secret(
            made["metadata"]["name"],
            self.namespace,
            made | {"metadata": {"name": made["metadata"]["name"]}},
            field_manager="somebody",
            force=True,
            _content_type="application/apply-patch+yaml",
        )

    async def write_status(self, **status: Any) -> None:
        """Write a status as another controller would."""
        await self._objects.patch_namespaced_custom_object_status(
            *self._place("VirtualService", "cart"), {"status": status}, _content_type="application/merge-patch+json"
        )

    def add_condition(self, cluster: ApiServer, condition: Any) -> None:
        """Add a condition as another controller would; return when it is stored, and let nothing happen until then."""
        patch = json.dumps([{"op": "add", "path": "/status/conditions/-", "value": condition}])
        where = ("-n", self.namespace, "virtualservice/cart")
        cluster.kubectl("patch", *where, "--subresource=status", "--type=json", "--patch", patch)

    async def until(self, name: str, reason: str, kind: str = "VirtualService", saying: str = "") -> Any:
        """Wait for our condition with a reason, or (empty) with any, that has these words; return it."""
        end = time.monotonic() + TIMEOUT_SECONDS
        while True:
            held = (await self.status(name, kind)).get("conditions", [])
            for each in held:
                if each["type"] == "Reconciled" and reason in ("", each["reason"]) and saying in each["message"]:
                    return each
            if time.monotonic() > end:
                pytest.fail(f"{kind} {name} is not {reason}: {held}")
            await asyncio.sleep(0.05)

    async def resource_versions(self) -> dict[str, str]:
        listed = await self._objects.list_namespaced_custom_object(*self._place("VirtualService", "")[:-1])
        return {obj["metadata"]["name"]: obj["metadata"]["resourceVersion"] for obj in listed["items"]}

    def _place(self, kind: str, name: str) -> tuple[str, str, str, str, str]:
        return KINDS[kind].group, KINDS[kind].versions[0], self.namespace, KINDS[kind].plural, name


async def test_accepted_rejected_and_fixed(cluster: ApiServer, shop: Shop, tmp_path: Path) -> None:
    await shop.route("cart")
    async with leading(cluster, shop.namespace, tmp_path) as leader:
        first = await shop.until("cart", "Accepted")
        assert (first["status"], first["observedGeneration"]) == ("True", 1)
        await shop.route("cart", destination={"host": "*"})
        bad = await shop.until("cart", "Rejected")
        assert (bad["status"], bad["observedGeneration"]) == ("False", 2)
        assert "spec.http[0].route[0].destination.host" in bad["message"]
        assert bad["message"].endswith("; the version before it stays in force")
        assert (await shop.status("cart"))["observedGeneration"] == 2
        await shop.route("cart", hosts=["cart", "basket"])
        good = await shop.until("cart", "Accepted")
        assert (good["status"], good["observedGeneration"]) == ("True", 3)
        await leader.settled(3)
        assert leader.counts.written == 3


async def test_what_is_in_force_of_a_policy_that_cannot_be_read(cluster: ApiServer, shop: Shop, tmp_path: Path) -> None:
    """The API server takes a range of ports; it is for a webhook to refuse it."""
    rules = [{"to": [{"operation": {"ports": ["80-90"]}}]}]
    await shop.apply("AuthorizationPolicy", "guard", {"action": "DENY", "rules": rules})
    async with leading(cluster, shop.namespace, tmp_path) as leader:
        bad = await shop.until("guard", "Rejected", "AuthorizationPolicy")
        assert bad["status"] == "False"
        assert "spec.rules[0].to[0].operation.ports[0]: '80-90' is not a port number" in bad["message"]
        assert bad["message"].endswith(CLOSING["AuthorizationPolicy"].note)
        (found,) = [obj for obj in leader.registry.objects.values() if obj.kind == kinds.AUTHORIZATION_POLICY]
        assert found.spec.rules == (Rule(),), "everything is denied"


async def test_tokens_of_a_policy_that_cannot_be_read_are_refused(
    cluster: ApiServer, shop: Shop, tmp_path: Path
) -> None:
    """The API server takes any text for a key set. Of PeerAuthentications it takes none that cannot be read."""
    await shop.apply("RequestAuthentication", "guard", {"jwtRules": [{"issuer": "x", "jwks": "{}"}]})
    async with leading(cluster, shop.namespace, tmp_path) as leader:
        bad = await shop.until("guard", "Rejected", "RequestAuthentication")
        assert "spec.jwtRules[0].jwks: is not a JSON web key set" in bad["message"]
        assert bad["message"].endswith(CLOSING["RequestAuthentication"].note)
        (found,) = [obj for obj in leader.registry.objects.values() if obj.kind == kinds.REQUEST_AUTHENTICATION]
        assert all(key_set_problem(rule.jwks) for rule in found.spec.jwt_rules), "no key is believed"


def edge() -> dict[str, Any]:
    """Return a Gateway whose server's pair is in the Secret ``web``."""
    tls = {"mode": "SIMPLE", "credentialName": "web"}
    server = {"port": {"number": 443, "name": "https", "protocol": "HTTPS"}, "hosts": ["web.test"], "tls": tls}
    return {"selector": {"istio": "edge"}, "servers": [server]}


async def test_a_server_without_its_secret_says_so(cluster: ApiServer, shop: Shop, tmp_path: Path) -> None:
    await shop.apply("Gateway", "edge", edge())
    async with leading(cluster, shop.namespace, tmp_path):
        said = await shop.until("edge", "", "Gateway")
        assert "spec.servers[0].tls.credentialName: there is no Secret web" in said["message"], said


async def test_a_server_says_what_is_wrong_with_its_pair(cluster: ApiServer, shop: Shop, tmp_path: Path) -> None:
    """Each pair that is no good, one after the other; a good one is in order, and stays when the next is none."""
    issuer = Issuer()
    good, other = issuer.pair("web.test"), issuer.pair("web.test")
    no_good = {
        "data.tls.crt: holds no certificate (PEM)": Pair(b"no certificate", good.key),
        "data.tls.key: holds no private key (PEM)": Pair(good.certificate, b"no key"),
        "data.tls.key: is not the key of the certificate in tls.crt": Pair(good.certificate, other.key),
        "the certificate ended at": issuer.pair("web.test", ago=3 * DAY, lasts=DAY),
        "the certificate begins at": issuer.pair("web.test", ago=-DAY),
    }
    await shop.apply("Gateway", "edge", edge())
    async with leading(cluster, shop.namespace, tmp_path):
        for kept in ("", "; the last good pair stays"):
            for reason, pair in no_good.items():
                await shop.put_secret(tls_secret("web", pair))
                said = await shop.until("edge", "Warning", "Gateway", saying=reason)
                assert said["status"] == "True"
                where = f"spec.servers[0].tls.credentialName: Secret {shop.namespace}/web: {reason}"
                assert where in said["message"]
                assert kept in said["message"]
            if not kept:
                await shop.put_secret(tls_secret("web", good))
                await shop.until("edge", "Accepted", "Gateway")


async def test_a_conflict_says_who_won(cluster: ApiServer, shop: Shop, tmp_path: Path) -> None:
    await shop.route("older")
    await asyncio.sleep(1.1)  # ages are compared in whole seconds
    await shop.route("newer")
    async with leading(cluster, shop.namespace, tmp_path):
        lost = await shop.until("newer", "Conflict")
        assert lost["status"] == "False"
        assert (
            f"spec.hosts[0]: VirtualService {shop.namespace}/older has cart.{shop.namespace}.svc.cluster.local too"
            in lost["message"]
        )
        assert (await shop.until("older", "Accepted"))["status"] == "True"
        await shop.delete("older")
        assert (await shop.until("newer", "Accepted"))["status"] == "True"


async def test_what_only_requests_meet_is_a_warning(cluster: ApiServer, shop: Shop, tmp_path: Path) -> None:
    await shop.route("cart", destination={"host": "cart", "subset": "v1"})
    async with leading(cluster, shop.namespace, tmp_path):
        said = await shop.until("cart", "Warning")
        assert said["status"] == "True"
        assert said["message"].startswith("spec.http[0].route[0].destination.subset: no DestinationRule")


async def test_what_somebody_else_wrote_stays(cluster: ApiServer, shop: Shop, tmp_path: Path) -> None:
    """Also when it is written while ours is, again and again, by one that does not look what it overwrites."""
    theirs = {"type": "Healthy", "status": "True", "message": "0", "lastProbeTime": "2026-01-01T00:00:00Z"}
    await shop.route("cart")
    await shop.write_status(conditions=[theirs], validationMessages=[{"level": "INFO"}])
    async with leading(cluster, shop.namespace, tmp_path) as leader:
        await shop.until("cart", "Accepted")
        held = await shop.status("cart")
        assert held["conditions"][0] == theirs
        assert held["validationMessages"] == [{"level": "INFO"}]
        for number in range(1, 9):
            await shop.route("cart", hosts=["cart", f"x{number}.test"])
            held = await shop.status("cart")
            held["conditions"][0]["message"] = str(number)
            await shop.write_status(conditions=held["conditions"])
        async with patience():
            while observed(held) != [9, 9]:
                await asyncio.sleep(0.05)
                held = await shop.status("cart")
        await leader.settled()
        held = await shop.status("cart")
        assert observed(held) == [9, 9]
        assert held["conditions"][0] == theirs | {"message": "8"}
        assert [each["type"] for each in held["conditions"]] == ["Healthy", "Reconciled"]


@pytest.mark.parametrize(("destination", "said"), [({"host": "cart"}, "Accepted"), ({"host": "*"}, "Rejected")])
async def test_a_write_that_comes_too_late_is_made_again(
    cluster: ApiServer, shop: Shop, tmp_path: Path, destination: Any, said: str
) -> None:
    """Although the version that was faster says nothing new of what is ours."""
    theirs = {"type": "Healthy", "status": "True"}
    await shop.route("cart", destination=destination)
    async with leading(cluster, shop.namespace, tmp_path) as leader:
        await shop.until("cart", said)
        await leader.settled()
        leader.meanwhile = [partial(shop.add_condition, cluster, theirs | {"message": str(turn)}) for turn in range(3)]
        await shop.route("cart", hosts=["cart", "x.test"], destination=destination)
        await until(lambda: leader.counts.written == 2)
        await leader.settled()
        assert leader.counts == Counts(written=2, conflicts=3)
        held = await shop.status("cart")
        assert observed(held) == [2, 2]
        assert held["conditions"][1:] == [theirs | {"message": str(turn)} for turn in range(3)]


async def test_what_is_refused_for_the_same_again_has_its_generation(
    cluster: ApiServer, shop: Shop, tmp_path: Path
) -> None:
    await shop.route("cart", destination={"host": "*"})
    async with leading(cluster, shop.namespace, tmp_path) as leader:
        await shop.until("cart", "Rejected")
        await leader.settled()
        await shop.route("cart", hosts=["basket"], destination={"host": "*"})
        await until(lambda: leader.counts.written == 2)
        assert observed(await shop.status("cart")) == [2, 2]


async def test_ours_is_put_back_where_somebody_takes_it_away(cluster: ApiServer, shop: Shop, tmp_path: Path) -> None:
    await shop.route("cart")
    async with leading(cluster, shop.namespace, tmp_path):
        await shop.until("cart", "Accepted")
        await shop.write_status(conditions=[])
        await shop.until("cart", "Accepted")


async def test_nothing_is_written_where_nothing_changes(cluster: ApiServer, shop: Shop, tmp_path: Path) -> None:
    """Not by us after a restart, nor because somebody's labels or conditions are others."""
    for name in ("cart", "basket"):
        await shop.route(name, hosts=[name])
    async with leading(cluster, shop.namespace, tmp_path) as leader:
        await shop.until("cart", "Accepted")
        await shop.until("basket", "Accepted")
        await leader.settled(2)
        assert leader.counts.written == 2
    before, versions = await patches(cluster), await shop.resource_versions()
    async with leading(cluster, shop.namespace, tmp_path) as leader:
        await leader.settled()
        assert leader.counts.written == 0
        assert await shop.resource_versions() == versions
        assert await patches(cluster) == before
        spec = {"hosts": ["cart"], "http": [{"route": [{"destination": {"host": "cart"}}]}]}
        await shop.apply("VirtualService", "cart", spec, labels={"a": "b"})
        await leader.settled()
        assert await patches(cluster) == before
        assert leader.counts.written == 0


async def test_our_writes_change_no_object(cluster: ApiServer, shop: Shop, tmp_path: Path) -> None:
    """What comes back through the watch makes no change set, so nothing is compiled, a WorkloadEntry's neither."""
    every = [(kind, GOOD[kind][0]) for kind in sorted(kind.name for kind in WRITTEN_KINDS)]
    for kind, spec in every:
        await shop.apply(kind, kind.lower(), spec)
    async with leading(cluster, shop.namespace, tmp_path) as leader:
        for kind, _ in every:
            await shop.until(kind.lower(), "", kind=kind)
        await leader.settled(len(every))
        assert leader.counts.written == len(every)
        assert leader.batches == []
        assert leader.counts.conflicts == leader.counts.refused == 0


async def test_five_hundred_at_once_stay_within_the_rate(cluster: ApiServer, shop: Shop, tmp_path: Path) -> None:
    pace = Pace(per_second=30, burst=15, scan=0.2)
    await asyncio.gather(*(shop.route(f"v{number}", hosts=[f"v{number}.test"]) for number in range(500)))
    before = await patches(cluster)
    async with leading(cluster, shop.namespace, tmp_path, pace) as leader:
        begun = time.monotonic()
        counts: list[tuple[float, int]] = []
        while leader.counts.written < 500:
            assert time.monotonic() < begun + 3 * PATIENCE_SECONDS
            counts.append((time.monotonic(), leader.counts.written))
            await asyncio.sleep(0.1)
        assert time.monotonic() - begun > (500 - pace.burst) / pace.per_second - 1
        for at, written in counts:
            later = [number - written for since, number in counts if at < since <= at + 1.0]
            assert max(later, default=0) <= pace.per_second + pace.burst + 1
        await leader.settled(500)
        assert leader.counts.written == 500
        assert leader.counts.conflicts == 0
    assert await patches(cluster) == before + 500


async def test_an_object_that_went_or_changed_is_no_error(cluster: ApiServer, shop: Shop, tmp_path: Path) -> None:
    """The writer learns of it from the API server, before the watch tells; it waits for that, and tries once."""
    keys = {name: ObjectKey(kinds.VIRTUAL_SERVICE, shop.namespace, name) for name in ("gone", "changed")}
    for name in keys:
        await shop.route(name, hosts=[name])
    async with leading(cluster, shop.namespace, tmp_path) as leader:
        await leader.settled(len(keys))
        stale = {key: replace(found, written=Written()) for key in keys.values() if (found := leader.source.find(key))}
        known = dict(leader.registry.objects)
    await shop.delete("gone")
    await shop.route("changed", hosts=["changed", "more"])
    changed = asyncio.Event()
    inputs = Inputs(stale.values, stale.get, known.get, tuple, changed)
    async with await config.new_client_from_config(str(tmp_path / "kubeconfig")) as client:
        writer = Conditions(client, inputs, QUICK)
        running = asyncio.create_task(writer.run())
        for _ in range(3):
            await asyncio.sleep(SETTLED_SECONDS)
            changed.set()
        assert not running.done()
        running.cancel()
    assert writer.counts == Counts(gone=1, conflicts=1)


async def test_only_the_leader_writes_and_the_next_one_goes_on(cluster: ApiServer, shop: Shop, tmp_path: Path) -> None:
    await shop.route("cart")
    async with leading(cluster, shop.namespace, tmp_path, identity="second") as second:
        async with leading(cluster, shop.namespace, tmp_path, identity="first") as first:
            await shop.until("cart", "Accepted")
            await until(lambda: first.counts.written + second.counts.written > 0)
            await second.settled()
            leader, other = (first, second) if first.counts.written else (second, first)
            assert (leader.counts.written, other.counts.written) == (1, 0)
            await shop.route("cart", hosts=["cart", "more"])
            await until(lambda: leader.counts.written == 2)
            await leader.settled()
            assert other.counts.written == 0
        await shop.route("cart", destination={"host": "*"})
        assert (await shop.until("cart", "Rejected"))["observedGeneration"] == 3
        await until(lambda: first.counts.written + second.counts.written >= 3)
        await second.settled()
        assert first.counts.written + second.counts.written == 3
        assert second.counts.written > 0


async def test_only_the_rights_that_are_granted_are_used(cluster: ApiServer, shop: Shop, tmp_path: Path) -> None:
    """After one object of each kind, nothing was refused, and the right to patch each status was used."""
    for kind in sorted(kind.name for kind in WRITTEN_KINDS):
        await shop.apply(kind, kind.lower(), GOOD[kind][0])
    async with leading(cluster, shop.namespace, tmp_path) as leader:
        for kind in sorted(kind.name for kind in WRITTEN_KINDS):
            await shop.until(kind.lower(), "", kind=kind)
        await leader.settled()
    wanted = {Right("patch", kind.group, f"{KINDS[kind.name].plural}/status") for kind in WRITTEN_KINDS}
    granted = {right for right in rights.granted(cluster, SYSTEM, ACCOUNT) if right.resource.endswith("/status")}
    assert granted - {Right("patch", "networking.k8s.io", "ingresses/status")} == wanted
    assert not {right for right in rights.refused(cluster, SYSTEM, ACCOUNT) if right.resource.endswith("/status")}
    assert not wanted & rights.unused(cluster, SYSTEM, ACCOUNT)


def observed(status: Any) -> list[Any]:
    """Return the generations that a status and our condition in it are about."""
    ours = [each.get("observedGeneration") for each in status["conditions"] if each["type"] == "Reconciled"]
    return [status.get("observedGeneration"), *ours]


async def patches(cluster: ApiServer) -> int:
    """Return how many patches of VirtualServices and their status the API server has had; ``apply`` is no patch."""
    text = await asyncio.to_thread(cluster.kubectl, "get", "--raw", "/metrics")
    lines = [line for line in text.splitlines() if line.startswith("apiserver_request_total{")]
    ours = [line for line in lines if 'resource="virtualservices"' in line and 'verb="PATCH"' in line]
    return sum(int(float(re.split(r"\s+", line)[-1])) for line in ours)
