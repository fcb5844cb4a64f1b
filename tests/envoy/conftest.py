"""Tests of this folder need an Envoy: they skip without one, loudly, and fail where CI runs them."""

from __future__ import annotations

import os
import shutil

import pytest

from controlplane.agent.envoy import EnvoyNotFoundError, envoy_binary


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
    tools = [tool for tool in ("ip", "iptables-restore", "setpriv", "curl") if shutil.which(tool) is None]
    if tools:
        missing(f"needs {', '.join(tools)}: apt-get install iproute2 iptables util-linux curl")
