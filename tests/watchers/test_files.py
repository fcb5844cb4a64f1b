"""A directory of YAML as a source: real files, the real watcher, and what a change of them changes."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import shutil
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Self

import pytest
from structlog.testing import capture_logs

from controlplane.apis.authorization_policy import Rule
from controlplane.apis.closing.stand_ins import CLOSING
from controlplane.model import kinds
from controlplane.model.objects import ChangeSet, ObjectKey
from controlplane.registry.endpoints import endpoints
from controlplane.registry.store import Registry
from controlplane.watchers.files import source as files
from controlplane.watchers.files.source import FileSource
from tests.patience import PATIENCE_SECONDS, in_time, until


def service(name: str, port: int = 80, namespace: str = "shop") -> str:
    """Return the manifest of a Service."""
    return (
        f"apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: {namespace}}}\n"
        f"spec: {{clusterIP: 10.0.0.1, ports: [{{port: {port}, name: http}}]}}\n"
    )


def key(name: str) -> ObjectKey:
    """Return the key of a Service."""
    return ObjectKey(kinds.SERVICE, "shop", name)


def put(path: Path, text: str | bytes) -> None:
    """Write a file beside its place and rename it there."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_bytes(text if isinstance(text, bytes) else text.encode())
    temporary.rename(path)


def names(change: ChangeSet) -> list[str]:
    """Return the names of the objects to store."""
    return sorted(obj.meta.name for obj in change.upserts)


class Watched:
    """A loaded source whose changes are read one at a time."""

    def __init__(self, directory: Path) -> None:
        self.source = FileSource(directory)
        self.first = self.source.load()
        self._changes = self.source.changes()
        self._next: asyncio.Task[ChangeSet] | None = None

    async def __aenter__(self) -> Self:
        self._begin()
        return self

    async def __aexit__(self, *error: object) -> None:
        if self._next is not None:
            self._next.cancel()
            await asyncio.gather(self._next, return_exceptions=True)
        await self._changes.aclose()  # type: ignore[attr-defined] # an async generator

    def _begin(self) -> None:
        async def following(changes: AsyncIterator[ChangeSet]) -> ChangeSet:
            return await anext(changes)

        self._next = asyncio.create_task(following(self._changes))

    async def next(self) -> ChangeSet:
        """Return the next change set."""
        assert self._next is not None
        change = await in_time(asyncio.shield(self._next))
        self._begin()
        return change

    async def until(self, name: str, port: int) -> int:
        """Wait until a Service has this port; return how many change sets it took."""
        count = 1
        while not any(o.meta.name == name and o.spec.ports[0].number == port for o in (await self.next()).upserts):
            count += 1
        return count


def test_load_reads_every_manifest_of_the_tree(tmp_path: Path) -> None:
    """All suffixes, all documents, lists; not what begins with a dot or ends otherwise."""
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / ".git").mkdir()
    (tmp_path / "a.yaml").write_text(f"# comment\n---\n{service('a1')}---\n\n---\n{service('a2')}")
    (tmp_path / "deep" / "b.yml").write_text(service("b"))
    (tmp_path / "deep" / "er" / "c.json").write_text(
        json.dumps({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "c"}})
    )
    items = "".join(f"- {line}" for line in [service(n).replace("\n", "\n  ").rstrip() + "\n" for n in ("d1", "d2")])
    (tmp_path / "d.yaml").write_text(f"apiVersion: v1\nkind: List\nitems:\n{items}")
    for skipped in (".e.yaml", ".git/f.yaml", "notes.txt", "g.yaml~"):
        (tmp_path / skipped).write_text(service("skipped"))
    source = FileSource(tmp_path)
    change = source.load()
    assert names(change) == ["a1", "a2", "b", "c", "d1", "d2"]
    assert (change.deletes, change.rejections, source.rejected) == ((), (), {})
    sources = {obj.meta.name: obj.meta.source for obj in change.upserts}
    assert sources["a2"] == f"{tmp_path}/a.yaml:10"
    assert sources["d2"] == f"{tmp_path}/d.yaml:1 items[1]"


