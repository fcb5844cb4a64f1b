"""Settings of filters with modules elsewhere, made into ones with modules in files."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from time import perf_counter
from typing import Any

import structlog
from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from envoy.extensions.filters.http.rbac.v3 import rbac_pb2 as http_rbac_pb2
from envoy.extensions.filters.http.wasm.v3.wasm_pb2 import Wasm as HttpWasm
from envoy.extensions.filters.network.rbac.v3 import rbac_pb2 as network_rbac_pb2
from envoy.extensions.filters.network.wasm.v3.wasm_pb2 import Wasm as NetworkWasm
from envoy.extensions.wasm.v3.wasm_pb2 import FailurePolicy
from google.protobuf.json_format import Error, MessageToDict, ParseDict
from google.protobuf.message import DecodeError
from udpa.type.v1.typed_struct_pb2 import TypedStruct as OldTypedStruct
from xds.type.v3.typed_struct_pb2 import TypedStruct

from controlplane.agent.metrics import WASM_CONVERSION_SECONDS, WASM_CONVERSIONS
from controlplane.agent.wasm.fetching import FetchError
from controlplane.agent.wasm.modules import OCI, Modules, Wanted

_PREFIX = "type.googleapis.com/"
_HTTP, _NETWORK = (_PREFIX + kind.DESCRIPTOR.full_name for kind in (HttpWasm, NetworkWasm))
_STRUCTS = {_PREFIX + kind.DESCRIPTOR.full_name: kind for kind in (TypedStruct, OldTypedStruct)}
_OWN = "ISTIO_META_"
_VERSION, _POLICY, _SECRET = (
    f"{_OWN}WASM_PLUGIN_RESOURCE_VERSION",
    f"{_OWN}WASM_IMAGE_PULL_POLICY",
    f"{_OWN}WASM_IMAGE_PULL_SECRET",
)
_NO_CHECKSUM = "nil"
_DEFAULT_TIMEOUT = timedelta(seconds=5)

log = structlog.get_logger(__name__)


async def rewrite(response: Any, modules: Modules) -> bool:  # noqa: ANN401 - a discovery response of either form
    """Put files in the place of modules in a response (SotW or delta), in place; return whether anything is another.

    A module that cannot be had becomes what its fail strategy says, and is no reason to refuse the response.

    Raises:
        ValueError: a resource cannot be read, for which the response is refused.
    """
    packed = [each if hasattr(each, "type_url") else each.resource for each in response.resources]
    return any(await asyncio.gather(*(_rewrite(each, modules) for each in packed)))


async def _rewrite(packed: Any, modules: Modules) -> bool:  # noqa: ANN401 - google.protobuf.Any
    config = TypedExtensionConfig()
    try:
        config.ParseFromString(packed.value)
        wasm = _wasm(config.typed_config)
    except (DecodeError, Error) as error:
        WASM_CONVERSIONS.inc("unmarshal_failure")
        raise ValueError(
            f"the settings of the filter {config.name or 'without a name'} cannot be read: {error}"
        ) from None
    if wasm is None or not wasm.config.vm_config.code.HasField("remote"):
        WASM_CONVERSIONS.inc("no_remote_load")
        return False
    started = perf_counter()
    machine, is_http = wasm.config.vm_config, isinstance(wasm, HttpWasm)
    variables = machine.environment_variables.key_values
    said = {name: variables[name] for name in list(variables) if name.startswith(_OWN)}
    for name in said:
        del variables[name]
    if not variables and not machine.environment_variables.host_env_keys:
        machine.ClearField("environment_variables")
    try:
        path = await modules.path(_wanted(config.name, machine.code.remote, said))
    except FetchError as error:
        log.warning("agent.module_missing", plugin=config.name, reason=str(error))
        WASM_CONVERSIONS.inc("fetch_failure")
        opens = wasm.config.failure_policy == FailurePolicy.FAIL_OPEN or wasm.config.fail_open
        config.typed_config.Pack(_stand_in(is_http=is_http, opens=opens))
    else:
        WASM_CONVERSIONS.inc("success")
        machine.code.local.filename = str(path)
        config.typed_config.Pack(wasm)
    packed.value = config.SerializeToString(deterministic=True)
    WASM_CONVERSION_SECONDS.observe(perf_counter() - started)
    return True


def _wasm(typed: Any) -> HttpWasm | NetworkWasm | None:  # noqa: ANN401 - google.protobuf.Any
    """Return the settings of a module, ``None`` where a filter is something else."""
    kinds: dict[str, type[HttpWasm | NetworkWasm]] = {_HTTP: HttpWasm, _NETWORK: NetworkWasm}
    if (kind := kinds.get(typed.type_url)) is not None:
        return kind.FromString(typed.value)
    if (struct := _STRUCTS.get(typed.type_url)) is not None:
        held = struct.FromString(typed.value)
        if (kind := kinds.get(held.type_url)) is not None:
            return ParseDict(MessageToDict(held.value), kind(), ignore_unknown_fields=True)
    return None


def _wanted(plugin: str, remote: Any, said: dict[str, str]) -> Wanted:  # noqa: ANN401 - RemoteDataSource
    url = remote.http_uri.uri
    if said.get(_SECRET) == "":
        raise FetchError(f"{url}: its pull secret is not there, or this proxy may not have it")
    policy = said.get(_POLICY, "")
    latest = url.startswith(OCI) and (url.endswith(":latest") or _untagged(url))
    given = remote.http_uri.timeout.ToTimedelta() if remote.http_uri.HasField("timeout") else _DEFAULT_TIMEOUT
    return Wanted(
        url=url,
        checksum="" if remote.sha256 == _NO_CHECKSUM else remote.sha256,
        plugin=plugin,
        version=said.get(_VERSION, ""),
        always=policy == "Always" or (not policy and latest),
        login=said.get(_SECRET, ""),
        timeout=given,
    )


def _untagged(url: str) -> bool:
    return "@" not in url and ":" not in url.rpartition("/")[2]


def _stand_in(*, is_http: bool, opens: bool) -> http_rbac_pb2.RBAC | network_rbac_pb2.RBAC:
    """Return what takes the place of a module: without rules all pass, with none of them nobody does."""
    prefix = "wasm-default-allow" if opens else "wasm-default-deny"
    made = http_rbac_pb2.RBAC() if is_http else network_rbac_pb2.RBAC(stat_prefix=prefix)
    if not opens:
        made.rules.SetInParent()
    return made
