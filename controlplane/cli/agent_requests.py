"""``agent wait`` and ``agent request``: what the hooks of a container run."""

from __future__ import annotations

import argparse
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence

_SECONDS = 10


def main(command: str, arguments: Sequence[str]) -> int:
    """Run one of the two; return the exit code. Flags that are not known are passed over, as Istio's agent does."""
    parser = argparse.ArgumentParser(prog=f"controlplane agent {command}", allow_abbrev=False)
    if command == "wait":
        parser.add_argument("--url", default="http://localhost:15021/healthz/ready", help="what must answer with 200")
        parser.add_argument("--timeoutSeconds", type=float, default=60.0, help="how long to wait")
        parser.add_argument("--periodMillis", type=float, default=500.0, help="pause between two requests")
        parser.add_argument("--requestTimeoutMillis", type=float, default=500.0, help="how long one may take")
        said, _ = parser.parse_known_args(arguments)
        return _wait(said.url, said.timeoutSeconds, said.periodMillis / 1000, said.requestTimeoutMillis / 1000)
    parser.add_argument("--debug-port", type=int, default=15000, help="port on this host")
    parser.add_argument("method")
    parser.add_argument("path")
    said, _ = parser.parse_known_args(arguments)
    return _request(said.method, f"http://localhost:{said.debug_port}/{said.path.lstrip('/')}")


def _wait(url: str, seconds: float, period: float, each: float) -> int:
    deadline, problem = time.monotonic() + seconds, "it was not asked"
    while time.monotonic() < deadline:
        try:
            with _opener().open(url, timeout=each):
                return 0
        except (OSError, ValueError) as error:  # of urllib too: no answer, another status, no such URL
            problem = str(error)
        time.sleep(min(period, max(deadline - time.monotonic(), 0.0)))
    print(f"error: {url} is not ready after {seconds:g} s: {problem}", file=sys.stderr)
    return 1


def _request(method: str, url: str) -> int:
    request = urllib.request.Request(url, method=method.upper(), data=b"" if method.upper() == "POST" else None)  # noqa: S310 - a host of ours
    try:
        with _opener().open(request, timeout=_SECONDS) as response:
            sys.stdout.write(response.read().decode(errors="replace"))
    except urllib.error.HTTPError as error:
        print(f"error: {url} answered {error.code}: {error.read().decode(errors='replace')}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"error: {url}: {error}", file=sys.stderr)
        return 1
    return 0


def _opener() -> urllib.request.OpenerDirector:
    """Return what opens URLs without a proxy that the environment may name."""
    return urllib.request.build_opener(urllib.request.ProxyHandler({}))