def test_one_bad_object_does_not_stop_the_others(tmp_path: Path) -> None:
    """Each refusal has its line; every other object of the file applies, also beside broken YAML."""
    path = tmp_path / "a.yaml"
    path.write_text("---\n".join([service("a"), service("bad", 70000), "a: [\n", service("b"), service("c" * 300)]))
    source = FileSource(tmp_path)
    with capture_logs() as logs:
        change = source.load()
    assert names(change) == ["a", "b"]
    assert {at: rejected.problems for at, rejected in source.rejected.items()} == {
        f"{path}:6": ("spec.ports[0].port: must be between 1 and 65535",),
        f"{path}:12": ("not readable: did not find expected node content",),
        f"{path}:18": ("metadata.name: must be at most 63 characters long, this has 300",),
    }
    assert set(change.rejections) == set(source.rejected.values())
    rejected = [entry for entry in logs if entry["event"] == "registry.rejected"]
    assert [entry["object"] for entry in rejected][:2] == ["Service shop/bad", None]
    with capture_logs() as logs:
        assert source.load() == ChangeSet()
    assert logs == []


@pytest.mark.parametrize(
    ("content", "line", "reason"),
    [
        pytest.param(b"\x7fELF\x00\xff\xfe\x01" * 100, 1, "is not UTF-8 text", id="binary"),
        pytest.param(b"a: 1\nb: \xff\n", 2, "is not UTF-8 text", id="latin-1"),
        pytest.param(b"\x00\x01\x02", 1, "not readable: control characters are not allowed", id="control"),
        pytest.param(b"just text", 1, "object: expected a mapping, got text", id="text"),
        pytest.param(b"- 1\n", 1, "object: expected a mapping, got a list", id="list"),
        pytest.param(b"apiVersion: v1\nkind: List\nitems: 4\n", 1, "items: must be a list of objects", id="no-list"),
        pytest.param(b"metadata: {}\n", 1, "apiVersion: is required", id="no-object"),
    ],
)
def test_file_that_holds_no_object(tmp_path: Path, content: bytes, line: int, reason: str) -> None:
    """A refusal with line and reason, and the other files apply; later it keeps what the file had."""
    path = tmp_path / "bad.yaml"
    path.write_bytes(content)
    (tmp_path / "good.yaml").write_text(service("good"))
    source = FileSource(tmp_path)
    assert names(source.load()) == ["good"]
    assert source.rejected[f"{path}:{line}"].problems[0] == reason
    put(path, service("was-bad"))
    assert names(source.load()) == ["was-bad"]
    assert source.rejected == {}
    put(path, content)
    change = source.load()
    assert (change.upserts, change.deletes) == ((), ())
    assert [rejected.problems[0] for rejected in change.rejections] == [reason]
    put(path, "")
    assert source.load().deletes == (key("was-bad"),)


def test_odd_files(tmp_path: Path) -> None:
    """A pipe is not opened, a dangling link is nothing, links to directories are followed once."""
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "dangling.yaml").symlink_to(tmp_path / "nowhere")
    (tmp_path / "directory.yaml").mkdir()
    (tmp_path / "directory.yaml" / "a.yaml").write_text(service("a"))
    (tmp_path / "directory.yaml" / "loop").symlink_to(tmp_path)
    source = FileSource(tmp_path)
    assert names(source.load()) == ["a"]
    assert [r.problems for r in source.rejected.values()] == [("not readable: not a regular file",)]


def test_missing_directory_is_a_rejection(tmp_path: Path) -> None:
    """It may come later; nothing is raised."""
    source = FileSource(tmp_path / "later")
    assert [r.problems for r in source.load().rejections] == [
        ("is not a directory; objects read from it before are kept",)
    ]
    (tmp_path / "later").mkdir()
    (tmp_path / "later" / "a.yaml").write_text(service("a"))
    assert names(source.load()) == ["a"]
    assert source.rejected == {}


def test_bad_edit_keeps_the_last_good_version(tmp_path: Path) -> None:
    """No delete while the object is wrong; when it disappears, so do its refusal and its last good version."""
    path = tmp_path / "a.yaml"
    path.write_text(service("a") + "---\n" + service("b"))
    source = FileSource(tmp_path)
    source.load()
    put(path, service("a", 70000) + "---\n" + service("b", 81))
    change = source.load()
    assert (names(change), change.deletes) == (["b"], ())
    assert [rejected.key for rejected in change.rejections] == [key("a")]
    put(path, service("a") + "---\n" + service("b", 81))
    assert names(source.load()) == ["a"], "unchanged, but its refusal is over"
    put(path, service("a", 70000) + "---\n" + service("b", 81))
    source.load()
    put(path, service("b", 81))
    assert source.load() == ChangeSet(deletes=(key("a"),))
    assert source.rejected == {}


