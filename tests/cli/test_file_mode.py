"""Serving a directory loads nothing that only a cluster or a certificate authority needs."""

from __future__ import annotations

import asyncio
import os
import sys

from tests.cli.command import ROOT
from tests.patience import patience

FOREIGN = {"kubernetes", "kopf", "cryptography"}


async def _imported_until_serving() -> set[str]:
    """Return the modules that ``serve --config-dir`` has imported when both of its ports are open."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "controlplane", "serve", "--config-dir", str(ROOT / "samples" / "canary")),
        *("--xds-port", "0", "--monitoring-port", "0", "--drain-period", "0s"),
        cwd=ROOT,
        env=os.environ | {"PYTHONPROFILEIMPORTTIME": "1"},
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    imported = set()
    try:
        async with patience():
            async for raw in process.stderr:
                line = raw.decode()
                if line.startswith("import time:"):
                    imported.add(line.rpartition("|")[2].strip())
                elif "app.serving" in line:
                    return imported
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
    raise AssertionError("it ended before it served")


async def test_serving_files_imports_no_client_of_a_cluster() -> None:
    imported = await _imported_until_serving()
    assert {"controlplane.wiring.app", "aiohttp"} <= imported
    assert not FOREIGN & {name.partition(".")[0] for name in imported}
