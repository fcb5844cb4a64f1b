"""Addresses as they are written."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from controlplane.documents.words import is_ip, is_portable_ip

_NEARLY = st.text("0123456789.٣ \0x-", max_size=16) | st.text("0123456789af:.%/x\0", max_size=24)
_SIXTEENS = st.lists(st.sampled_from(["", "0", "1", "ffff", "00001", "10.0.0.1", "10.0.0.01"]), max_size=10)
_ADDRESSES = st.ip_addresses().map(str) | st.ip_addresses(v=6).map(lambda address: address.exploded.upper())


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


@given(text=_NEARLY | _SIXTEENS.map(":".join) | _ADDRESSES | _ADDRESSES.map("{}%eth0".format))
@example(text="1:2:3:4:5:6:7::")
@example(text="::2:3:4:5:6:7:8")
@example(text="1:2:3:4::5:6:7:8")
@example(text="fe80::1%eth0%1")
@example(text="fe80::1%a/b")
@example(text="fe80::1%\0")
def test_an_address_is_what_python_takes_for_one(text: str) -> None:
    assert is_ip(text) == _is_address(text)
    assert is_portable_ip(text) == (_is_address(text) and "%" not in text)


@pytest.mark.parametrize(
    ("text", "portable", "address"),
    [
        ("10.0.0.1", True, True),
        ("2001:db8::1", True, True),
        ("::ffff:10.0.0.1", True, True),
        ("fe80::1%eth0", False, True),
        ("fe80::1%", False, False),
        ("10.0.0.1%eth0", False, False),
        ("10.0.0.01", False, False),
        ("10.0.0.256", False, False),
        ("10.0.0", False, False),
        ("10.0.0.1.", False, False),
        ("10.0.0.0/8", False, False),
        ("2001:db8::/32", False, False),
        ("2001:db8::1::", False, False),
        ("٣.0.0.1", False, False),
        ("\ud800", False, False),
        (":\ud800", False, False),
        ("10.0.0.1\0", False, False),
        ("::1\0", False, False),
        ("", False, False),
    ],
)
def test_what_is_an_address(text: str, portable: bool, address: bool) -> None:  # noqa: FBT001
    assert (is_portable_ip(text), is_ip(text)) == (portable, address)
