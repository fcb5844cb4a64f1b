"""What becomes of a request, in the last line and in the words of JSON."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from controlplane.cli.mesh_files import completed
from controlplane.compiler.compiler import Compiler
from controlplane.model.proxy import Proxy
from controlplane.registry.store import Registry
from controlplane.simulate.built import mesh_of
from controlplane.simulate.mesh import Mesh, UnknownProxyError
from controlplane.simulate.questions import WrongQuestionError, explained_request
from tests.cli.command import ROOT
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


HTTP_PROXY = {"INTERCEPTION_MODE": "NONE", "HTTP_PROXY_PORT": "15080", "UNPRIVILEGED_POD": "true"}


def proxied(namespace: str = "shop", **metadata: str) -> Proxy:
    """Return a sidecar that says this of itself."""
    domain = f"{namespace}.svc.cluster.local"
    return Proxy("sidecar", f"client.{namespace}", ("10.9.9.9",), namespace, domain, {}, metadata=metadata)


def test_a_proxy_by_the_name_that_status_shows_is_told_how_it_is_written_here() -> None:
    mesh = Mesh(Compiler(Registry()), {"client.default-1": proxied("default")})
    with pytest.raises(UnknownProxyError, match=r"is none of pod/.*; write pod/default/client$"):
        mesh.proxy("client.default")
    with pytest.raises(UnknownProxyError, match=r"namespace/NAMESPACE$"):
        mesh.proxy("other.default")


def test_a_sidecar_that_intercepts_nothing_is_used_as_http_proxy() -> None:
    """The routes are those of its HTTP proxy, by the host that is asked for."""
    canary = (completed([ROOT / "samples" / "canary"])).change_set()
    asked = [("from", "pod/default/client"), ("url", "http://web/"), ("header", "canary: always")]

    async def answer_of(proxy: Proxy) -> Any:
        return await explained_request(await mesh_of(canary), asked, proxy)

    answer = asyncio.run(answer_of(proxied("default", **HTTP_PROXY)))
    captured = asyncio.run(answer_of(proxied("default")))
    (listener,) = (each for each in answer["steps"] if each["step"] == "listener")
    assert (listener["value"], "used as HTTP proxy" in listener["note"]) == ("127.0.0.1_15080", True)
    assert answer["outcome"]["destinations"] == captured["outcome"]["destinations"]
    assert (answer["fails"], answer["outcome"]["destinations"][0]["subset"]) == (False, "v2")


def test_an_http_proxy_does_not_know_the_address_of_a_host_that_is_no_service() -> None:
    answer = explain(RATINGS, "http://elsewhere.example.com/", proxy=proxied(**HTTP_PROXY))
    told = "503 UH (no healthy upstream): no service has the host, and an HTTP proxy does not know the address"
    assert (answer["fails"], answer["result"].startswith(told)) == (True, True), answer["result"]


def test_a_listener_of_its_own_is_called_where_nothing_is_intercepted() -> None:
    answer = explain(RATINGS, "http://127.0.0.1:9080/", "GET", "Host: reviews", JASON, proxy=proxied(**HTTP_PROXY))
    (listener,) = (each for each in answer["steps"] if each["step"] == "listener")
    assert listener["value"] == "127.0.0.1_9080"


def test_what_an_http_proxy_does_not_take_is_told() -> None:
    answer = explain(RATINGS, "https://reviews/", proxy=proxied(**HTTP_PROXY))
    told = "; this sidecar intercepts nothing, and is an HTTP proxy at 127.0.0.1:15080"
    assert (answer["outcome"]["fate"], answer["result"].endswith(told)) == ("no_listener", True), answer["result"]


def test_a_captured_sidecar_is_not_followed_as_http_proxy() -> None:
    answer = explain(RATINGS, f"{REVIEWS}/", "GET", JASON, proxy=proxied(HTTP_PROXY_PORT="15080"))
    (listener,) = (each for each in answer["steps"] if each["step"] == "listener")
    assert listener["value"] != "127.0.0.1_15080"


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
