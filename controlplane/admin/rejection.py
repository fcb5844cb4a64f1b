"""Which resources a refusal is about: Envoy says it only in the text of the message.

Listeners and clusters are refused one by one, and the message names each with its reason:
``Error adding/updating listener(s) NAME: reason`` and ``Error adding/updating cluster(s) NAME: reason, NAME: reason``.
Other types are refused as a whole; their messages name the resource seldom, and in no fixed place.

The message is gone through once and each name in it looked up: there may be thousands of resources.
"""

from __future__ import annotations

import re  # noqa: TID251 - each pattern is one class of characters, linear by itself; messages are cut
from collections.abc import Collection, Iterator, Mapping

_LONGEST_LIST, _LONGEST_PROSE, _LONGEST_NAME = 16_384, 4_096, 512
"""Characters that are looked at; a peer may send a message of any length, and what Envoy writes is shorter by far."""

_NAMED = re.compile(r"Error adding/updating (?:listener|cluster)\(s\) (?P<rest>.*)", re.DOTALL)
_BEGIN = re.compile(r"^|\n|, ")
_FIRST = re.compile(r"(?P<name>\S+): ")
_ROUTE = re.compile(r"\b(?:in route|route config(?:uration)?|RDS|rds)[: ]+'?(?P<name>[^\s',;]+)")
_WORD = re.compile(r"""[^\s'",;()]+""")
_MOST_ENDS = 8
"""Ends that a name may have within one word of a message, and as many beginnings."""


def rejected_names(message: str, known: Mapping[str, object], subscribed: Collection[str] | None) -> tuple[str, ...]:
    """Return the names of the refused resources, in the message's order; empty where it does not tell.

    Args:
        message: ``error_detail.message`` of the refusal.
        known: the type's resources that the proxy should hold, by name; a name among them is preferred to a guess.
        subscribed: names the proxy asked for, ``None`` for all. If there is only one, it is the refused one.
    """
    named = _NAMED.search(message[:_LONGEST_LIST])
    if named is not None:
        rest = named["rest"]
        found = dict.fromkeys(name for name in _entries(rest) if name in known)
        if found:
            return tuple(found)
        first = _FIRST.match(rest)
        return (first["name"],) if first is not None else ()
    message = message[:_LONGEST_PROSE]
    route = _ROUTE.search(message)
    if route is not None and (route["name"] in known or not known):
        return (route["name"],)
    if quoted := dict.fromkeys(name for name in _names_in(message) if name in known):
        return tuple(quoted)
    if subscribed is not None and len(subscribed) == 1:
        return tuple(subscribed)
    return ()


def _entries(text: str) -> Iterator[str]:
    """Yield what stands before a colon and begins the text, a line of it, or an element of its list."""
    colon = text.find(": ")
    for begin in _BEGIN.finditer(text):
        while 0 <= colon < begin.end():
            colon = text.find(": ", colon + 1)
        if colon < 0:
            return
        if colon - begin.end() <= _LONGEST_NAME:
            yield text[begin.end() : colon]


def _names_in(message: str) -> Iterator[str]:
    """Yield every text that stands alone and may be a name, by its place in the message.

    Bare numbers (route names are ports) may mean anything and do not count. A name has no space, quote, comma,
    semicolon or parenthesis in it.
    """
    for found in _WORD.finditer(message):
        word = found[0]
        begins = [at for at in range(len(word)) if not (at and (word[at - 1].isalnum() or word[at - 1] in "_.|-"))]
        ends = [
            at for at in range(len(word), 0, -1) if at == len(word) or not (word[at].isalnum() or word[at] in "_|-")
        ]
        for begin in begins[:_MOST_ENDS]:
            for end in ends[:_MOST_ENDS]:
                if end > begin and not word[begin:end].isdecimal():
                    yield word[begin:end]