def policy(action: str = "DENY", port: str = "80") -> str:
    """Return the manifest of an AuthorizationPolicy; ports of more than one number are refused."""
    return (
        "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: a, namespace: shop}\n"
        f"spec: {{action: {action}, rules: [{{to: [{{operation: {{ports: ['{port}']}}}}]}}]}}\n"
    )


def test_a_policy_that_is_refused_is_not_as_if_it_were_not_there(tmp_path: Path) -> None:
    """Its last good version stays, whatever file it is in then; without one it closes, and goes with its file."""
    one, two = tmp_path / "1.yaml", tmp_path / "2.yaml"
    one.write_text(policy(port="80-90"))
    source = FileSource(tmp_path)
    (stands,) = source.load().upserts
    assert stands.spec.rules == (Rule(),)
    assert source.rejected[f"{one}:1"].problems[-1] == CLOSING["AuthorizationPolicy"].note
    put(one, policy(port="90-80", action="ALLOW"))
    (stands,) = source.load().upserts
    assert stands.spec.rules == ()
    put(one, policy())
    (good,) = source.load().upserts
    assert good.spec.rules[0].to[0].operation.ports == ("80",)
    put(one, policy(port="80-90"))
    assert source.load().upserts == ()
    one.unlink()
    two.write_text(policy(port="80-91"))
    change = source.load()
    assert (change.upserts, change.deletes) == ((), ())
    put(one, policy(port="80-90"))
    source.load()
    two.unlink()
    assert source.load().deletes == ()
    one.unlink()
    assert source.load().deletes == (good.key,)


def test_what_stands_for_a_policy_stays_while_its_file_cannot_be_read(tmp_path: Path) -> None:
    """A second mistake does not open what the first one has closed; repair and removal do so at once."""
    path, broken = tmp_path / "a.yaml", "oops: [\n"
    path.write_text(policy(port="80-90"))
    source = FileSource(tmp_path)
    (stands,) = source.load().upserts
    for text in (policy(port="80-90") + broken, service("b") + "---\n" + broken):
        put(path, text)
        change = source.load()
        assert stands.key not in change.deletes
        assert [obj for obj in change.upserts if obj.key == stands.key] in ([], [stands])
    put(path, policy(port="80-91", action="ALLOW"))
    assert [obj.spec.rules for obj in source.load().upserts] == [()]
    put(path, policy(port="80-91", action="ALLOW") + "---\n" + broken)
    assert stands.key not in source.load().deletes
    put(path, service("c") + "---\n" + broken)
    assert stands.key in source.load().deletes, "what was broken before hides nothing"
    put(path, policy(port="80-90"))
    source.load()
    put(path, broken)
    assert stands.key not in source.load().deletes
    put(path, policy())
    assert [obj.spec.rules[0].to[0].operation.ports for obj in source.load().upserts] == [("80",)]


def test_a_good_policy_in_another_file_comes_before_what_stands_for_a_bad_one(tmp_path: Path) -> None:
    (tmp_path / "1.yaml").write_text(policy(port="80-90"))
    (tmp_path / "2.yaml").write_text(policy())
    (found,) = FileSource(tmp_path).load().upserts
    assert found.meta.source == f"{tmp_path / '2.yaml'}:1"


def test_broken_document_keeps_its_object_through_other_edits(tmp_path: Path) -> None:
    """Nobody can tell whose text is broken, so nothing that went with it is deleted; what goes later is."""
    path = tmp_path / "a.yaml"
    good, broken = service("a"), service("a") + "oops: [\n"
    path.write_text("---\n".join([good, service("b"), service("c")]))
    source = FileSource(tmp_path)
    source.load()
    put(path, "---\n".join([broken, service("b"), service("c")]))
    assert source.load().deletes == ()
    put(path, "---\n".join([broken, service("b", 81), service("c")]))
    change = source.load()
    assert (names(change), change.deletes) == (["b"], ())
    put(path, "---\n".join([broken, service("b", 81)]))
    assert source.load().deletes == (key("c"),)
    put(path, service("b", 81))
    assert source.load().deletes == (key("a"),)


