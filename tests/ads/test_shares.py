"""When a replica has too many proxies, and how many it sends away."""

from __future__ import annotations

import pytest

from controlplane.ads.shares import Balance, Load, Surplus


def _surplus(own: float, *others: float) -> Surplus:
    return Balance().surplus(Load(int(own)), [Load(int(each)) for each in others])


def test_a_replica_alone_has_no_surplus() -> None:
    assert _surplus(500) == Surplus(500)
    assert _surplus(0) == Surplus(0)
    assert _surplus(0, 0, 0) == Surplus(0)


@pytest.mark.parametrize("loads", [(1199, 900, 901), (1000, 801, 1199), (3, 0), (20, 12, 28), (1, 0, 0)])
def test_what_chance_makes_uneven_is_even(loads: tuple[int, ...]) -> None:
    assert _surplus(*loads).ends == 0


def test_as_many_are_sent_away_as_bring_what_others_lack() -> None:
    """Of three that proxies go to at random one lacks them, so a third of what is sent away goes there."""
    assert tuple(_surplus(2500, 2500, 0)) == pytest.approx((1667, 833 * 3, 5000 / 3, 1 / 3))
    assert tuple(_surplus(3000, 0, 0)) == pytest.approx((1000, 3000, 2000, 2 / 3))
    assert tuple(_surplus(1300, 850, 850)) == pytest.approx((1000, 450, 300, 2 / 3))


def test_who_lacks_proxies_sends_none_away() -> None:
    assert _surplus(0, 2500, 2500).ends == 0
    assert _surplus(850, 850, 1300).ends == 0


def test_a_tenth_replica_gets_its_share_although_nobody_has_much_more_than_that() -> None:
    assert tuple(_surplus(555, *(555 for _ in range(8)), 0)) == pytest.approx((500, 550, 499.5, 0.1))


def test_twice_the_weight_is_twice_the_share() -> None:
    heavy, light = Load(1000, 2.0), Load(1000, 1.0)
    assert Balance().surplus(heavy, [light]).ends == 0, "it lacks some"
    assert tuple(Balance().surplus(light, [heavy])) == pytest.approx((667, 666, 1000 / 3, 0.5))
    assert Balance().surplus(Load(2000, 2.0), [light]) == Surplus(2000)


def test_between_the_two_thresholds_nothing_begins_and_nothing_ends() -> None:
    balance = Balance()
    between = [(1100, 900), (1055, 945)]
    for own, other in between:
        assert not balance.surplus(Load(own), [Load(other)]).ends
    assert balance.surplus(Load(1300), [Load(700)]).ends
    for own, other in between:
        assert balance.surplus(Load(own), [Load(other)]).ends, "it has begun"
    assert not balance.surplus(Load(1020), [Load(980)]).ends
    for own, other in between:
        assert not balance.surplus(Load(own), [Load(other)]).ends, "it is over"
