"""The roots of the mesh as proxies are sent them: every proxy the same ones, anew when one is another."""

from __future__ import annotations

from controlplane.agent import trust_bundle as agent
from controlplane.compiler.compiler import Compiler
from controlplane.model.objects import ChangeSet
from controlplane.registry.store import Registry
from controlplane.registry.trust_bundle import trust_bundle
from controlplane.snapshots import ResourceType
from tests.security.authorities import root
from tests.translate.test_proxy_settings import proxy

OLD, NEW = (root(name).pem.decode() for name in ("old", "new"))


async def test_the_roots_follow_the_object_that_holds_them() -> None:
    """Without it there is no resource; the agent of ours reads what the translator wrote."""
    compiler = Compiler(Registry())
    await compiler.apply(ChangeSet())
    session = await compiler.open(proxy(), lambda: None)
    assert not session.snapshot.of(ResourceType.TRUST_BUNDLE)
    await compiler.apply(ChangeSet(upserts=(trust_bundle([OLD]),)))
    first = session.snapshot.of(ResourceType.TRUST_BUNDLE)[""]
    assert list(agent.roots(first.body)) == [OLD]
    built = compiler.builds
    await compiler.apply(ChangeSet(upserts=(trust_bundle([NEW, OLD, NEW]),)))
    second = session.snapshot.of(ResourceType.TRUST_BUNDLE)[""]
    assert list(agent.roots(second.body)) == sorted([OLD, NEW])
    assert compiler.builds == built + 1, "nothing else is built again"
    await compiler.apply(ChangeSet(upserts=(trust_bundle([OLD, NEW]),)))
    assert session.snapshot.of(ResourceType.TRUST_BUNDLE)[""] is second


def test_the_message_is_the_one_that_istios_agents_read() -> None:
    """``istio.mesh.v1alpha1.ProxyConfig``: field 34 is a repeated string, whose length may take several bytes."""
    from controlplane.translate.trust_bundle import _text  # noqa: PLC0415 - the bytes are what is tested

    assert _text(34, "ab") == b"\x92\x02\x02ab"
    assert _text(34, "a" * 300)[:4] == b"\x92\x02\xac\x02"
