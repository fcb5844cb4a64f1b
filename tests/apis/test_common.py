"""Durations, leniency of numbers and names, and immutability."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from controlplane.apis.common import duration, duration_text, json_name
from controlplane.apis.destination_rule import DestinationRule, TCPSettings
from controlplane.apis.used_fields import used_fields
from controlplane.apis.virtual_service import HTTPRetry, VirtualService


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        pytest.param("1.5s", 1.5, id="fraction"),
        pytest.param("100ms", 0.1, id="milliseconds"),
        pytest.param("1h2m3s", 3723, id="several-units"),
        pytest.param("0", 0, id="bare-zero"),
        pytest.param("0s", 0, id="zero"),
        pytest.param(".5s", 0.5, id="no-leading-digit"),
        pytest.param("250us", 0.00025, id="microseconds"),
        pytest.param("-1s", -1, id="negative"),
        pytest.param("3.000001s", 3.000001, id="protobuf-json"),
    ],
)
def test_duration(text: str, seconds: float) -> None:
    assert duration(text) == timedelta(seconds=seconds)
    assert duration(duration_text(duration(text))) == duration(text)


@pytest.mark.parametrize("value", ["", "5", "1d", "s", "1.5", "1 s", 5, None, "1s garbage", "99999999999999h"])
def test_not_a_duration(value: object) -> None:
    with pytest.raises(ValueError, match="duration"):
        duration(value)


@pytest.mark.parametrize(
    ("name", "alias"),
    [
        ("consecutive_5xx_errors", "consecutive5xxErrors"),
        ("http1_max_pending_requests", "http1MaxPendingRequests"),
        ("export_to", "exportTo"),
        ("sha256", "sha256"),
    ],
)
def test_json_name(name: str, alias: str) -> None:
    assert json_name(name) == alias


@pytest.mark.parametrize(
    ("raw", "attempts"),
    [
        pytest.param(3, 3, id="number"),
        pytest.param("3", 3, id="text"),
        pytest.param(3.0, 3, id="integral-float"),
        pytest.param(None, 0, id="null-is-absent"),
    ],
)
def test_lenient_numbers(raw: Any, attempts: int) -> None:
    assert HTTPRetry.model_validate({"attempts": raw}).attempts == attempts


@pytest.mark.parametrize("raw", [True, 1.5, "x", [1], 2**31])
def test_not_an_int32(raw: Any) -> None:
    with pytest.raises(ValidationError):
        HTTPRetry.model_validate({"attempts": raw})


def test_original_names_are_accepted() -> None:
    assert VirtualService.model_validate({"hosts": ["a"], "export_to": ["."]}).export_to == (".",)


def test_null_in_a_list_is_not_absent() -> None:
    with pytest.raises(ValidationError, match=r"http\.0"):
        VirtualService.model_validate({"hosts": ["a"], "http": [None]})


def test_zero_is_told_from_absent() -> None:
    assert TCPSettings.model_validate({"idleTimeout": "0s"}).idle_timeout == timedelta(0)
    assert TCPSettings.model_validate({}).idle_timeout is None
    with pytest.raises(ValidationError, match="1ms"):
        TCPSettings.model_validate({"connectTimeout": "0s"})


def test_models_are_immutable_and_compare_by_content() -> None:
    one, other = (DestinationRule.model_validate({"host": "a", "subsets": [{"name": "v1"}]}) for _ in range(2))
    assert one == other
    with pytest.raises(ValidationError, match="frozen"):
        one.host = "b"  # type: ignore[misc]


def test_used_fields() -> None:
    spec = VirtualService.model_validate(
        {
            "hosts": ["a"],
            "http": [
                {"retries": {"attempts": 1, "backoff": "1s"}, "match": [{"headers": {"x": {"exact": "y"}}}]},
                {"timeout": "1s"},
            ],
        }
    )
    assert used_fields(spec) == {
        "hosts",
        "hosts[]",
        "http",
        "http[]",
        "http[].retries",
        "http[].retries.attempts",
        "http[].retries.backoff",
        "http[].match",
        "http[].match[]",
        "http[].match[].headers",
        "http[].match[].headers{}",
        "http[].match[].headers{}.exact",
        "http[].timeout",
    }
