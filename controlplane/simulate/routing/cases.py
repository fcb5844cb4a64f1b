"""Files of routing tests: ``from``, ``proxies`` and ``tests``, each test with a request and what is expected."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from itertools import product
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE"})
_MOST_CASES = 1000


class BadTestsError(Exception):
    """A file that holds no routing tests; ``str()`` has every reason, one a line."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


def _address(text: str) -> str:
    return str(ip_address(text))


class Described(_Model):
    """A proxy that a file describes, where no object does."""

    namespace: str
    type: Literal["sidecar", "router"] = "sidecar"
    ip: Annotated[str, AfterValidator(_address)] = "198.51.100.1"
    labels: dict[str, str] = {}
    locality: str = ""


class Wanted(_Model):
    """What must become of a request; what is not named is not compared.

    ``service`` is a host, or the beginning of one (``reviews.shop``). ``weights`` are shares in percent by service, or
    ``service/subset``; ``clusters`` the same by cluster. ``timeout`` is written ``3s``, ``none`` for none.
    ``denied_by`` is ``KIND/NAMESPACE/NAME``. ``outcome`` is a fate (``passthrough``, ``blackhole``, ``no_route``).
    ``by_priority`` are endpoints by priority, ``by_locality`` percent by place.
    """

    service: str | None = None
    subset: str | None = None
    route: str | None = None
    weights: dict[str, float] | None = None
    clusters: dict[str, float] | None = None
    cluster: str | None = None
    endpoints: list[str] | None = None
    by_priority: list[list[str]] | None = None
    by_locality: dict[str, float] | None = None
    timeout: str | None = None
    attempts: int | None = None
    mirrors: list[str] | None = None
    path: str | None = None
    host: str | None = None
    server_name: str | None = None
    status: int | None = None
    redirect: int | None = None
    location: str | None = None
    denied_by: str | None = None
    outcome: str | None = None


class Asking(_Model):
    """A request; ``each`` has values for words in braces, and every combination of them is asked."""

    url: str
    method: str = "GET"
    headers: dict[str, str] = {}
    source: str = ""
    each: dict[str, list[str]] = {}


def _asking(value: object) -> object:
    """Read ``GET http://reviews/`` as a request."""
    if not isinstance(value, str):
        return value
    method, _, url = value.rpartition(" ")
    return {"url": url, "method": method or "GET"}


def _named(wanted: Wanted) -> Wanted:
    if not wanted.model_fields_set:
        raise ValueError("names nothing that is expected")
    return wanted


class Test(_Model):
    """One test; ``skip`` is the reason why it fails for now: it is run all the same, and fails once it would pass."""

    name: str
    request: Annotated[Asking, BeforeValidator(_asking)]
    expect: Annotated[Wanted, AfterValidator(_named)]
    origin: str = Field("", alias="from")
    identity: str = Field("", alias="as")
    headers: dict[str, str] = {}
    skip: str = ""


class _File(_Model):
    origin: str = Field("", alias="from")
    proxies: dict[str, Described] = {}
    tests: list[Test]


@dataclass(frozen=True, slots=True)
class Case:
    """One request of a test, and where it stands: ``file`` and the test's ``name``, with the values of ``each``."""

    file: str
    name: str
    pairs: tuple[tuple[str, str], ...]
    wanted: Wanted
    described: Described | None = None
    skip: str = ""
    values: Mapping[str, str] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """The name, with the values that this request is made with."""
        told = ", ".join(f"{name}={value}" for name, value in self.values.items())
        return f"{self.name} [{told}]" if told else self.name


def cases(value: Any, file: str) -> list[Case]:  # noqa: ANN401 - unread YAML
    """Return the requests of a file's tests.

    Raises:
        BadTestsError: it is no such file.
    """
    try:
        held = _File.model_validate(value)
    except ValidationError as error:
        raise BadTestsError("\n".join(_problem(file, value, each) for each in error.errors())) from error
    found = [case for test in held.tests for case in _cases(file, held, test)]
    if len(found) > _MOST_CASES:
        raise BadTestsError(f"{file}: more than {_MOST_CASES} requests")
    return found


def _problem(file: str, value: Any, error: Any) -> str:  # noqa: ANN401 - unread YAML, and pydantic's own
    place = list(error["loc"])
    name = ""
    if place[:1] == ["tests"] and len(place) > 1 and isinstance(value, dict):
        test = value["tests"][place[1]]
        name = f" ({test['name']!r})" if isinstance(test, dict) and "name" in test else ""
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place).lstrip(".")
    return f"{file}: {path or 'the file'}{name}: {error['msg'].removeprefix('Value error, ')}"


def _cases(file: str, held: _File, test: Test) -> Iterator[Case]:
    origin = test.origin or held.origin
    described = held.proxies.get(origin)
    if not origin:
        raise BadTestsError(f"{file}: {test.name!r} has no from, and the file has none either")
    asked = test.request
    names = list(asked.each)
    for name, listed in asked.each.items():
        if not listed:
            raise BadTestsError(f"{file}: {test.name!r}: each.{name} has no values, so nothing is asked")
        if name != "method" and not _uses(test, name):
            reason = f"{{{name}}} stands neither in the URL nor in headers"
            raise BadTestsError(f"{file}: {test.name!r}: each.{name}: {reason}")
    for values in product(*asked.each.values()):
        held_values = dict(zip(names, values, strict=True))
        yield Case(
            file,
            test.name,
            tuple(_pairs(origin, test, held_values)),
            test.expect,
            described,
            test.skip,
            held_values,
        )


def _uses(test: Test, name: str) -> bool:
    """Whether a value of ``each`` is put in anywhere."""
    asked = test.request
    texts = (asked.method, asked.url, *asked.headers.values(), *test.headers.values())
    return any(f"{{{name}}}" in text for text in texts)


def _pairs(origin: str, test: Test, values: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    asked = test.request

    def filled(text: str) -> str:
        for name, value in values.items():
            text = text.replace(f"{{{name}}}", value)
        return text

    method = values.get("method", asked.method) if "{method}" not in asked.url else asked.method
    yield "from", origin
    yield "method", filled(method)
    yield "url", filled(asked.url)
    for name, value in {**asked.headers, **test.headers}.items():
        yield "header", f"{name}: {filled(value)}"
    if test.identity:
        yield "as", test.identity
    if asked.source:
        yield "source", asked.source
