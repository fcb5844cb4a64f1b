"""Random objects of every kind, made from the models that the custom resource definitions are made from too.

Most values are such as people write, so that most objects are accepted and reach the translators; some are not.
"""

from __future__ import annotations

import random
import re
import types
from collections.abc import Sequence
from datetime import timedelta
from enum import Enum
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import ValidationError

from controlplane.apis.common import ApiModel
from controlplane.apis.kinds import KINDS
from controlplane.model.objects import Rejected
from controlplane.watchers.kinds import parse

HOSTS = (
    "web",
    "web.shop.svc.cluster.local",
    "own",
    "own.fuzz.svc.cluster.local",
    "head.shop.svc.cluster.local",
    "nobody.com",
    "api.example.com",
    "*.example.com",
    "*",
    "10.0.0.1",
)
SCOPED_HOSTS = ("*/*", "./*", "shop/*", "fuzz/own.fuzz.svc.cluster.local", "~/*", "*/*.example.com", "web")
#: by the end of the field's name; the first that fits
NAMED: tuple[tuple[str, Sequence[Any]], ...] = (
    ("gateways", ("mesh", "gw", "shop/gw", "nobody/none")),
    ("hosts", HOSTS),
    ("host", HOSTS),
    ("regex", ("a.*", "[a-z]+", "", "(", "^/x$")),
    ("subset", ("v1", "v2", "none")),
    ("exportTo", (".", "*", "shop", "~")),
    ("uri", ("/", "/x", "http://a/b", "")),
    ("authority", ("web", "a:80", "")),
    ("namespace", ("shop", "fuzz", "none")),
    ("address", ("10.1.0.9", "db.example.com", "unix:///tmp/s", "fd00::1", "x y")),
    ("addresses", ("10.7.0.1", "10.8.0.0/16", "fd00::7", "240.240.0.5")),
    ("bind", ("127.0.0.1", "0.0.0.0", "10.5.0.1", "unix:///tmp/l", "::")),
    ("protocol", ("HTTP", "TCP", "TLS", "HTTPS", "GRPC", "HTTP2", "MONGO", "UDP", "what")),
    ("defaultEndpoint", ("127.0.0.1:8080", "0.0.0.0:80", "unix:///tmp/a", "x")),
    ("locality", ("r1/z1/s", "r1", "r2/*")),
    ("from", ("r1/*", "r1/z1/*", "*", "r2")),
    ("to", ("r1/*", "r2", "shop")),
    ("credentialName", ("cert", "kubernetes://cert", "sds://x")),
    ("sniHosts", HOSTS),
    ("retryOn", ("5xx", "gateway-error,503", "reset", "")),
    ("sourceSubnet", ("10.0.0.0/8", "x")),
    ("destinationSubnets", ("10.0.0.0/8", "10.0.0.1", "x")),
    ("selector", ("web",)),
    ("name", ("http", "tcp", "v1", "x", "web")),
    ("operator", ("In", "Exists")),
    ("failoverPriority", ("app", "version=v1", "topology.kubernetes.io/region")),
)
TEXTS = (
    *("", "a", "/x", "v1", "x-header", ":authority", "%REQ(:PATH)%", "%FOO%", "100%", "é", "a" * 300, "a b", "1s"),
    *(
        "a\nb",
        "a\rb",
        "a\tb",
        "a\0b",
        "*",
        "*.a.com",
        "*foo.com",
        "a*",
        "a.*.b",
        "[::1]:80",
        "::1",
        "10.0.0.1",
        "0.0.0.0",
    ),
    *("{", "%", "//", "?x", "#", "a:b", "a,b", "1.2.3.4/33", "-1", "@", "unix:///a", "builtin://", "configmap://a/b"),
)
KEYS = ("app", "version", "x-user", ":method", "A", "r1/*", "80", "")
NUMBERS = (0, 1, 2, 50, 80, 90, 100, 443, 503, 8080, 15006, 65535)
ODD_NUMBERS = (-1, 0, 128, 129, 599, 600, 65536, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**53, 2**63, 2**64 - 1)
DURATIONS = ("1s", "10s", "1.5s", "1ms", "2m", "0s")
ODD_DURATIONS = ("-1s", "x", "1000000h", "1us", "0.0005s", "1ns", "87600h", "315576000000s", "9223372035s")
WRONG: tuple[Any, ...] = (None, "x", -1, [], {}, 1.5, True, ["x"], {"x": 1})
#: how likely a value is one that fits nowhere
MISTAKE = 0.002
ATTEMPTS = 3
#: how likely a field is that an object makes no sense without
FAVOURED = 0.9
NEEDED = frozenset({"destination", "host", "hosts", "http", "name", "number", "port", "protocol", "route", "servers"})
#: how often what is wrong with an object is taken out of it
REPAIRED = 0.8
REPAIRS = 25
_RANGE = re.compile(r"in the range (\d+)")
_PART = re.compile(r"[^.\[\]]+")


