"""Global rate limits with the service that Istio's documentation has: envoyproxy/ratelimit, which counts in a Redis."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from samples.control_plane import LOOPBACK, free_port
from samples.traffic import Answer
from tests.envoy.conftest import missing
from tests.envoy.mesh import Mesh, eventually, eventually_all, istio, routes, service, to
from tests.envoy.servers import started
from tests.envoy.test_extensions import sample, statuses
from tests.ratelimit.build import RATE_LIMIT

pytestmark = pytest.mark.asyncio(loop_scope="session")

ALLOWED, ASKED = 3, 8
LIMITS = {
    "domain": "ratelimit",
    "descriptors": [
        {"key": "PATH", "value": "/none", "rate_limit": {"unit": "year", "requests_per_unit": 0}},
        {"key": "PATH", "value": "/paid", "rate_limit": {"unit": "year", "requests_per_unit": ALLOWED}},
    ],
}


@pytest.fixture
def programs() -> tuple[str, str]:
    """Redis and the service are there."""
    redis = shutil.which("redis-server")
    if redis is None:
        missing("needs redis-server: apt-get install redis-server")
    if not RATE_LIMIT.path.exists():
        missing("the rate limit service is not there: `make ratelimit` builds it")
    return str(redis), str(RATE_LIMIT.path)


def service_environment(folder: Path, redis: int, grpc: int) -> dict[str, str]:
    """Return the settings of the service, whose limits stand in a file below the folder."""
    file = folder / "ratelimit" / "config" / "limits.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml.safe_dump(LIMITS))
    return {
        "REDIS_SOCKET_TYPE": "tcp",
        "REDIS_URL": f"{LOOPBACK}:{redis}",
        "RUNTIME_ROOT": str(folder),
        "RUNTIME_SUBDIRECTORY": "ratelimit",
        "RUNTIME_WATCH_ROOT": "false",
        "USE_STATSD": "false",
        "LOG_LEVEL": "warn",
        "HOST": LOOPBACK,
        "GRPC_HOST": LOOPBACK,
        "DEBUG_HOST": LOOPBACK,
        "PORT": str(free_port()),
        "GRPC_PORT": str(grpc),
        "DEBUG_PORT": str(free_port()),
    }


async def test_the_service_counts_requests_for_all_and_for_good(
    mesh: Mesh, programs: tuple[str, str], tmp_path: Path
) -> None:
    """So many of one path pass, the rest is 429; also when the service begins anew, since Redis has the counts."""
    redis, limits = programs
    redis_port, grpc_port = free_port(), free_port()
    v1, host = await mesh.backend("v1"), "ratelimit.test"
    answering = istio(
        "ServiceEntry",
        "ratelimit",
        hosts=[host],
        ports=[{"number": 8081, "name": "grpc", "protocol": "GRPC"}],
        resolution="STATIC",
        endpoints=[{"address": LOOPBACK, "ports": {"grpc": grpc_port}}],
    )
    mesh.write(service([v1]), routes({"route": [to()]}), answering)
    web = await mesh.sidecar()
    await eventually_all(web, Answer(200, "v1", "/"))

    async def refuses() -> bool:
        return set(await statuses(web, path="/none")) == {429}

    environment = service_environment(tmp_path, redis_port, grpc_port)
    command = [redis, "--port", str(redis_port), "--bind", LOOPBACK, "--save", "", "--appendonly", "no"]
    async with started("redis", command, tmp_path / "redis.log", redis_port):
        async with started("the rate limit service", [limits], tmp_path / "limits.log", grpc_port, **environment):
            mesh.write(*sample("global.yaml", **{"ratelimit.default.svc.cluster.local": host}))
            await eventually(refuses, "the service is asked")
            found = [status for _ in range(ASKED) for status in await statuses(web, path="/paid", count=1)]
            assert found == [200] * ALLOWED + [429] * (ASKED - ALLOWED)
        async with started("the rate limit service", [limits], tmp_path / "limits.log", grpc_port, **environment):
            await eventually(refuses, "the service is asked again")
            assert set(await statuses(web, path="/paid")) == {429}
