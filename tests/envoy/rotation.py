"""Certificates of a minute, renewed again and again under load, and a root that is replaced: no request fails.

A tool, not a test: it takes minutes.

python -m tests.envoy.rotation --rotations 10 (``make rotation``), as root: pods are network namespaces.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from time import monotonic

from controlplane.security.ca import Authority, Lifetimes
from controlplane.security.issuer import Issuer
from tests.envoy.strict_pods import LONGEST, Json, Word, asked, first, folder, strict_pods
from tests.security.authorities import Signer, cacerts, root

LIFE = timedelta(minutes=1)
OLD_LIFE = timedelta(minutes=4)


class Roots:
    """The authority of the control plane, which ends after some minutes, and one of another root that follows it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._old, self._new = root("old"), root("new")
        self._plug_in(self._old.signs("old", days=OLD_LIFE / timedelta(days=1)), self._old)

    def _plug_in(self, signer: Signer, *roots: Signer) -> None:
        files = cacerts(signer, [], list(roots))
        folder = self._directory / "ca"
        folder.mkdir(exist_ok=True)
        for name, content in files.items():
            (folder / f".{name}").write_bytes(content)
        for name in files:
            (folder / f".{name}").rename(folder / name)
        issuer = Issuer.of_files(files)
        if issuer is None:
            raise RuntimeError("no issuer")
        self.authority = Authority(issuer, Lifetimes())

    def first(self, folder: Path, workload: str) -> None:
        """Put a certificate into a pod that its agent shows to whoever signs."""
        first(folder, workload, self.authority)

    async def replace(self, log: Path) -> None:
        """Plug in the other root; once it is trusted, agents get first certificates of it. Wait until it signs."""
        before = _told(log, "security.serving_certificate")
        self._plug_in(self._new.signs("new"), self._new, self._old)
        async with asyncio.timeout(LONGEST.total_seconds()):
            while _told(log, "security.serving_certificate") == before:
                await asyncio.sleep(0.5)
            for workload in ("client", "server"):
                self.first(self._directory / workload / "first", workload)
            while not _told(log, "security.issuer_changed"):
                await asyncio.sleep(0.5)


def _told(log: Path, event: str) -> int:
    return log.read_text(encoding="utf-8").count(event)


async def rotated(word: Word, enough: Callable[[Json], bool], begun: float) -> Json:
    """Take words until one says enough; print each certificate that is new. No word is left for later."""
    said, told = await word(), 0
    while not enough(said):
        if said["certificates"] != told:
            told = said["certificates"]
            print(f"{monotonic() - begun:6.0f} s  {said}", flush=True)
        said = await word()
    return said


async def run(rotations: int, workers: int) -> int:
    """Run all of it; 1 if a request failed."""
    async with folder() as directory:
        roots = Roots(directory)
        life = ("--certificate-lifetime", "1m")
        environment = {"SECRET_TTL": f"{LIFE.total_seconds():.0f}s"}
        async with strict_pods(directory, roots.first, life, environment) as pods:
            begun = monotonic()
            async with asked(pods.client, workers) as word:
                replacing = asyncio.create_task(roots.replace(pods.log))
                enough = rotations + 1
                said = await rotated(word, lambda each: replacing.done() and each["certificates"] >= enough, begun)
                await replacing
                print(f"{monotonic() - begun:6.0f} s  the other root signs", flush=True)
                more = said["certificates"] + 2
                said = await rotated(word, lambda each: bool(each["certificates"] >= more), begun)
                print(f"{monotonic() - begun:6.0f} s  {said}", flush=True)
    return int(bool(said["failures"]))


def main() -> int:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rotations", type=int, default=10, help="certificates after the first")
    parser.add_argument("--workers", type=int, default=8, help="requests at a time")
    options = parser.parse_args()
    return asyncio.run(run(options.rotations, options.workers))


if __name__ == "__main__":
    raise SystemExit(main())
