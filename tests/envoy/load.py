"""Requests without end, for as long as somebody reads: one JSON line a second says how they went.

python -m tests.envoy.load URL WORKERS
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections import Counter

import aiohttp

_HASH = re.compile(r"Hash=([0-9a-f]+)")


class Load:
    """Workers that ask one after the other; ``certificates`` are the digests that the server was shown."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.requests = 0
        self.failures: Counter[str] = Counter()
        self.certificates: set[str] = set()

    async def work(self) -> None:
        """Ask until cancelled; each request has a connection of its own."""
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session:
            while True:
                try:
                    async with session.get(self._url) as response:
                        text = await response.text()
                        if response.status == 200:
                            self.certificates.update(_HASH.findall(text))
                        else:
                            self.failures[f"{response.status} {text[:80]}"] += 1
                except (aiohttp.ClientError, OSError) as error:
                    self.failures[str(error) or type(error).__name__] += 1
                self.requests += 1

    async def run(self, workers: int) -> None:
        """Print what happened, each second, until cancelled."""
        tasks = [asyncio.create_task(self.work()) for _ in range(workers)]
        try:
            while True:
                await asyncio.sleep(1)
                shown = {"requests": self.requests, "failures": self.failures, "certificates": len(self.certificates)}
                print(json.dumps(shown), flush=True)
        finally:
            for task in tasks:
                task.cancel()


if __name__ == "__main__":
    asyncio.run(Load(sys.argv[1]).run(int(sys.argv[2])))
