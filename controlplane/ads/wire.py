"""Bytes in, requests out; plans in, bytes out.

Responses are put together from encoded parts, never built as messages: a protobuf message is the concatenation of its
fields. Field numbers are those of ``envoy.service.discovery.v3`` (``DiscoveryResponse``, ``DeltaDiscoveryResponse``,
``Resource``) and ``google.protobuf.Any``.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import secrets
import weakref
from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache, lru_cache
from typing import Any, NamedTuple

from envoy.config.core.v3.base_pb2 import Node
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest
from google.protobuf.message import DecodeError

from controlplane.ads.contents import EMPTY, NO_NAMES, Contents, Names, ServedSnapshot
from controlplane.ads.delta_request_pb2 import DeltaRequest, HeldVersion
from controlplane.ads.fields import sized, varint
from controlplane.ads.refusal import Refusal, StreamRefused
from controlplane.ads.responses import Plan
from controlplane.ads.stated import Stated, entries
from controlplane.ads.virtual_hosts import MOST_KNOWN, Pieces, SplitHosts
from controlplane.ads.watch import ECDS, SDS, TYPES, Request, Variant
from controlplane.limits import Limits, Reached, unheard
from controlplane.rope import Body, Rope, tied
from controlplane.snapshots import Resource, ResourceType

_CACHE_ENTRIES = 4096
_MOST_EXTRAS = 100
"""Resources in the place of names that do not exist, in a response that is remembered: a peer can make up more."""
_MOST_KEY_NAMES = 250_000
"""Names in the keys of responses that are numbered, beside those of contents: some 100 bytes each."""
_MOST_NAMED_BYTES = 4 << 20
"""Of requests whose names are remembered; in memory they take some three times as much."""
_LISTED_FROM = 8
"""Part of virtual hosts, one in so many, from which on all are listed at once instead of being looked up."""
_LARGEST_JOINED = 2 << 20
"""Bytes of a response up to which it is joined to one piece: many proxies are then sent it with less work."""
_LONGEST_TYPE_URL = 256
_PRIVATE = frozenset({SDS, ECDS})
_LONGEST_REASON = 8192  # characters of Envoy's message that are kept: the status of every proxy is held in memory

Message = Any  # generated ones come without types
_Key = tuple[int, Variant, str, Names, frozenset[Resource], Names]
"""A plan's fields, with the serial number of its contents in their place."""


class Response(NamedTuple):
    """One encoded response, shared by all streams that are due the same. ``sequence`` grows with each one built.

    ``own_size`` are the bytes of the body that no resource holds anyway.
    """

    type_url: str
    nonce: str
    version: str
    body: Body
    sequence: int
    own_size: int

    @property
    def is_private(self) -> bool:
        """Whether it may hold keys or passwords: such a response is made anew for each stream, and kept by nobody."""
        return self.type_url in _PRIVATE


