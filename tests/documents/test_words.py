"""Addresses as they are written."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.documents.words import is_ipv4, is_plain_ipv4


def _is_address(text: str) -> bool:
    try:
        IPv4Address(text)
    except ValueError:
        return False
    return True


@given(text=st.text("0123456789.٣ \0x-", max_size=16) | st.ip_addresses(v=4).map(str))
def test_a_plain_address_is_what_python_takes_for_one(text: str) -> None:
    assert is_plain_ipv4(text) == _is_address(text)
    assert is_ipv4(text) or not is_plain_ipv4(text)


@pytest.mark.parametrize(
    ("text", "plain", "four_numbers"),
    [
        ("10.0.0.1", True, True),
        ("10.0.0.01", False, True),
        ("10.0.0.256", False, False),
        ("10.0.0", False, False),
        ("10.0.0.1.", False, False),
        ("٣.0.0.1", False, False),
        ("\ud800", False, False),
        ("10.0.0.1\0", False, False),
        ("", False, False),
    ],
)
def test_what_is_an_address(text: str, plain: bool, four_numbers: bool) -> None:  # noqa: FBT001
    assert (is_plain_ipv4(text), is_ipv4(text)) == (plain, four_numbers)
