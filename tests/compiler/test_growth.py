"""What is made for proxies takes time by the size of the objects, whatever there is much of."""

from __future__ import annotations

import pytest

from bench.translating import ROWS, seconds

SIZE, TIMES = 200, 8
SHORT = 0.05
#: quadratic work is from 20 to 64 times as much at 8 times the size
MOST_TIMES = 14
#: a busy machine makes one measurement long, or short; what grows too fast does so in each
TRIES = 5


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS)
def test_time_grows_with_size(row: str) -> None:
    seconds(row, 10)
    found = []
    for _ in range(TRIES):
        small, large = min(seconds(row, SIZE) for _ in range(2)), seconds(row, TIMES * SIZE)
        if large < max(SHORT, MOST_TIMES * small):
            return
        found.append(f"{small * 1e3:.1f} ms, {large * 1e3:.1f} ms")
    pytest.fail("; ".join(found))
