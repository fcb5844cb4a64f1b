"""Scripts that fail as Envoy loads them for a name that nothing sets: found by reading them, refused by an Envoy."""

from __future__ import annotations

import pytest

from controlplane.apis.validation.lua_names import unset_name
from controlplane.constraints.extensions import lua_problem
from controlplane.validation.verdict import verdict
from tests.compiler.histories import manifest
from tests.constraints.test_like_envoy import with_lua
from tests.envoy.judge import refused_listeners

UNSET = {
    "an index": "request.headers['x'].matches('(')",
    "handle": "handle:logInfo('loaded')\nfunction envoy_on_request(h) end",
    "settings": "-- settings\nlocal limit = settings.limit -- [[ settings = {}\nfunction envoy_on_request(h) end",
    "tale": "local names = tale { 'a', [[ tale = 1 ]] }",
    "after a function": "function envoy_on_request(h)\n if h then handle.x() end\nend\nhandle.y()",
    "in a block": "do local a = 'end' log.debug(a) end",
}
FINE = {
    "inside of a function": "function envoy_on_request(h) for i = 1, 2 do if h then request.headers() end end end",
    "known": "local lower = string.lower\nlocal at = os.time()\nfunction envoy_on_request(h) end",
    "set": "limits = {a = 1}\nlocal a, b = limits.a, limits['b']\nlocal f = function(c) return c end\nf{b}\nf''",
    "own function": "function mine() return {} end\nmine().x = 1\nlocal t = {}\nfunction t.f() end\nt.f()",
    "whether it is there": "local n = ngx and ngx.now() or 0",
    "texts": "local t = [[ unset.name ]] .. 'unset.name' .. \"unset.name\" --[[ unset.name ]]",
    "by its name": "_G['lat' .. 'er'] = {}\nlater.x = 1",
    "required": "local bit = require('bit')\nlocal x = bit.band(1, 3)",
    "goto": "goto out\n::out::",
    "other brackets": "local t = [==[ unset.name ]==]",
}


@pytest.mark.slow
def test_scripts_are_read_as_envoy_loads_them() -> None:
    assert not any(map(lua_problem, (*UNSET.values(), *FINE.values())))
    found = {name: unset_name(script) for name, script in {**UNSET, **FINE}.items()}
    assert [name for name in found if found[name]] == list(UNSET)
    listeners = [with_lua(name, script) for name, script in {**UNSET, **FINE}.items()]
    assert sorted(refused_listeners(listeners)) == sorted(UNSET)


def test_the_name_is_told() -> None:
    spec = {"lua": {"inlineCode": UNSET["settings"]}}
    seen = verdict(manifest("extensions.istio.io/v1alpha1", "TrafficExtension", "shop", "script", spec=spec))
    assert seen is not None
    assert not seen.errors
    (warning,) = seen.warnings
    assert "spec.lua.inlineCode: nothing sets 'settings'" in str(warning)
