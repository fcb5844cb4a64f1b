"""A question, answered from the table of names: bytes in, bytes out."""

from __future__ import annotations

import random

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from controlplane.agent.dns.table import Addresses, Names

TTL = 30
SMALLEST = 512
LARGEST = 65535
_SMALLEST_RECORD = 16
"""Bytes of a record: a name that was there before, and an address."""


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
    records = _records(addresses, asked.rdtype, size // _SMALLEST_RECORD + 1)
    if records:
        owner_name = dns.name.from_text(owner)
        if alias is not None:
            answer.answer.append(_rrset(asked.name, dns.rdatatype.CNAME, [alias]))
        answer.answer.append(_rrset(owner_name, asked.rdtype, records))
    return encoded(answer, size)


def size_of(question: dns.message.Message, *, tcp: bool) -> int:
    """Return how large an answer may be: what the question states, at least 512 bytes."""
    return LARGEST if tcp else max(question.payload if question.edns >= 0 else 0, SMALLEST)


def encoded(answer: dns.message.Message, size: int) -> bytes:
    """Return an answer as bytes; of its last records as many as fit, and where some do not, the answer says so."""
    wire = _wire(answer, size)
    if wire is not None:
        return wire
    answer.flags |= dns.flags.TC
    kept, cut = answer.answer[:-1], answer.answer[-1:]
    records = [record for rrset in cut for record in rrset]
    fits, too_many, best = 0, len(records), b""
    while too_many - fits > 1 or not best:
        count = (fits + too_many) // 2
        answer.answer = [
            *kept,
            *(dns.rrset.from_rdata_list(cut[0].name, TTL, records[:count]) for _ in records[:count][:1]),
        ]
        wire = _wire(answer, size)
        if wire is not None:
            fits, best = count, wire
        elif count == 0:
            break
        else:
            too_many = count
    return best


def _wire(answer: dns.message.Message, size: int) -> bytes | None:
    """Return the bytes, nothing where they are too many."""
    try:
        return answer.to_wire(max_size=size)
    except dns.exception.TooBig:
        return None


def _records(addresses: Addresses, kind: dns.rdatatype.RdataType, most: int) -> list[str]:
    """Return addresses of a family in random order: clients take the first.

    There are ``most`` of them, which is one more than fit: a record costs more time to make than all else.
    """
    records = addresses.v4 if kind == dns.rdatatype.A else addresses.v6
    return random.sample(records, min(len(records), most))


def _rrset(owner: dns.name.Name, kind: dns.rdatatype.RdataType, texts: list[str]) -> dns.rrset.RRset:
    return dns.rrset.from_text_list(owner, TTL, dns.rdataclass.IN, kind, texts)
