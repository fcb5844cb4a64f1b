"""Key sets: the reasons; ``tests/constraints/test_like_envoy.py`` compares with a real Envoy."""

from __future__ import annotations

import json

import pytest

from controlplane.documents.key_sets import EMPTY, key_set_problem

SECRET = {"kty": "oct", "k": "c2VjcmV0"}
SHORT = {"kty": "RSA", "n": "AQAB", "e": "AQAB"}


def key_set(*keys: object, **others: object) -> str:
    return json.dumps({"keys": keys, **others})


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param(key_set(SECRET), "", id="good"),
        pytest.param(key_set(SHORT, 5, SECRET), "", id="one-of-them-is-good"),
        pytest.param(key_set(), EMPTY, id="empty"),
        pytest.param(key_set(SHORT, 5), "no key that Envoy can use: n must be an odd number", id="none-is-good"),
        pytest.param(key_set({"kty": ["oct"]}), "kty is none of", id="no-type"),
        pytest.param(key_set({**SECRET, "k": 5}), "k is required", id="number-for-text"),
        pytest.param("x", "is not JSON", id="no-json"),
        pytest.param("[]", "no list of keys", id="no-object"),
        pytest.param('{"keys": {}}', "no list of keys", id="no-list"),
        pytest.param('{"keys": [], "keys": []}', "key 'keys' is repeated", id="twice"),
        pytest.param(key_set(SECRET, a=[10**400]), "a number is too large", id="large-integer"),
        pytest.param('{"keys": [{"kty": "oct", "k": "AA", "a": 1e999}]}', "a number is too large", id="infinity"),
        pytest.param('{"keys": ' + "[" * 100_000, "nested deeper", id="deep"),
    ],
)
def test_reasons(text: str, reason: str) -> None:
    found = key_set_problem(text)
    assert reason in found
    assert bool(found) == bool(reason)


def test_a_key_set_is_looked_at_once_however_many_listeners_have_it() -> None:
    text = json.dumps({"keys": [{"kty": "EC", "x": "AQ", "y": "AQ"}] * 3 + [{"kty": "oct", "k": "Zm9v"}]})
    before = key_set_problem.cache_info()
    assert [key_set_problem(each) for each in (text, str(text.encode(), "utf-8"))] == ["", ""]
    assert key_set_problem.cache_info().misses == before.misses + 1
