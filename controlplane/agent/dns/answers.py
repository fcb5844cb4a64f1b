"""A question, answered from the table of names: bytes in, bytes out."""

from __future__ import annotations

import random
import struct
from collections.abc import Sequence
from ipaddress import ip_address

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from controlplane.agent.dns.table import Names

TTL = 30
SMALLEST = 512
LARGEST = 65535
_POINTER = 0xC000
_QUESTION = b"\xc0\x0c"
"""Refers to the name that was asked for, which stands behind the header."""
_FIXED, _IPV4 = 12, 4
"""Bytes of a record beside its address, where its name stood before; and of an address."""
_TRUNCATED = 0x02


class NotAQuestionError(Exception):
    """The bytes are no question of DNS."""


def parsed(wire: bytes) -> dns.message.QueryMessage:
    """Return a question. Raises ``NotAQuestionError``."""
    try:
        message = dns.message.from_wire(wire)
    except (dns.exception.DNSException, ValueError, IndexError) as error:
        raise NotAQuestionError(str(error)) from None
    if not isinstance(message, dns.message.QueryMessage) or message.flags & dns.flags.QR:
        raise NotAQuestionError("it is no question")
    return message


def failure(question: dns.message.Message, size: int) -> bytes:
    """Return SERVFAIL."""
    answer = dns.message.make_response(question)
    answer.set_rcode(dns.rcode.SERVFAIL)
    return encoded(answer, size)


def local_answer(question: dns.message.Message, names: Names, size: int) -> bytes | None:
    """Return the answer for a name of the mesh, ``None`` where the question is for others.

    A known name without an address of the family that was asked for has an empty answer: it does exist.
    """
    asked = question.question[0]
    if asked.rdtype not in {dns.rdatatype.A, dns.rdatatype.AAAA} or asked.rdclass != dns.rdataclass.IN:
        return None
    found = names.find(asked.name.to_text().lower())
    if found is None:
        return None
    owner, addresses, alias = found
    answer = dns.message.make_response(question)
    answer.flags |= dns.flags.AA
    answer.flags &= ~dns.flags.RA
    texts = addresses.v4 if asked.rdtype == dns.rdatatype.A else addresses.v6
    if not texts:
        return encoded(answer, size)
    if alias is None:
        return _with_addresses(answer, _QUESTION, texts, size)
    answer.answer.append(dns.rrset.from_text_list(asked.name, TTL, dns.rdataclass.IN, dns.rdatatype.CNAME, [alias]))
    return _with_addresses(answer, dns.name.from_text(owner).to_wire() or b"", texts, size)


def size_of(question: dns.message.Message, *, tcp: bool) -> int:
    """Return how large an answer may be: what the question states, at least 512 bytes."""
    return LARGEST if tcp else max(question.payload if question.edns >= 0 else 0, SMALLEST)


def encoded(answer: dns.message.Message, size: int) -> bytes:
    """Return an answer as bytes; where they are too many, without its records, and the answer says so."""
    try:
        return answer.to_wire(max_size=size)
    except dns.exception.TooBig:
        answer.flags |= dns.flags.TC
        answer.answer = []
        return answer.to_wire(max_size=size)


def _with_addresses(answer: dns.message.Message, owner: bytes, texts: Sequence[str], size: int) -> bytes:
    """Return an answer with as many addresses behind its records as fit, in random order: clients take the first.

    They are written here, and not by the library: it takes a second for as many as fit into an answer over TCP. The
    name that ``owner`` encodes is stated once; the other records refer to it. Reference: RFC 1035, 4.1.3 and 4.1.4.
    """
    whole = encoded(answer, size)
    if whole[2] & _TRUNCATED:
        return whole
    answer.use_edns(False)
    head = bytearray(answer.to_wire())
    options = whole[len(head) :]  # of EDNS: the only record behind the answer
    bits = len(ip_address(texts[0]).packed)
    fits = (size - len(whole) - len(owner) + len(_QUESTION)) // (_FIXED + bits)
    kept = random.sample(texts, max(min(len(texts), fits), 0))
    kind = dns.rdatatype.A if bits == _IPV4 else dns.rdatatype.AAAA
    fixed = struct.pack("!HHIH", kind, dns.rdataclass.IN, TTL, bits)
    again = owner if owner == _QUESTION else struct.pack("!H", _POINTER | len(head))
    records = [(again if at else owner) + fixed + packed(text) for at, text in enumerate(kept)]
    head[6:8] = (int.from_bytes(head[6:8]) + len(kept)).to_bytes(2)
    head[10:12] = whole[10:12]
    if len(kept) < len(texts):
        head[2] |= _TRUNCATED
    return b"".join((head, *records, options))


def packed(text: str) -> bytes:
    """Return an address as a record has it."""
    return ip_address(text).packed
