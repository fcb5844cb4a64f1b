"""What one change makes the compiler do, in things counted: the same on every machine.

In one process, with one proxy of each namespace and without connections. ``--scaling`` prints the table, and
``tests/bench`` holds what is flat.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Coroutine, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from time import process_time
from typing import Any

from rich.box import MARKDOWN
from rich.table import Table

from bench.mesh import Mesh
from controlplane.compiler.compiler import Compiler, Session
from controlplane.documents.yaml_reader import yaml_documents
from controlplane.frontends import FRONTENDS
from controlplane.model.objects import ChangeSet, Object
from controlplane.model.parse import Parsed
from controlplane.model.proxy import Proxy
from controlplane.registry.store import Registry
from controlplane.rope import Rope
from controlplane.snapshots import Snapshot
from controlplane.watchers.kinds import parse

SIZES = (100, 1_000, 10_000, 20_000)
KINDS = ("endpoint", "virtual-service", "new-service")


@dataclass(frozen=True, slots=True)
class Work:
    """What one change made: how much of what, and the processor time in milliseconds.

    ``targets`` are resources that were built, ``queries`` all that ran, ``compared`` the dependencies that were looked
    at to know what has to. ``encoded`` counts the bytes that no snapshot held before, ``lists`` the mappings and lists
    of references that none did.
    """

    targets: int
    queries: int
    compared: int
    encoded: int
    lists: int
    milliseconds: float


async def work_of_changes(mesh: Mesh, kinds: Iterable[str] = KINDS) -> dict[str, Work]:
    """Load a mesh that is not written yet, have a proxy of each namespace served, and make a change of each kind.

    Each kind is changed twice, and counted the second time: the first VirtualService of a mesh is something else.
    """
    compiler = Compiler(Registry(frontends=FRONTENDS))
    mesh.write()
    await compiler.apply(ChangeSet(upserts=tuple(objects_of(mesh))))
    sessions = [await compiler.open(_proxy(number), lambda: None) for number in range(mesh.namespaces)]
    found: dict[str, Work] = {}
    for kind in kinds:
        for number in range(2):
            found[kind] = await _change(compiler, sessions, mesh, kind, number)
    for session in sessions:
        session.close()
    return found


async def _change(compiler: Compiler, sessions: list[Session], mesh: Mesh, kind: str, number: int) -> Work:
    changed = tuple(objects_of(mesh, change=(kind, number)))
    held = [session.snapshot for session in sessions]
    memo = compiler.registry.memo
    targets, queries, compared = compiler.builds, sum(memo.runs.values()), memo.compared
    milliseconds = await _timed(compiler.apply(ChangeSet(upserts=changed)))
    before, after = _contents(held), _contents(session.snapshot for session in sessions)
    fresh = {held_by: size for held_by, size in after.items() if held_by not in before}
    return Work(
        targets=compiler.builds - targets,
        queries=sum(memo.runs.values()) - queries,
        compared=memo.compared - compared,
        encoded=sum(size for size in fresh.values() if size >= 0),
        lists=sum(size < 0 for size in fresh.values()),
        milliseconds=milliseconds,
    )


async def _timed(change: Coroutine[Any, Any, object]) -> float:
    """Await a change without the garbage collector, which the server keeps away from what lives long, too."""
    gc.collect()
    gc.disable()
    began = process_time()
    try:
        await change
        return (process_time() - began) * 1000
    finally:
        gc.enable()


def _contents(snapshots: Iterable[Snapshot]) -> Mapping[int, int]:
    """Return what snapshots hold, by the object: the size of bytes, -1 of a mapping or a list of references."""
    found: dict[int, int] = {}
    for snapshot in snapshots:
        for resources in snapshot.resources.values():
            if id(resources) in found:
                continue
            found[id(resources)] = -1
            for resource in resources.values():
                if isinstance(resource.content, bytes):
                    found[id(resource.content)] = len(resource.content)
                else:
                    found.update(_pieces(resource.content))
    return found


def _pieces(rope: Rope) -> Iterator[tuple[int, int]]:
    for strand in rope.strands:
        yield id(strand.pieces), -1
        yield from ((id(piece), len(piece)) for piece in (*strand.pieces, *strand.swaps.values()))


def objects_of(mesh: Mesh, change: tuple[str, int] | None = None) -> Iterator[Object]:
    """Read what the mesh has written, or only what a change of it writes."""
    seen = {path: path.stat().st_mtime_ns for path in mesh.directory.glob("*.yaml")} if change is not None else {}
    if change is not None:
        mesh.change(*change)
    for path in sorted(mesh.directory.glob("*.yaml")):
        if seen.get(path) == path.stat().st_mtime_ns:
            continue
        for document in yaml_documents(path.read_text(encoding="utf-8")):
            result = parse(document.value, str(path))  # type: ignore[union-attr]  # what the mesh writes is readable
            if not isinstance(result, Parsed):
                raise TypeError(result)
            yield result.object


def _proxy(number: int) -> Proxy:
    name, addresses = f"client-{number}.ns-{number}", (f"10.200.0.{number}",)
    return Proxy("sidecar", name, addresses, f"ns-{number}", f"ns-{number}.svc.cluster.local")


def work_table(by_size: Mapping[int, Mapping[str, Work]]) -> Table:
    """Return the table of work by kind of change and number of services; it prints as Markdown."""
    table = Table("change", "services", box=MARKDOWN)
    for column in ("targets built", "queries run", "dependencies looked at", "bytes encoded", "lists made", "CPU, ms"):
        table.add_column(column, justify="right")
    for kind in next(iter(by_size.values())):
        for size, found in by_size.items():
            each = found[kind]
            counts = (each.targets, each.queries, each.compared, each.encoded, each.lists)
            table.add_row(kind, f"{size:,}", *(f"{count:,}" for count in counts), f"{each.milliseconds:,.1f}")
    return table


def work_by_size(mesh: Mesh, sizes: Iterable[int] = SIZES) -> dict[int, dict[str, Work]]:
    """Count the work of changes to meshes like this one, of several sizes."""
    found = {}
    for size in sizes:
        directory = mesh.directory.with_name(f"{mesh.directory.name}-counted-{size}")
        directory.mkdir()
        found[size] = asyncio.run(work_of_changes(replace(mesh, directory=directory, services=size)))
    return found
