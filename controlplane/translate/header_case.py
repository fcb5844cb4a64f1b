"""Header names of HTTP/1.1 in the case they came in, both towards the client and towards the server."""

from __future__ import annotations

from envoy.config.core.v3.protocol_pb2 import Http1ProtocolOptions
from envoy.extensions.http.header_formatters.preserve_case.v3.preserve_case_pb2 import PreserveCaseFormatterConfig

from controlplane.translate.tls_context import typed


def _preserve_case() -> Http1ProtocolOptions.HeaderKeyFormat:
    form = Http1ProtocolOptions.HeaderKeyFormat()
    form.stateful_formatter.name = "preserve_case"
    form.stateful_formatter.typed_config.CopyFrom(typed(PreserveCaseFormatterConfig()))
    return form


PRESERVE_CASE = _preserve_case()
"""Reference: envoy.config.core.v3.Http1ProtocolOptions.header_key_format."""
