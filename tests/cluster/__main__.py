"""The cluster of the tests for a person: ``python -m tests.cluster up`` (or ``make cluster``)."""

from __future__ import annotations

import argparse
import fcntl
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.cluster import build, mesh_images
from tests.cluster.api_server import Addresses, ApiServer
from tests.cluster.node import Node

STOP_SECONDS = 30


class Stopped(Exception):  # noqa: N818 - no error: somebody asked for it
    """Told to end."""


def main() -> None:
    """Run one command. Exit status 1: it failed, and said why."""
    options = _parser().parse_args()
    stop_on_signals()
    try:
        options.run(options)
    except (Stopped, KeyboardInterrupt):
        pass
    except (RuntimeError, OSError) as error:
        sys.exit(str(error))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.cluster", description=__doc__)
    commands = parser.add_subparsers(required=True)
    build_command = commands.add_parser("build", help="build what is missing into the cache")
    build_command.set_defaults(run=lambda _: build.build(node=os.geteuid() == 0))  # nobody else can start a node
    up = commands.add_parser("up", help="start a cluster and hold it until Ctrl-C or `down`")
    up.add_argument("--no-node", action="store_true", help="only the API, as any user")
    up.add_argument("--port", type=int, default=0, help="port of the API where there is no node; default: a free one")
    up.set_defaults(run=_up)
    load = commands.add_parser(
        "load", help="give the node of `up` the images of this checkout: control plane and proxy"
    )
    load.set_defaults(run=_load)
    down = commands.add_parser("down", help="end what `up` started")
    down.set_defaults(run=_down)
    for command in (up, load, down):
        command.add_argument("--folder", type=Path, default=build.cache() / "run", help="everything of this cluster")
    return parser


def _up(options: argparse.Namespace) -> None:
    folder = options.folder.absolute()
    with occupied(folder):
        started = time.monotonic()
        cluster = ApiServer(folder, Addresses(api_port=options.port)) if options.no_node else Node(folder)
        try:
            cluster.start()
            print(f"ready after {time.monotonic() - started:.1f} s; Ctrl-C ends it. In another shell:", flush=True)
            print(f"  export KUBECONFIG={cluster.kubeconfig} PATH={build.KUBERNETES.folder}:$PATH", flush=True)
            signal.pause()
        finally:
            cluster.stop()


def _load(options: argparse.Namespace) -> None:
    lock = _lock_file(options.folder.absolute())
    if not lock.exists() or _take(lock):
        sys.exit(f"no cluster runs in {options.folder}")
    for archive in mesh_images.archives():
        Node.load_into(options.folder.absolute(), archive)
        print(f"the node has {archive}", flush=True)
    print("next: kubectl apply -k deploy/overlays/minimal")


def _down(options: argparse.Namespace) -> None:
    lock = _lock_file(options.folder.absolute())
    if not lock.exists() or _take(lock):
        sys.exit(f"no cluster runs in {options.folder}")
    os.kill(int(lock.read_text()), signal.SIGTERM)
    deadline = time.monotonic() + STOP_SECONDS
    while not _take(lock):
        if time.monotonic() > deadline:
            sys.exit(f"the cluster in {options.folder} did not end in {STOP_SECONDS} s")
        time.sleep(0.1)


@contextmanager
def occupied(folder: Path) -> Iterator[None]:
    """Hold an empty folder for one cluster; the lock's file names the process."""
    path = _lock_file(folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RuntimeError(f"a cluster runs in {folder} already; `make cluster-down` ends it") from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        if folder.exists():
            if any(folder.iterdir()) and not (folder / "kubeconfig").exists():
                raise RuntimeError(f"{folder} is not empty and holds no cluster")
            shutil.rmtree(folder)
        folder.mkdir()
        yield


def _take(lock: Path) -> bool:
    """Whether nobody holds the lock."""
    with lock.open(encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def _lock_file(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.lock")


def stop_on_signals() -> None:
    """Let ``Stopped`` be raised when somebody asks the process to end."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _stop)


def _stop(*_: object) -> None:
    raise Stopped


if __name__ == "__main__":
    main()
