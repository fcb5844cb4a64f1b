"""What a compiler keeps, beside what a fresh one makes of the same objects."""

from __future__ import annotations

from collections.abc import Iterable

from controlplane.compiler.compiler import Compiler, Session
from controlplane.frontends import FRONTENDS
from controlplane.model.objects import ChangeSet
from controlplane.registry.store import Registry
from controlplane.snapshots import ResourceType
from tests.compiler.virtual import advance, turns


def contents(session: Session) -> dict[ResourceType, dict[str, bytes]]:
    """Return the bytes of a session's snapshot."""
    return {
        type_: {name: resource.body for name, resource in resources.items()}
        for type_, resources in session.snapshot.resources.items()
    }


async def assert_as_from_scratch(kept: Compiler, sessions: Iterable[Session], where: str = "") -> None:
    """Assert that each session has, byte for byte, what a fresh compiler would give its proxy."""
    fresh = Compiler(Registry(frontends=FRONTENDS))
    await fresh.apply(ChangeSet(upserts=tuple(kept.registry.objects.values())))
    for session in sessions:
        scratch = await fresh.open(session.proxy, lambda: None)
        assert session.proxy_class == scratch.proxy_class, (where, session.proxy.id)
        assert contents(session) == contents(scratch), (where, session.proxy.id)
        scratch.close()


async def assert_nothing_left(compiler: Compiler, sessions: Iterable[Session], keep_seconds: float) -> None:
    """Close all sessions and let their classes retire; assert that nothing is remembered then."""
    for session in sessions:
        session.close()
    for _ in range(2):
        advance(keep_seconds + 1)
        await turns(3)
    for _ in range(10_000):
        if not len(compiler.registry.memo):
            break
        await turns(1)
    assert compiler.class_count == 0
    assert compiler.target_count == 0
    assert len(compiler.registry.memo) == 0
