"""WasmPlugin and TrafficExtension: filters of the user's own."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from controlplane.apis.common import (
    ONE_TARGET,
    ApiModel,
    Int32,
    PolicyTargetReference,
    PortNumber,
    TargetReferences,
    WorkloadMode,
    WorkloadSelector,
    at_most_one,
    rule,
)
from controlplane.apis.urls import NotAURLError, scheme_of

_SCHEMES = {"", "http", "https", "file", "oci"}


def _module_address(value: str) -> str:
    message = "url must have schema one of [http, https, file, oci]"
    try:
        scheme = scheme_of(value)  # also the name of a registry before its port
    except NotAURLError:
        try:
            scheme = scheme_of(f"http://{value}")  # an image without scheme
        except NotAURLError as error:
            raise ValueError(f"{message}, and be a URL: it {error}") from None
    if scheme not in _SCHEMES:
        raise ValueError(message)
    return value


class PluginPhase(StrEnum):
    """Where in the chain the filter stands; ``UNSPECIFIED_PHASE`` is near the router."""

    UNSPECIFIED_PHASE = "UNSPECIFIED_PHASE"
    AUTHN = "AUTHN"
    AUTHZ = "AUTHZ"
    STATS = "STATS"


class ExecutionPhase(StrEnum):
    """Where in the chain the filter stands (TrafficExtension's wording)."""

    UNSPECIFIED = "UNSPECIFIED"
    AUTHN = "AUTHN"
    AUTHZ = "AUTHZ"
    STATS = "STATS"


class PluginType(StrEnum):
    """Whether the filter sees requests or bytes; unspecified means requests."""

    UNSPECIFIED_PLUGIN_TYPE = "UNSPECIFIED_PLUGIN_TYPE"
    HTTP = "HTTP"
    NETWORK = "NETWORK"


class FailStrategy(StrEnum):
    """What becomes of traffic when the filter fails."""

    FAIL_CLOSE = "FAIL_CLOSE"
    FAIL_OPEN = "FAIL_OPEN"
    FAIL_RELOAD = "FAIL_RELOAD"


class PullPolicy(StrEnum):
    """When an image is fetched again."""

    UNSPECIFIED_POLICY = "UNSPECIFIED_POLICY"
    IF_NOT_PRESENT = "IfNotPresent"
    ALWAYS = "Always"


class EnvValueSource(StrEnum):
    """Whether the value stands here or in the proxy's environment."""

    INLINE = "INLINE"
    HOST = "HOST"


class EnvVar(ApiModel):
    """A variable given to the module."""

    name: Annotated[str, Field(min_length=1, max_length=256)]
    value: Annotated[str, Field(max_length=2048)] = ""
    value_from: EnvValueSource = EnvValueSource.INLINE

    _inline = rule(
        lambda env: env.value_from is not EnvValueSource.HOST or not env.has("value"),
        "value may only be set when valueFrom is INLINE",
    )


class VmConfig(ApiModel):
    """Settings of the module's virtual machine."""

    env: Annotated[tuple[EnvVar, ...], Field(max_length=256)] = ()


class TrafficPort(ApiModel):
    """A port by number."""

    number: PortNumber


class TrafficSelector(ApiModel):
    """Traffic of a side and of ports; no ports means all."""

    mode: WorkloadMode = WorkloadMode.UNDEFINED
    ports: tuple[TrafficPort, ...] = ()


class WasmConfig(ApiModel):
    """A WebAssembly module: where it is, what it must hash to, and its configuration."""

    url: Annotated[str, Field(min_length=1), AfterValidator(_module_address)]
    sha256: Annotated[str, Field(pattern=r"(^$|^[a-f0-9]{64}$)")] = ""
    image_pull_policy: PullPolicy = PullPolicy.UNSPECIFIED_POLICY
    image_pull_secret: Annotated[str, Field(min_length=1, max_length=253)] | None = None
    verification_key: str = ""
    plugin_config: dict[str, Any] | None = None
    plugin_name: Annotated[str, Field(min_length=1, max_length=256)] | None = None
    fail_strategy: FailStrategy = FailStrategy.FAIL_CLOSE
    vm_config: VmConfig | None = None
    type: PluginType = PluginType.UNSPECIFIED_PLUGIN_TYPE


class WasmPlugin(WasmConfig):
    """``spec`` of a WasmPlugin; of those in one phase a higher ``priority`` comes first, ``None`` is 0."""

    selector: WorkloadSelector | None = None
    target_ref: PolicyTargetReference | None = None
    target_refs: TargetReferences = ()
    phase: PluginPhase = PluginPhase.UNSPECIFIED_PHASE
    priority: Int32 | None = None
    match: tuple[TrafficSelector, ...] = ()

    _one_target = at_most_one("selector", "target_ref", "target_refs", reason=ONE_TARGET)


class LuaConfig(ApiModel):
    """A Lua filter."""

    inline_code: Annotated[str, Field(min_length=1, max_length=65536)]


class TrafficExtension(ApiModel):
    """``spec`` of a TrafficExtension: exactly one of ``wasm`` and ``lua``."""

    selector: WorkloadSelector | None = None
    target_refs: TargetReferences = ()
    phase: ExecutionPhase = ExecutionPhase.UNSPECIFIED
    priority: Int32 | None = None
    match: tuple[TrafficSelector, ...] = ()
    wasm: WasmConfig | None = None
    lua: LuaConfig | None = None

    _one_target = at_most_one("selector", "target_refs", reason=ONE_TARGET)
    _one_filter = rule(lambda spec: spec.has("wasm") != spec.has("lua"), "exactly one of wasm or lua must be set")
