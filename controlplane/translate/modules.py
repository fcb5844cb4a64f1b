"""The settings of WebAssembly modules, which proxies fetch by themselves.

The agent beside a proxy (Istio's, or ours beside a stock Envoy) fetches the module and puts a file in its place; what
it needs to know for that stands in the module's environment; logins of registries only for callers that have proved who
they are. An Envoy without an agent gets modules that are files on its own machine. In place of another one stands what
the agent puts there when it cannot fetch one: nobody passes, with ``FAIL_OPEN`` all.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, NamedTuple

from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from envoy.extensions.filters.http.rbac.v3 import rbac_pb2 as http_rbac_pb2
from envoy.extensions.filters.http.wasm.v3.wasm_pb2 import Wasm as HttpWasm
from envoy.extensions.filters.network.rbac.v3 import rbac_pb2 as network_rbac_pb2
from envoy.extensions.filters.network.wasm.v3.wasm_pb2 import Wasm as NetworkWasm
from envoy.extensions.wasm.v3.wasm_pb2 import FailurePolicy, PluginConfig
from google.protobuf.wrappers_pb2 import StringValue

from controlplane.apis.extensions import EnvValueSource, FailStrategy, PullPolicy, WasmConfig
from controlplane.engine.recording import Query
from controlplane.model.left_out import LeftOut
from controlplane.model.objects import ObjectKey
from controlplane.registry.pull_secrets import logins_of
from controlplane.registry.store import View
from controlplane.registry.traffic_extensions import Extension, extension
from controlplane.snapshots import Resource, ResourceType
from controlplane.translate.sound import is_sound
from controlplane.translate.tls_context import typed

_FILE = "file://"
_RUNTIME = "envoy.wasm.runtime.v8"
_FETCH_SECONDS = 30
_AGENT = "_"  # a cluster that there is not: the agent fetches
_POLICIES = {
    FailStrategy.FAIL_CLOSE: FailurePolicy.FAIL_CLOSED,
    FailStrategy.FAIL_OPEN: FailurePolicy.FAIL_OPEN,
    FailStrategy.FAIL_RELOAD: FailurePolicy.FAIL_RELOAD,
}
_VERSION = "ISTIO_META_WASM_PLUGIN_RESOURCE_VERSION"
_PULL_POLICY = "ISTIO_META_WASM_IMAGE_PULL_POLICY"
_PULL_SECRET = "ISTIO_META_WASM_IMAGE_PULL_SECRET"  # noqa: S105 - the name of a variable


class ModuleKey(NamedTuple):
    """One module; ``fetches`` is set for proxies with an agent that fetches it."""

    extension: ObjectKey
    fetches: bool


def _module(view: View, key: ModuleKey) -> Resource | None:
    held = extension(view, key.extension)
    if held is None or held.wasm is None:
        return None
    config = TypedExtensionConfig(name=held.full_name)
    if key.fetches or held.wasm.url.startswith(_FILE):
        wasm = HttpWasm() if held.is_http else NetworkWasm()
        wasm.config.CopyFrom(plugin_config(held, held.wasm))
        config.typed_config.CopyFrom(typed(wasm))
    else:
        reason = "there is no agent beside the proxy that would fetch it; its fail strategy holds"
        view.note(LeftOut(f"module {held.wasm.url}", reason, (key.extension,), "it cannot be loaded"))
        config.typed_config.CopyFrom(typed(stand_in(held, held.wasm)))
    fetched = key.fetches and not held.wasm.url.startswith(_FILE)  # Envoy sees it with a file in place of the address
    if not fetched and not is_sound(view, config, f"extension {held.full_name}", lambda _: (key.extension,)):
        return None
    resource = Resource.of(ResourceType.EXTENSION, held.full_name, config.SerializeToString(deterministic=True))
    logins = logins_of(view, key.extension) if fetched else ""
    return replace(resource, confidential=_with_logins(config, logins)) if logins else resource


def _with_logins(config: TypedExtensionConfig, logins: str) -> Resource:
    """Return the settings of a module that an agent fetches, with the logins for that."""
    wasm = HttpWasm() if config.typed_config.Is(HttpWasm.DESCRIPTOR) else NetworkWasm()
    config.typed_config.Unpack(wasm)
    wasm.config.vm_config.environment_variables.key_values[_PULL_SECRET] = logins
    config.typed_config.CopyFrom(typed(wasm))
    return Resource.of(ResourceType.EXTENSION, config.name, config.SerializeToString(deterministic=True))


module: Query[ModuleKey, Resource | None] = Query(_module, isolated=True)
"""The settings of one module; ``None`` for what is no module."""
module.name = "module"


def plugin_config(held: Extension, wasm: WasmConfig) -> PluginConfig:
    """Return how a module is run. Reference: envoy.extensions.wasm.v3.PluginConfig."""
    config = PluginConfig(name=f"{held.namespace}.{held.name}", root_id=wasm.plugin_name or "")
    config.failure_policy = _POLICIES[wasm.fail_strategy]
    config.configuration.SetInParent()
    if wasm.plugin_config is not None:
        text = json.dumps(_plain(wasm.plugin_config), separators=(",", ":"), sort_keys=True, ensure_ascii=False)
        config.configuration.CopyFrom(typed(StringValue(value=text)))
    machine = config.vm_config
    machine.runtime = _RUNTIME
    _code(machine.code, wasm)
    variables = machine.environment_variables
    variables.key_values[_VERSION] = held.resource_version
    if wasm.image_pull_policy is not PullPolicy.UNSPECIFIED_POLICY:
        variables.key_values[_PULL_POLICY] = wasm.image_pull_policy.value
    if wasm.image_pull_secret is not None:
        variables.key_values[_PULL_SECRET] = ""
    for each in wasm.vm_config.env if wasm.vm_config is not None else ():
        if each.value_from is EnvValueSource.HOST:
            variables.host_env_keys.append(each.name)
        else:
            variables.key_values[each.name] = each.value
    return config


def _plain(value: Any) -> Any:  # noqa: ANN401 - JSON
    """Return JSON in which whole numbers have no fraction, as protobuf writes them."""
    match value:
        case float() if value.is_integer():
            return int(value)
        case dict():
            return {name: _plain(each) for name, each in value.items()}
        case list():
            return [_plain(each) for each in value]
        case _:
            return value


def _code(code: Any, wasm: WasmConfig) -> None:  # noqa: ANN401 - envoy.config.core.v3.AsyncDataSource
    if wasm.url.startswith(_FILE):
        code.local.filename = wasm.url.removeprefix(_FILE)
        return
    remote = code.remote
    remote.http_uri.uri = wasm.url if "://" in wasm.url else f"oci://{wasm.url}"
    remote.http_uri.timeout.seconds = _FETCH_SECONDS
    remote.http_uri.cluster = _AGENT
    remote.sha256 = wasm.sha256


def stand_in(held: Extension, wasm: WasmConfig) -> http_rbac_pb2.RBAC | network_rbac_pb2.RBAC:
    """Return what takes the place of a module that cannot be loaded: without rules all pass, with none of them nobody.

    Only ``FAIL_OPEN`` lets anybody pass.
    """
    filter_ = http_rbac_pb2.RBAC() if held.is_http else network_rbac_pb2.RBAC(stat_prefix="wasm-default-")
    if wasm.fail_strategy is not FailStrategy.FAIL_OPEN:
        filter_.rules.SetInParent()
    if not held.is_http:
        filter_.stat_prefix += "allow" if wasm.fail_strategy is FailStrategy.FAIL_OPEN else "deny"
    return filter_
