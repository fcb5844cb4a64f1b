"""What becomes of a request, in the last line and in the words of JSON."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.simulate.questions import WrongQuestionError
from tests.simulate.bookshop import explain

PAGE, RATINGS, PUBLIC = "pod/shop/productpage", "pod/shop/ratings", "gateway/shop/public"
REVIEWS = "http://reviews:9080"
JASON = "end-user: jason"
NOBODY = "403: no rule of AuthorizationPolicy shop/reviews-viewer allows it"


@pytest.mark.parametrize(
    ("asked", "last"),
    [
        pytest.param((RATINGS, f"{REVIEWS}/", "GET", JASON), NOBODY, id="denied"),
        pytest.param((PAGE, f"{REVIEWS}/", "DELETE", JASON), NOBODY, id="denied-by-method"),
        pytest.param((RATINGS, f"{REVIEWS}/"), f"90 %  {NOBODY}\n10 %  {NOBODY}", id="denied-in-both-versions"),
        pytest.param(
            (PUBLIC, "http://nowhere.example.com:8080/"),
            "404 NR (no route): no virtual host for nowhere.example.com:8080; nearest: shop.example.com",
            id="no-virtual-host",
        ),
        pytest.param(
            (PUBLIC, "http://shop.example.com:8080/cart"),
            "404 NR (no route): no route of shop.example.com:8080 takes GET /cart; "
            "routes are for: path = /login; path = /reviews*",
            id="no-route",
        ),
        pytest.param(
            (PUBLIC, "http://shop.example.com:9999/"),
            "the connection is closed: nothing listens on port 9999; the listeners are: 0.0.0.0_8080",
            id="no-listener",
        ),
    ],
)
def test_a_failure_says_why_and_what_would_have_matched(asked: tuple[str, ...], last: str) -> None:
    answer = explain(*asked)
    assert (answer["fails"], answer["result"]) == (True, last)


@pytest.mark.parametrize(
    ("asked", "fate", "last"),
    [
        ((PUBLIC, "http://shop.example.com:8080/login"), "redirect", "301 https://id.example.com/login"),
        (("namespace/shop", "tcp://192.0.2.7:22"), "passthrough", "192.0.2.7:22  (PassthroughCluster)"),
        (("namespace/shop", "https://api.example.com/"), "passthrough", "203.0.113.10:443  (PassthroughCluster)"),
    ],
)
def test_what_is_meant_to_be_is_no_failure(asked: tuple[str, ...], fate: str, last: str) -> None:
    answer = explain(*asked)
    assert (answer["fails"], answer["outcome"]["fate"], answer["result"]) == (False, fate, last)


def test_a_caller_may_show_another_certificate() -> None:
    assert explain(RATINGS, f"{REVIEWS}/", "GET", JASON)["fails"]
    assert not explain(RATINGS, f"{REVIEWS}/", "GET", JASON, as_="sa/shop/productpage")["fails"]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (("gateway/shop/pubic", REVIEWS), "there is no Gateway pubic in namespace shop; nearest: public"),
        (("shop", REVIEWS), "'shop' is none of pod/NAMESPACE/NAME"),
        (("namespace/shop", "ftp://reviews/"), "begins with none of http://"),
        (("namespace/shop", "tcp://reviews"), "has no port"),
        (("namespace/shop", "http://reviews:99999/"), "is no URL"),
        (("namespace/shop", "http://[::1/"), "is no URL"),
    ],
)
def test_a_wrong_question_is_told_of(asked: tuple[str, ...], said: str) -> None:
    with pytest.raises(WrongQuestionError, match=said.replace("[", r"\[")):
        explain(*asked)


def test_the_lines_say_what_was_not_chosen() -> None:
    answer: Any = explain(PAGE, f"{REVIEWS}/preview")
    routes = [step for step in answer["steps"] if step["step"] == "route"]
    assert [(step["value"], step.get("verdict", "")) for step in routes] == [
        ("1 of 3  jason-to-v2", "no"),
        ("2 of 3  preview", ""),
        ("3 of 3  default", "not reached"),
    ]
    assert routes[0]["steps"] == [{"step": "header", "value": "end-user = jason", "verdict": "no"}]
