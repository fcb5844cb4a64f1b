"""What stands for a PeerAuthentication that cannot be used: STRICT wherever it may have asked for it."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.apis.closing.peers import stand_in
from controlplane.apis.parse import parse_spec
from controlplane.apis.validation.report import Subject

STRICT: dict[str, Any] = {"mode": "STRICT"}
LOOSE: dict[str, Any] = {"mode": "PERMISSIVE"}
WEB: dict[str, Any] = {"selector": {"matchLabels": {"app": "web"}}}
BAD_PORT: dict[str, Any] = {"portLevelMtls": {"70000": LOOSE}}

Said = tuple[bool, dict[int, str], dict[str, str] | None]
CASES: dict[str, tuple[Any, Said]] = {
    "asks, a port is wrong": ({**WEB, "mtls": STRICT, **BAD_PORT}, (True, {}, {"app": "web"})),
    "does not ask": ({**WEB, "mtls": LOOSE, **BAD_PORT}, (False, {}, {"app": "web"})),
    "nothing is asked": ({**WEB, **BAD_PORT}, (False, {}, {"app": "web"})),
    "a wrong port asks": (
        {**WEB, "portLevelMtls": {"http": STRICT, "80": LOOSE}},
        (True, {80: "UNSET"}, {"app": "web"}),
    ),
    "a port asks, the mode is wrong": (
        {**WEB, "mtls": {"mode": "Off"}, "portLevelMtls": {"80": STRICT}},
        (True, {80: "STRICT"}, {"app": "web"}),
    ),
    "a port asks, no mode": (
        {**WEB, "portLevelMtls": {"80": STRICT, "81": {"mode": "strict"}, "82": {"mod": "STRICT"}, "x": LOOSE}},
        (False, {80: "STRICT", 81: "STRICT", 82: "STRICT"}, {"app": "web"}),
    ),
    "one port twice": (
        {**WEB, "portLevelMtls": {80: STRICT, "080": {}, "x": {}}},
        (False, {80: "STRICT"}, {"app": "web"}),
    ),
    "ports are no mapping": ({**WEB, "portLevelMtls": [80]}, (True, {}, {"app": "web"})),
    "no ports": ({**WEB, "portLevelMtls": {}}, (False, {}, {"app": "web"})),
    "ports without end": ({**WEB, "portLevelMtls": {port: {} for port in range(600)}}, (True, {}, {"app": "web"})),
    "ports of nobody": ({"portLevelMtls": {"80": STRICT}}, (False, {80: "STRICT"}, {})),
    "mode is lower case": ({"mtls": {"mode": "strict"}}, (True, {}, None)),
    "mode is a number": ({"mtls": {"mode": 1}}, (True, {}, None)),
    "mode is misspelt": ({"mtls": {"mod": "STRICT"}}, (True, {}, None)),
    "beside the mode": ({"mtls": {**LOOSE, "of": "all"}}, (False, {}, None)),
    "mtls is a text": ({"mtls": "STRICT"}, (True, {}, None)),
    "mtls is misspelt": ({**WEB, "mTLS": STRICT}, (True, {}, {"app": "web"})),
    "selector has a star": ({"selector": {"matchLabels": {"app": "*"}}, "mtls": STRICT}, (True, {}, {})),
    "selector is misspelt": ({"selectr": WEB["selector"], "mtls": STRICT}, (True, {}, {})),
    "misspelt and loose": ({"selector": {"matchLabel": {"app": "web"}}, "mtls": LOOSE}, (False, {}, {})),
    "a text": ("STRICT", (True, {}, {})),
    "a list": ([STRICT], (True, {}, {})),
    "nothing": (None, (False, {}, None)),
}
"""A ``spec``, whether all is STRICT, what ports are, and for whom: ``None`` its namespace, ``{}`` nobody knows."""


@pytest.mark.parametrize(("raw", "said"), CASES.values(), ids=CASES)
def test_what_stands(raw: Any, said: Said) -> None:
    found = stand_in(raw)
    labels = found.selector.match_labels if found.selector is not None else None
    ports = {port: str(stated.mode) for port, stated in found.port_level_mtls.items()}
    assert (found.mtls is not None, ports, labels) == said
    if found.mtls is not None:
        assert found.mtls.mode == "STRICT"


@pytest.mark.parametrize("raw", [raw for raw, _ in CASES.values() if raw is not None])
def test_each_of_them_is_refused(raw: Any) -> None:
    assert parse_spec("PeerAuthentication", raw, Subject("shop", "a")).model is None