class Encoder:
    """Encodes plans, each once as long as it is remembered: equal plans give the same bytes object, nonce included.

    A nonce need only be unique on its stream, so it names the response and not the stream. Responses are forgotten
    when the contents that they were made from are. Before that the bytes of the least recently used beyond
    ``size_bytes`` are; such a response is made again as it was, so that who was sent it early and who was sent it
    late are in the same state.
    """

    def __init__(self, size_bytes: int = Limits().response_cache_size) -> None:
        self._limit = size_bytes
        self._size = 0
        self._key_names = 0
        self._responses: OrderedDict[_Key, Response] = OrderedDict()
        self._numbers: OrderedDict[_Key, tuple[int, str]] = OrderedDict()  # sequence numbers and nonces
        self._of_contents: defaultdict[int, dict[_Key, int]] = defaultdict(dict)  # with their numbers of names
        self._sequence = itertools.count(1)
        self._instance = secrets.token_urlsafe(4)  # so that no other server's nonce is taken for one of ours

    @property
    def size_bytes(self) -> int:
        """Bytes that only the responses hold that are remembered."""
        return self._size

    def encode(self, plan: Plan, after: int, revision: int) -> Response:
        """Return the plan's response.

        Args:
            plan: what it says.
            after: the sequence number of the newest response that this stream has had of this type. A remembered one
                that is not newer may have been sent on it before: then another is made, with a nonce of its own, that
                takes its place for the streams that follow.
            revision: the registry's revision; it is named in the nonce, for people who read them.
        """
        key = (plan.contents.serial, plan.variant, plan.type_url, plan.names, plan.extras, plan.removed)
        found = self._responses.get(key)
        if found is not None and found.sequence > after:
            self._responses.move_to_end(key)
            return found
        if len(plan.extras) > _MOST_EXTRAS:
            return _made(plan, self._next(revision))
        known = self._numbers.get(key)
        made = _made(plan, known if known is not None and known[0] > after else self._numbered(key, plan, revision))
        if not made.is_private:
            self._remember(key, made)
        return made

    def _next(self, revision: int) -> tuple[int, str]:
        sequence = next(self._sequence)
        return sequence, f"{revision}.{sequence}.{self._instance}"

    def _numbered(self, key: _Key, plan: Plan, revision: int) -> tuple[int, str]:
        if key not in self._numbers:
            self._key_names += _own_names(key, plan.contents.names)
        self._numbers[key] = numbers = self._next(revision)
        self._numbers.move_to_end(key)
        if key[0] not in self._of_contents:
            weakref.finalize(plan.contents, self._forget, key[0]).atexit = False
        self._of_contents[key[0]][key] = _own_names(key, plan.contents.names)
        while len(self._numbers) > 1 and (len(self._numbers) > _CACHE_ENTRIES or self._key_names > _MOST_KEY_NAMES):
            oldest = next(iter(self._numbers))
            self._drop(oldest, self._of_contents[oldest[0]].pop(oldest))
        return numbers

    def _remember(self, key: _Key, made: Response) -> None:
        old = self._responses.pop(key, None)
        self._size += made.own_size - (old.own_size if old is not None else 0)
        self._responses[key] = made
        while len(self._responses) > 1 and self._size > self._limit:
            _, response = self._responses.popitem(last=False)
            self._size -= response.own_size

    def forget(self, contents: Contents) -> None:
        """Forget the responses that were made from these contents."""
        self._forget(contents.serial)

    def _forget(self, serial: int) -> None:
        for key, names in self._of_contents.pop(serial, {}).items():
            self._drop(key, names)

    def _drop(self, key: _Key, names: int) -> None:
        self._key_names -= names
        self._numbers.pop(key, None)
        response = self._responses.pop(key, None)
        self._size -= response.own_size if response is not None else 0


def _made(plan: Plan, numbers: tuple[int, str]) -> Response:
    sequence, nonce = numbers
    version, body, own_size = _encoded(plan, nonce)
    return Response(plan.type_url, nonce, version, body, sequence, own_size)


def _own_names(key: _Key, shared: Names) -> int:
    """Return how many names a key holds that are not those of its contents; an extra resource counts as several."""
    _, _, _, names, extras, removed = key
    return (0 if names is shared else len(names)) + 4 * len(extras) + len(removed)


def _encoded(plan: Plan, nonce: str) -> tuple[str, Body, int]:
    """Return a response's version, its bytes, and how many of these are in no resource."""
    held = plan.contents.resources
    if isinstance(held, SplitHosts) and len(plan.names) > len(held) // _LISTED_FROM:
        held = dict(held.items())
    resources = [held[name] for name in plan.names]
    resources.extend(plan.extras)
    resources.sort(key=lambda resource: resource.name)
    removed = sorted(plan.removed)
    version = _version(resources, removed)
    parts: list[Body] = [sized(1, version.encode())]
    parts.extend(_delta_entries(resources) if plan.variant is Variant.DELTA else _sotw_entries(resources))
    parts.append(sized(4, plan.type_url.encode()))
    parts.append(sized(5, nonce.encode()))
    parts.extend(sized(6, name.encode()) for name in removed)
    body = tied(parts, _LARGEST_JOINED)
    shared = sum([len(resource.content) for resource in resources]) if isinstance(body, Rope) else 0
    return version, body, len(body) - shared