def test_object_moved_and_broken_at_once_keeps_its_last_good_version(tmp_path: Path) -> None:
    """The file is another, the object the same."""
    (tmp_path / "a.yaml").write_text(service("a"))
    source = FileSource(tmp_path)
    source.load()
    (tmp_path / "a.yaml").unlink()
    (tmp_path / "b.yaml").write_text(service("a", 70000))
    change = source.load()
    assert (change.upserts, change.deletes) == ((), ())
    assert [rejected.key for rejected in change.rejections] == [key("a")]
    (tmp_path / "b.yaml").unlink()
    assert source.load().deletes == (key("a"),)


def test_two_files_define_one_object(tmp_path: Path) -> None:
    """The first by path wins, the other is refused; when the winner goes the other takes over."""
    one, two = tmp_path / "1.yaml", tmp_path / "2.yaml"
    two.write_text(service("a", 82))
    source = FileSource(tmp_path)
    source.load()
    put(one, service("a", 81))
    change = source.load()
    assert [obj.spec.ports[0].number for obj in change.upserts] == [81]
    reason = f"metadata.name: already defined in {one}:1, which is used"
    assert [(r.key, r.problems, r.source) for r in change.rejections] == [(key("a"), (reason,), f"{two}:1")]
    put(two, service("a", 83))
    assert source.load() == ChangeSet()
    one.unlink()
    change = source.load()
    assert [obj.spec.ports[0].number for obj in change.upserts] == [83]
    assert (change.deletes, source.rejected) == ((), {})


def test_one_file_defines_an_object_twice(tmp_path: Path) -> None:
    """The first wins here too."""
    (tmp_path / "a.yaml").write_text(service("a", 81) + "---\n" + service("a", 82))
    source = FileSource(tmp_path)
    change = source.load()
    assert [obj.spec.ports[0].number for obj in change.upserts] == [81]
    assert [r.source for r in change.rejections] == [f"{tmp_path}/a.yaml:6"]


def test_unused_kinds_are_counted_and_named_once(tmp_path: Path) -> None:
    """They are no error."""
    manifest = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\n---\n"
    (tmp_path / "a.yaml").write_text(manifest * 3)
    source = FileSource(tmp_path)
    with capture_logs() as logs:
        assert source.load() == ChangeSet()
        put(tmp_path / "b.yaml", manifest)
        source.load()
    assert [(entry["event"], entry["kind"], entry["count"]) for entry in logs] == [
        ("watchers.kind_unused", "Deployment.apps", 3)
    ]
    assert source.unused == {"Deployment.apps": 4}
    (tmp_path / "a.yaml").unlink()
    source.load()
    assert source.unused == {"Deployment.apps": 1}


def test_unknown_field_is_a_warning_told_once(tmp_path: Path) -> None:
    """The rest of the object is used; a repeated key is a warning too."""
    text = """
    apiVersion: networking.istio.io/v1
    kind: VirtualService
    metadata: {name: a}
    spec:
      hosts: [a]
      gatewayz: [x]
      http: [{route: [{destination: {host: a}}]}]
      hosts: [b]
    """
    path = tmp_path / "a.yaml"
    path.write_text(text)
    source = FileSource(tmp_path)
    with capture_logs() as logs:
        (obj,) = source.load().upserts
        put(path, text + "# touched\n")
        assert source.load() == ChangeSet()
    assert obj.spec.hosts == ("b",)
    told = [entry["problem"] for entry in logs if entry["event"] == "watchers.warned"]
    assert len(told) == len(source.warnings) == 2
    assert any("gatewayz" in problem for problem in told)
    assert any("'hosts' is repeated" in problem for problem in told)
    assert {entry["source"] for entry in logs if entry["event"] == "watchers.warned"} == {f"{path}:2"}


async def test_rename_into_place_is_one_change(tmp_path: Path) -> None:
    """Only what differs is sent, also of a file with many objects."""
    path = tmp_path / "a.yaml"
    path.write_text("---\n".join(service(f"s{i}") for i in range(50)))
    async with Watched(tmp_path) as watched:
        assert len(watched.first.upserts) == 50
        put(path, "---\n".join(["# longer\n", *(service(f"s{i}", 81 if i == 7 else 80) for i in range(50))]))
        change = await watched.next()
        assert (names(change), change.deletes, change.rejections) == (["s7"], (), ())


