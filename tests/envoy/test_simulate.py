"""What is foretold of a request is what a stock Envoy does with it: the same random calls go through both.

``bench/simulate.py`` does the same with as many as one likes.
"""

from __future__ import annotations

import pytest

from tests.envoy.contest import contest

CALLS = 40


@pytest.mark.parametrize("seed", [3, 11])
async def test_what_is_foretold_happens(seed: int) -> None:
    """Through a sidecar, a gateway and the server's side of a sidecar, in one random mesh."""
    differences = await contest(seed, CALLS)
    told = [f"{each.side}: {each.text}\n{each.call}\n{each.outcome}" for each in differences]
    assert not differences, "\n\n".join(told)