def _version(resources: Iterable[Resource], removed: Iterable[str]) -> str:
    """Return the version of a response: a hash of its (name, version) pairs and of the names it removes."""
    text = "\n".join([*(f"{r.name}\t{r.version}" for r in resources), *(f"-{name}" for name in removed)])
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


@cache
def _any_prefix(type_: ResourceType) -> bytes:
    """Encode an ``Any`` of this type up to the length of its value."""
    return sized(1, type_.value.encode()) + b"\x12"


def _sotw_entries(resources: Iterable[Resource]) -> Iterator[Body]:
    for resource in resources:
        body = resource.content
        head = _any_prefix(resource.type) + varint(len(body))
        yield b"\x12" + varint(len(head) + len(body)) + head
        yield body


def _delta_entries(resources: Iterable[Resource]) -> Iterator[Body]:
    for resource in resources:
        body = resource.content
        if not body and resource.type is ResourceType.VIRTUAL_HOST:  # says that there is none
            yield sized(2, sized(3, resource.name.encode()) + sized(1, resource.version.encode()))
            continue
        head = _shared_delta_head if resource.type is ResourceType.VIRTUAL_HOST else _delta_head
        yield head(resource.type, resource.name, resource.version, len(body))
        yield body


def _delta_head(type_: ResourceType, name: str, version: str, size: int) -> bytes:
    """Encode what comes before a resource of so many bytes."""
    called, stated = name.encode(), version.encode()
    any_head = _any_prefix(type_) + varint(size)
    any_size = len(any_head) + size
    # name = 3, version = 1, resource = 2
    parts = (b"\x1a", varint(len(called)), called, b"\x0a", varint(len(stated)), stated, b"\x12", varint(any_size))
    head = b"".join(parts)
    return b"".join((b"\x12", varint(len(head) + any_size), head, any_head))


_shared_delta_head = lru_cache(maxsize=MOST_KNOWN)(_delta_head)
"""The same, remembered: proxies of all namespaces are sent the same virtual hosts, each in a list of its own."""