async def test_files_come_change_and_go(tmp_path: Path) -> None:
    """New, written in place, deleted, moved; directories as well."""
    async with Watched(tmp_path) as watched:
        (tmp_path / "a.yaml").write_text(service("a"))
        await watched.until("a", 80)
        (tmp_path / "a.yaml").write_text(service("a", 81))
        await watched.until("a", 81)
        (tmp_path / "new").mkdir()
        (tmp_path / "new" / "b.yaml").write_text(service("b"))
        await watched.until("b", 80)
        (tmp_path / "a.yaml").unlink()
        assert (await watched.next()) == ChangeSet(deletes=(key("a"),))
        (tmp_path / "new").rename(tmp_path / "other")
        put(tmp_path / "c.yaml", service("c"))
        await watched.until("c", 80)
        put(tmp_path / "other" / "b.yaml", service("b", 81))
        await watched.until("b", 81)
        shutil.rmtree(tmp_path / "other")
        assert (await watched.next()) == ChangeSet(deletes=(key("b"),))


async def test_change_between_load_and_watch_is_not_lost(tmp_path: Path) -> None:
    """Whatever happened before the watch began is found when it begins."""
    watched = Watched(tmp_path)
    (tmp_path / "a.yaml").write_text(service("a"))
    async with watched:
        assert names(await watched.next()) == ["a"]


