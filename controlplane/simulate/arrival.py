"""The end of TLS at a proxy: what a connection is once its filter chain has taken the TLS off."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import DownstreamTlsContext

from controlplane.simulate.call import Call, Failure, Fate, Step


@dataclass(frozen=True, slots=True)
class Arrival:
    """A call as the filters of its chain see it, or why TLS with it fails."""

    call: Call
    steps: tuple[Step, ...] = ()
    failure: Failure | None = None

    @classmethod
    def of(cls, chain: Any, call: Call) -> Self:  # noqa: ANN401 - Envoy's messages carry no types
        """Take the TLS off where the chain does."""
        ends = chain.transport_socket.typed_config.Is(DownstreamTlsContext.DESCRIPTOR)
        if not ends:
            return cls._as_it_is(chain, call)
        if not call.tls:
            failure = Failure(Fate.TLS_ERROR, "the proxy ends TLS here, and the client speaks plaintext")
            return cls(call, (Step("TLS", "expected", verdict="failed"),), failure)
        context = DownstreamTlsContext.FromString(chain.transport_socket.typed_config.value)
        asks = context.require_client_certificate.value
        if asks and not call.identity:
            failure = Failure(Fate.TLS_ERROR, "the proxy asks for a client certificate, and the client has none")
            return cls(call, (Step("TLS", "mutual", verdict="failed"),), failure)
        if asks and not _accepted(context, call.identity):
            failure = Failure(Fate.TLS_ERROR, f"the identity {call.identity} is none that the proxy accepts")
            return cls(call, (Step("TLS", "mutual", note=call.identity, verdict="failed"),), failure)
        identity = call.identity if asks or _may_ask(context) else ""
        shown = Step("TLS", "mutual" if identity else "ended here", note=identity or call.server_name)
        return cls(replace(call, identity=identity), (shown,))

    @classmethod
    def _as_it_is(cls, chain: Any, call: Call) -> Self:  # noqa: ANN401 - Envoy's messages carry no types
        call = replace(call, identity="")
        if call.tls and _http(chain):
            failure = Failure(Fate.NOT_HTTP, "plaintext HTTP is expected here, and the client speaks TLS", 0, "DPE")
            return cls(call, (Step("protocol", "TLS", verdict="failed"),), failure)
        if not call.http and not call.tls and _http(chain):
            failure = Failure(Fate.NOT_HTTP, "HTTP is expected here, and the client sends other bytes", 400, "DPE")
            return cls(call, (Step("protocol", "not HTTP", verdict="failed"),), failure)
        return cls(call)


def _http(chain: Any) -> bool:  # noqa: ANN401 - Envoy's messages carry no types
    return any(each.typed_config.Is(HttpConnectionManager.DESCRIPTOR) for each in chain.filters)


def _may_ask(context: Any) -> bool:  # noqa: ANN401 - Envoy's messages carry no types
    """Whether the proxy looks at a certificate if the client has one."""
    common = context.common_tls_context
    return bool(common.WhichOneof("validation_context_type"))


def _accepted(context: Any, identity: str) -> bool:  # noqa: ANN401 - Envoy's messages carry no types
    common = context.common_tls_context
    held = common.combined_validation_context.default_validation_context.match_subject_alt_names
    if not held:
        return True
    return any(identity.startswith(name.prefix) if name.prefix else identity == name.exact for name in held)