class Decoder:
    """Decodes requests of one variant, with the least work for those that many proxies send alike."""

    def __init__(self, variant: Variant, limits: Limits | None = None, reached: Reached = unheard) -> None:
        self._variant = variant
        self._limits = limits or Limits()
        self._reached = reached
        self._stated: weakref.WeakKeyDictionary[Contents, Stated] = weakref.WeakKeyDictionary()
        self._shared: weakref.WeakKeyDictionary[Pieces, frozenset[bytes]] = weakref.WeakKeyDictionary()
        self._named: OrderedDict[bytes, Names] = OrderedDict()
        self._named_bytes = 0
        self._introduced: tuple[bytes, Message] | None = None  # a first request, until it is read as a request

    def forget(self) -> None:
        """Forget the names of requests."""
        self._named.clear()
        self._named_bytes = 0

    def introduction(self, body: bytes) -> tuple[Node, str]:
        """Return the node of a stream's first request, and the type URL that it asks for.

        Raises:
            StreamRefused: it is no request.
        """
        message = self._message(body)
        self._introduced = (body, message)
        size = message.node.ByteSize() if self._variant is Variant.SOTW else len(message.node)
        if size > self._limits.max_node_size:
            raise self._too_much(
                "max_node_size", f"node: {size} bytes are over the limit of", self._limits.max_node_size
            )
        if self._variant is Variant.SOTW:
            return message.node, message.type_url
        return self._parsed(Node, message.node), message.type_url

    def request(self, body: bytes, served: ServedSnapshot) -> Request:
        """Return what a request asks for.

        Names and versions that are those of the served come back as the served's own objects: that is what a
        thousand proxies say when they reconnect.

        Raises:
            StreamRefused: it is no request.
        """
        introduced, self._introduced = self._introduced, None
        message = introduced[1] if introduced is not None and introduced[0] is body else self._message(body)
        type_url, nonce, error = message.type_url, message.response_nonce, None
        if len(type_url) > _LONGEST_TYPE_URL:
            raise StreamRefused(Refusal.INVALID, f"type_url: longer than {_LONGEST_TYPE_URL} characters")
        if message.HasField("error_detail"):
            error = message.error_detail.message[:_LONGEST_REASON] or "no reason given"
        if self._variant is Variant.SOTW:
            # The version is no more than a sign that the proxy had state before: what it names is never consulted.
            resumed = bool(message.version_info)
            return Request(type_url, nonce, error, self._names(message), resumed=resumed)
        contents = served.of(TYPES.get(type_url))
        subscribe = self._delta_names(message.resource_names_subscribe, contents)
        unsubscribe = self._delta_names(message.resource_names_unsubscribe, EMPTY)
        entries = message.initial_resource_versions[:]
        if not entries:
            return Request(type_url, nonce, error, subscribe, unsubscribe)
        return Request(type_url, nonce, error, subscribe, unsubscribe, self._held(entries, contents), resumed=True)

    def _message(self, body: bytes) -> Message:
        return self._parsed(DeltaRequest if self._variant is Variant.DELTA else DiscoveryRequest, body)

    def _parsed(self, message_type: Message, body: bytes) -> Message:
        try:
            return message_type.FromString(body)
        except DecodeError as error:
            raise self._malformed from error

    @property
    def _malformed(self) -> StreamRefused:
        return StreamRefused(Refusal.INVALID, f"the request is no {self._variant.value} discovery request")

    def _delta_names(self, field: Sequence[bytes], contents: Contents) -> Names:
        if not field:
            return NO_NAMES
        names = field[:]  # a list, which is read several times faster
        if 1 < len(names) == len(contents.resources) and set(names) == self._statement(contents).names:
            return contents.names
        self._check(names)
        try:
            return frozenset([name.decode() for name in names])
        except UnicodeDecodeError as error:
            raise self._malformed from error

    def _held(self, entries: Sequence[bytes], contents: Contents) -> Mapping[str, str]:
        """Return ``initial_resource_versions``; most or all of its entries are what the proxy would be sent now."""
        stated = self._statement(contents)
        if stated.is_all(entries):
            return contents.versions
        self._check(entries, of_entries=2)
        return dict([stated.versions.get(entry) or self._held_version(entry) for entry in entries])

    def _held_version(self, entry: bytes) -> tuple[str, str]:
        held = self._parsed(HeldVersion, entry)
        return held.key, held.value

    def _check(self, names: Sequence[bytes] | Sequence[str], of_entries: int = 1) -> None:
        """Refuse too many names, and too long ones; an entry of a name and a version may be twice as long."""
        most, longest = self._limits.max_resource_names, self._limits.max_name_length * of_entries
        if len(names) > most:
            raise self._too_much("max_resource_names", f"{len(names)} names are over the limit of", most)
        length = max(map(len, names))
        if length > longest:
            raise self._too_much("max_name_length", f"a name of {length} bytes is over the limit of", longest)

    def _too_much(self, limit: str, what: str, most: int) -> StreamRefused:
        self._reached(limit)
        return StreamRefused(Refusal.TOO_MANY, f"{what} {most}")

    def _statement(self, contents: Contents) -> Stated:
        stated = self._stated.get(contents)
        if stated is None:
            stated = self._stated[contents] = Stated(contents, self._entries_of)
        return stated

    def _entries_of(self, pieces: Pieces) -> frozenset[bytes]:
        found = self._shared.get(pieces)
        if found is None:
            found = self._shared[pieces] = entries(pieces.hosts)
        return found

    def _names(self, message: DiscoveryRequest) -> Names:
        """Return the names of a SotW request, which repeats all of them with every acknowledgement."""
        if message.resource_names:
            self._check(message.resource_names)
        if len(message.resource_names) < 8:  # noqa: PLR2004 - cheaper than remembering
            return frozenset(message.resource_names[:]) if message.resource_names else NO_NAMES
        only_names = DiscoveryRequest()
        only_names.resource_names.MergeFrom(message.resource_names)
        key = only_names.SerializeToString()
        names = self._named.get(key)
        if names is None:
            names = self._named[key] = frozenset(message.resource_names[:])
            self._named_bytes += len(key)
            while self._named_bytes > _MOST_NAMED_BYTES:
                self._named_bytes -= len(self._named.popitem(last=False)[0])
        return names
