"""What one peer, one address and all of them together may take of this program.

This is the only statement of such a limit: the server of calls, the streams and the webhooks read it here. ``Settings``
inherits these fields, so each one is a flag of ``serve`` with the sentence beside it as its help. Who runs into one is
counted by its name, in the label ``limit`` of the metric ``controlplane_limits_reached``. Sizes are in bytes.
``docs/security.md`` says what each one is against, and how much it was seen to help.

A *pending* connection is one of which no call was accepted yet: nobody knows who it is. An *address* is that of the
peer; for IPv6 the first 64 bits, within which one host may choose.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated

Reached = Callable[[str], None]
"""Is told the name of a limit each time a peer runs into it; must not fail or wait."""


def unheard(_limit: str) -> None:
    """Note nothing: for parts that nobody watches."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is enough. The defaults suit a mesh of some thousand proxies on one core."""

    max_connections: Annotated[int, "Most connections of proxies in all."] = 20_000
    max_connections_per_address: Annotated[int, "Most connections of one address."] = 5_000
    max_pending_connections: Annotated[int, "Most connections of which no call was accepted yet."] = 2_048
    max_pending_connections_per_address: Annotated[int, "Likewise, of one address."] = 512
    max_pending_connection_streams: Annotated[int, "Most streams on one such connection."] = 16
    pending_connection_timeout: Annotated[
        timedelta, "A connection ends of which no call was accepted within this time."
    ] = timedelta(seconds=30)
    handshake_timeout: Annotated[
        timedelta, "What a connection is given for its TLS handshake and for the preface of HTTP/2."
    ] = timedelta(seconds=10)
    wasted_work: Annotated[
        timedelta,
        "Processor time that the useless frames of one address may cost at once, after which its connections end that"
        " send more of them; a fiftieth of the time that passes comes back.",
    ] = timedelta(milliseconds=500)
    max_unfinished_per_connection: Annotated[
        int, "Most bytes of requests on one connection that are not complete, if not a single one may be larger."
    ] = 8 << 20
    max_unfinished: Annotated[int, "Likewise, on all connections; above it the one ends that has most."] = 128 << 20
    max_resource_names: Annotated[int, "Most names of one resource type that a stream may ask for."] = 50_000
    max_name_length: Annotated[int, "Longest name, in bytes, that a stream may ask for."] = 1_024
    max_node_size: Annotated[
        int,
        "Largest description that a proxy may give of itself, in bytes: an Envoy lists its extensions in 60 kB, and"
        " Kubernetes allows a pod 256 KiB of annotations.",
    ] = 512 << 10
    max_waiting_calls: Annotated[
        int, "Most new streams and calls of one address that wait to be identified, let in or given configuration."
    ] = 4_000
    certificates_per_second: Annotated[
        float, "Most certificates signed in a second for one identity at one address, after the first thousand."
    ] = 20.0
    max_machines_per_identity: Annotated[
        int, "Most WorkloadEntries that one service account may have registered with one replica."
    ] = 256
    max_debug_requests: Annotated[int, "Most requests for debug pages over xDS of one address that wait."] = 8
    max_review_size: Annotated[int, "Largest body that the webhooks take, in bytes."] = 16 << 20
    max_review_bytes: Annotated[int, "Most bytes of such bodies that the webhooks hold at a time."] = 64 << 20
    review_timeout: Annotated[timedelta, "What a caller of the webhooks is given to send its body."] = timedelta(
        seconds=10
    )
    max_review_work: Annotated[
        timedelta,
        "Processor time that one large object may take the webhook to check; one that takes more is refused.",
    ] = timedelta(seconds=10)
    max_webhook_connections: Annotated[
        int, "Most connections to the webhooks; above it an idle one makes room, of the address that has most."
    ] = 512
    max_question_size: Annotated[int, "Largest question that may be posted to the monitoring port, in bytes."] = (
        32 << 20
    )
    max_question_bytes: Annotated[int, "Most bytes of such questions that are held at a time."] = 64 << 20
    question_timeout: Annotated[timedelta, "What a caller of the monitoring port is given to send a question."] = (
        timedelta(seconds=30)
    )
    max_monitoring_connections: Annotated[
        int, "Most connections to the monitoring port, and to that of readiness; above it an idle one makes room."
    ] = 512
    response_cache_size: Annotated[int, "Bytes of encoded responses that are kept for other proxies."] = 64 << 20
    max_proxy_classes: Annotated[int, "Most kinds of proxies, each with configuration of its own, in all."] = 2_000
    max_proxy_classes_per_address: Annotated[int, "Likewise, at one address."] = 256