async def test_write_in_place_does_not_flap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is truncated before it is written again has not lost its objects, nor one that is replaced."""
    monkeypatch.setattr(files, "_SETTLE_SECONDS", PATIENCE_SECONDS)  # on a busy machine 8 ms can last
    path = tmp_path / "a.yaml"
    path.write_text(service("a"))
    async with Watched(tmp_path) as watched:
        with path.open("w") as file:
            await asyncio.sleep(0.008)
            file.write(service("a", 81))
        assert await watched.until("a", 81) == 1
        path.unlink()
        await asyncio.sleep(0.008)
        path.write_text(service("a", 82))
        assert await watched.until("a", 82) == 1


async def test_object_removed_in_place(tmp_path: Path) -> None:
    """Left alone, the file is believed."""
    path = tmp_path / "a.yaml"
    path.write_text(service("a") + "---\n" + service("b"))
    async with Watched(tmp_path) as watched:
        os.truncate(path, len(service("a")))
        assert await watched.next() == ChangeSet(deletes=(key("b"),))


async def test_config_map_mount(tmp_path: Path) -> None:
    """Kubernetes swaps one link; the files are links through it."""
    for version, port in (("..1", 80), ("..2", 81)):
        (tmp_path / version).mkdir()
        (tmp_path / version / "a.yaml").write_text(service("a", port))
    (tmp_path / "..data").symlink_to("..1")
    (tmp_path / "a.yaml").symlink_to("..data/a.yaml")
    async with Watched(tmp_path) as watched:
        assert names(watched.first) == ["a"]
        (tmp_path / "..data_tmp").symlink_to("..2")
        (tmp_path / "..data_tmp").rename(tmp_path / "..data")
        assert await watched.until("a", 81) == 1


def test_routing_tests_are_no_objects_and_no_refusals(tmp_path: Path) -> None:
    """A document tells by what it holds, whatever its file is called."""
    put(tmp_path / "shop.routes.yaml", "from: namespace/shop\ntests: []\n")
    put(tmp_path / "mixed.routes.yaml", f"{service('web')}---\ntests: [{{name: a}}]\n")
    put(tmp_path / "plain.yaml", f"tests: []\n---\n{service('api')}")
    source = FileSource(tmp_path)
    change = source.load()
    assert names(change) == ["api", "web"]
    assert (change.rejections, source.rejected, source.unused) == ((), {}, {})


async def test_directory_that_is_replaced(tmp_path: Path) -> None:
    """A new directory of the same name is watched in turn, and one that was missing."""
    directory = tmp_path / "mesh"
    async with Watched(directory) as watched:
        directory.mkdir()
        (directory / "a.yaml").write_text(service("a"))
        await watched.until("a", 80)
        directory.rename(tmp_path / "old")
        directory.mkdir()
        (directory / "a.yaml").write_text(service("a", 81))
        await watched.until("a", 81)
        put(directory / "a.yaml", service("a", 82))
        await watched.until("a", 82)


async def test_burst_is_gathered(tmp_path: Path) -> None:
    """Two hundred renames of one file are far fewer changes, 5 ms apart at least, and the last one arrives."""
    path = tmp_path / "a.yaml"
    path.write_text(service("a"))
    async with Watched(tmp_path) as watched:
        put(path, service("a", 99))
        await watched.until("a", 99)

        def burst() -> None:
            for port in range(1000, 1200):
                put(path, service("a", port))

        began = time.monotonic()
        writing = asyncio.create_task(asyncio.to_thread(burst))
        count = await watched.until("a", 1199)
        assert count < 4 + (time.monotonic() - began) / 0.005
        await writing


async def test_files_that_change_together_are_one_change(tmp_path: Path) -> None:
    """What is written while the first of them are read comes with them, so that it is compiled and sent once.

    On a busy machine the writer pauses in between: it may do so often, but not each time.
    """
    seen: list[list[int]] = []
    async with Watched(tmp_path) as watched:
        while len(seen) < 20:
            began = time.monotonic()
            writing = asyncio.create_task(asyncio.to_thread(_checkout, tmp_path, 80 + len(seen)))
            sizes: list[int] = []
            while sum(sizes) < 300:
                sizes.append(len((await watched.next()).upserts))
            assert sum(sizes) == 300
            seen.append(sizes)
            pauses = await writing
            if len(sizes) < 4 + (time.monotonic() - began) / 0.05 + pauses:
                return
    pytest.fail(f"never together: {seen}")


def _checkout(folder: Path, port: int) -> int:
    """Write 300 files, about one in a millisecond; return how many of them took much longer."""
    times = [time.monotonic()]
    for number in range(300):
        put(folder / f"{number:03}.yaml", service(f"s{number}", port))
        time.sleep(0.001)
        times.append(time.monotonic())
    return sum(later - sooner > 0.004 for sooner, later in itertools.pairwise(times))


async def test_ten_megabytes_do_not_block_the_event_loop(tmp_path: Path) -> None:
    """Parsing happens beside the loop, and only the documents that changed are parsed again."""
    pad = "# " + "x" * 20_000 + "\n"
    documents = [pad + service(f"s{i}") for i in range(500)]
    big = tmp_path / "big.yaml"
    async with Watched(tmp_path) as watched:
        put(big, "---\n".join(documents))
        assert big.stat().st_size > 10_000_000
        longest, last = 0.0, time.thread_time()  # what this thread works, however busy the machine is
        arrival = asyncio.create_task(watched.next())
        while not arrival.done():
            await asyncio.sleep(0.002)
            now = time.thread_time()
            longest, last = max(longest, now - last), now
        assert len(arrival.result().upserts) == 500
        assert longest < 1.0
        put(big, "---\n".join([*documents[:-1], pad + service("s499", 81)]))
        assert names(await watched.next()) == ["s499"]


async def test_an_unhealthy_workload_gets_no_traffic(tmp_path: Path) -> None:
    """Where health checks are on, the condition in the file decides, each time it is written."""
    group = "apiVersion: networking.istio.io/v1\n"
    put(
        tmp_path / "vms.yaml",
        f"{group}kind: ServiceEntry\nmetadata: {{name: vms, namespace: shop}}\nspec: {{hosts: [vms.test], resolution: "
        "STATIC, ports: [{number: 80, name: http}], workloadSelector: {labels: {app: vm}}}\n",
    )
    entry = (
        f"{group}kind: WorkloadEntry\nmetadata: {{name: vm, namespace: shop, annotations: "
        "{proxy.istio.io/health-checks-enabled: 'true'}}\nspec: {address: 10.9.0.1, labels: {app: vm}}\n"
    )
    put(tmp_path / "vm.yaml", entry)
    registry = Registry()

    def addresses(change: ChangeSet) -> list[str]:
        registry.memo.invalidate(registry.apply(change))
        return [each.address for each in registry.memo.get(endpoints, ("vms.test", "shop"))]

    async with Watched(tmp_path) as watched:
        assert addresses(watched.first) == []
        for status, expected in (("True", ["10.9.0.1"]), ("False", [])):
            put(tmp_path / "vm.yaml", f"{entry}status: {{conditions: [{{type: Healthy, status: '{status}'}}]}}\n")
            assert addresses(await watched.next()) == expected


async def test_closing_ends_the_watch(tmp_path: Path) -> None:
    """Nothing keeps waiting after the consumer has gone."""
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - counted
    async with Watched(tmp_path) as watched:
        put(tmp_path / "a.yaml", service("a"))
        await watched.next()

    def released() -> bool:
        running = any(thread.name.startswith("watch-files") for thread in threading.enumerate())
        return not running and len(os.listdir("/proc/self/fd")) <= before  # noqa: PTH208 - counted

    await until(released, "the operating system's watch is released")
