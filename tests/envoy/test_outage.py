"""The control plane is killed under load; ``make outage`` does this for five minutes."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.envoy.outage import change, pods_of, until_made_up, until_noticed
from tests.envoy.strict_pods import asked


@pytest.mark.usefixtures("pods")
async def test_no_request_fails_while_the_control_plane_is_away() -> None:
    """Connections with mutual TLS are made meanwhile; what changed is in force once it is there again."""
    async with pods_of(timedelta(hours=2)) as pods, asked(pods.client, 4) as word:
        await word()
        await pods.control_plane.kill()
        await until_noticed(pods)
        change(pods.config)
        enough = (await word())["requests"] + 200
        while (await word())["requests"] < enough:
            pass
        await pods.control_plane.start()
        await until_made_up(pods)
        said = await word()
    assert said["failures"] == {}