class Generator:
    """Values of models from one source of chance."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance

    def object(self, kind: str) -> dict[str, Any]:
        """Return one raw object in namespace ``fuzz``, sometimes in the mesh's root namespace."""
        declared = KINDS[kind]
        chance = self._chance
        meta: dict[str, Any] = {
            "name": chance.choice(("a", "web", "own")),
            "namespace": "istio-system" if chance.random() < 0.1 else "fuzz",
            "labels": {"app": chance.choice(("web", "own"))},
        }
        raw = {
            "apiVersion": f"{declared.group}/{chance.choice(declared.versions)}",
            "kind": kind,
            "metadata": meta,
            "spec": self.model(declared.load(), 0),
        }
        return repaired(raw) if chance.random() < REPAIRED else raw

    def model(self, model: type[ApiModel], depth: int) -> dict[str, Any]:
        """Return the raw form of a model; with luck one that it accepts, after some attempts whatever it is."""
        raw: dict[str, Any] = {}
        for attempt in range(ATTEMPTS):
            raw = self._fields(model, depth, sparse=attempt)
            try:
                model.model_validate(raw)
            except ValidationError:
                continue
            break
        return raw

    def _fields(self, model: type[ApiModel], depth: int, *, sparse: int) -> dict[str, Any]:
        likely = (0.6, 0.5, 0.35, 0.25, 0.15, 0.1)[min(depth, 5)] / (1 + sparse)
        return {
            field.alias or name: self.value(field.annotation, field.alias or name, depth)
            for name, field in model.model_fields.items()
            if field.is_required() or self._chance.random() < (FAVOURED if field.alias in NEEDED else likely)
        }

    def value(self, annotation: Any, name: str, depth: int) -> Any:
        """Return a value for a field of this type and name."""
        chance = self._chance
        if chance.random() < MISTAKE:
            return chance.choice(WRONG)
        origin, arguments = get_origin(annotation), get_args(annotation)
        if origin is Annotated:
            return self.value(arguments[0], name, depth)
        if origin in {Union, types.UnionType}:
            return self.value(chance.choice([each for each in arguments if each is not types.NoneType]), name, depth)
        if origin is tuple:
            count = chance.choice((0, 1, 1, 1, 2, 2, 3) if depth < 3 else (0, 1, 1, 2))
            return [self.value(arguments[0], name, depth + 1) for _ in range(count)]
        if origin is dict:
            count = chance.choice((0, 1, 1, 2))
            return {self._key(): self.value(arguments[1], name, depth + 1) for _ in range(count)}
        if isinstance(annotation, type) and issubclass(annotation, ApiModel):
            return self.model(annotation, depth + 1)
        return self._scalar(annotation, name)

    def _key(self) -> str:
        return self._chance.choice(KEYS)

    def _scalar(self, annotation: Any, name: str) -> Any:
        chance = self._chance
        odd = chance.random() < 0.03
        if isinstance(annotation, type) and issubclass(annotation, Enum):
            return chance.choice(list(annotation)).value
        if annotation is bool:
            return chance.random() < 0.5
        if annotation is int:
            return chance.choice(ODD_NUMBERS if odd else NUMBERS)
        if annotation is float:
            return chance.choice((0.0, 0.5, 10.0, 100.0, -1.0) if odd else (0.1, 10.0, 50.0, 100.0))
        if annotation is timedelta:
            return chance.choice(ODD_DURATIONS if odd else DURATIONS)
        if annotation is str:
            if odd:
                return chance.choice(TEXTS)
            fitting = next((texts for end, texts in NAMED if name.lower().endswith(end.lower())), TEXTS[1:5])
            return chance.choice(fitting)
        return chance.choice(WRONG[1:])


def repaired(raw: dict[str, Any]) -> dict[str, Any]:
    """Return the object without the fields it is refused for, one after another, as far as some rounds of that go."""
    for _ in range(REPAIRS):
        result = parse(raw, "fuzz")
        if not isinstance(result, Rejected):
            break
        path, _, reason = result.problems[0].partition(": ")
        parts = _PART.findall(path)
        bounds = _RANGE.search(reason)
        missing = "required" in reason or "must be set" in reason
        if bounds is not None:
            _put(raw, parts, int(bounds[1]))
        else:
            _put(raw, parts[:-1] if missing and len(parts) > 2 else parts, None)
    return raw


def _put(raw: Any, parts: Sequence[str], value: int | None) -> None:
    """Put a number in the place of what is at a path, or take that away."""
    for part in parts[:-1]:
        raw = _within(raw, part)
    last = parts[-1]
    if isinstance(raw, dict) and last != "spec":
        raw.pop(last, None)
        if value is not None:
            raw[last] = value
    elif isinstance(raw, list) and last.isdecimal() and int(last) < len(raw):
        del raw[int(last)]


def _within(raw: Any, part: str) -> Any:
    if isinstance(raw, dict):
        return raw.get(part)
    return raw[int(part)] if isinstance(raw, list) and part.isdecimal() and int(part) < len(raw) else None
