"""Streams of people's tools: ``istio.io/debug...`` asks for what the control plane knows, not for configuration.

`istioctl proxy-status` works over such a stream. Each request is answered once; acknowledgements are passed over. Those
are told by a nonce of ours: istioctl gives each of its requests, the first one too, a nonce that nobody sent.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple

from envoy.service.discovery.v3.discovery_pb2 import (
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
    DiscoveryRequest,
    DiscoveryResponse,
)
from google.protobuf.message import DecodeError

from controlplane.ads.credential import Credential
from controlplane.ads.fields import sized, sized_rope
from controlplane.ads.refusal import Refusal, StreamRefused
from controlplane.ads.watch import Variant
from controlplane.http2.call import Call
from controlplane.limits import Limits, Reached
from controlplane.rope import Body, Rope, tied

PREFIX = "istio.io/debug"
_LONGEST_TYPE_URL = 256
_LARGEST_JOINED = 64 << 10
_REQUESTS: Mapping[Variant, Any] = {Variant.SOTW: DiscoveryRequest, Variant.DELTA: DeltaDiscoveryRequest}


class DebugAnswer(NamedTuple):
    """Resources, each a name and a serialised ``Any``, and what ``control_plane.identifier`` says: who, as JSON."""

    resources: Sequence[tuple[str, Body]]
    identifier: str


Debug = Callable[[str, Sequence[str], Credential], Awaitable[DebugAnswer]]
"""Answers a request: type URL, names, who asks. Raises ``StreamRefused`` for those who may not."""


def check(type_url: str, names: Sequence[str], limits: Limits, reached: Reached) -> None:
    """Refuse a request that is longer than any that makes sense. Raises ``StreamRefused``."""
    if len(type_url) > _LONGEST_TYPE_URL:
        raise StreamRefused(Refusal.INVALID, f"type_url: longer than {_LONGEST_TYPE_URL} characters")
    if len(names) > limits.max_resource_names:
        reached("max_resource_names")
        text = f"{len(names)} names are over the limit of {limits.max_resource_names}"
        raise StreamRefused(Refusal.TOO_MANY, text)
    length = max((len(name.encode()) for name in names), default=0)
    if length > limits.max_name_length:
        reached("max_name_length")
        text = f"a name of {length} bytes is over the limit of {limits.max_name_length}"
        raise StreamRefused(Refusal.TOO_MANY, text)


def is_debug(variant: Variant, request: bytes) -> bool:
    """Whether a stream that begins with this request is a tool's."""
    if PREFIX.encode() not in request:  # which costs less than to decode what nearly all begin with
        return False
    try:
        return bool(_REQUESTS[variant].FromString(request).type_url.startswith(PREFIX))
    except DecodeError:
        return False


async def answer_debug(variant: Variant, call: Call, first: bytes, credential: Credential, debug: Debug) -> None:
    """Answer requests until the peer has sent its last.

    Raises:
        StreamRefused: the caller may not see this, or the request is malformed.
    """
    sent = 0
    body: bytes | None = first
    while body is not None:
        try:
            request = _REQUESTS[variant].FromString(body)
        except DecodeError as error:
            raise StreamRefused(Refusal.INVALID, "the request is no discovery request") from error
        if not request.type_url.startswith(PREFIX):
            raise StreamRefused(Refusal.INVALID, f"a stream of {PREFIX} serves no {request.type_url}")
        if not _is_ours(request.response_nonce, sent):
            names = request.resource_names_subscribe if variant is Variant.DELTA else request.resource_names
            answer = await debug(request.type_url, list(names), credential)
            await call.room()
            sent += 1
            call.send(_encoded(variant, request.type_url, str(sent), answer))
        body = await call.message()


def _is_ours(nonce: str, sent: int) -> bool:
    """Whether a nonce is one of those that were sent, which count from 1."""
    return nonce.isascii() and nonce.isdecimal() and len(nonce) <= len(str(sent)) and 1 <= int(nonce) <= sent


def _encoded(variant: Variant, type_url: str, nonce: str, answer: DebugAnswer) -> Body:
    """Put a response together from what is encoded already: it may be large.

    The resources are field 2 of both forms; of a ``Resource`` of the second, the name is field 3 and the Any field 2.
    """
    response: Any
    if variant is Variant.DELTA:
        response = DeltaDiscoveryResponse(type_url=type_url, nonce=nonce)
        resources = [Rope([sized(3, name.encode()), sized_rope(2, body)]) for name, body in answer.resources]
    else:
        response = DiscoveryResponse(type_url=type_url, nonce=nonce, version_info=nonce)
        resources = [Rope([body]) for _, body in answer.resources]
    response.control_plane.identifier = answer.identifier
    return tied([response.SerializeToString(), *(sized_rope(2, each) for each in resources)], _LARGEST_JOINED)
