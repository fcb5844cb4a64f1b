"""Tests of this folder need an Envoy: they skip without one, loudly, and fail where CI runs them."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from controlplane.agent.binary import EnvoyNotFoundError, envoy_binary
from tests.envoy.mesh import Mesh, running


def missing(what: str) -> None:
    """Skip the test; fail it where ``CI=true``, which promises that everything is there."""
    if os.environ.get("CI") == "true":
        pytest.fail(what)
    pytest.skip(what)


@pytest.fixture(autouse=True, scope="session")
def envoy() -> None:
    """An Envoy is there."""
    try:
        envoy_binary()
    except EnvoyNotFoundError as error:
        missing(str(error))


@pytest.fixture(scope="session")
def pods() -> None:
    """Network namespaces and iptables are there, and may be used."""
    if os.geteuid() != 0:
        missing("needs root: pods are network namespaces, and their traffic is redirected with iptables")
    tools = [tool for tool in ("ip", "iptables-restore", "nft", "setpriv", "curl") if shutil.which(tool) is None]
    if tools:
        missing(f"needs {', '.join(tools)}: apt-get install iproute2 iptables nftables util-linux curl")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def long_running() -> AsyncIterator[Mesh]:
    """One control plane for all tests: starting one costs more than most tests do."""
    async with running() as mesh:
        yield mesh


@pytest_asyncio.fixture(loop_scope="session")
async def mesh(long_running: Mesh) -> AsyncIterator[Mesh]:
    """A mesh without objects and backends, emptied again at the end."""
    try:
        yield long_running
        await long_running.reset()
    finally:
        long_running.print_logs()
