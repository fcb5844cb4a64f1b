"""The kinds of policy that close where they cannot be read, and what is told of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from controlplane.apis.closing import authorization, peers, tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from controlplane.apis.common import ApiModel

_KEPT = "object: a good version of before stays in force; without one, "


class Closing(NamedTuple):
    """What stands for a ``spec`` of one kind, and the ``note`` that is told beside its problems."""

    stand_in: Callable[[object], ApiModel]
    note: str


CLOSING: Mapping[str, Closing] = {
    "AuthorizationPolicy": Closing(
        authorization.stand_in,
        f"{_KEPT}rules that are wrong allow nothing or, with another action than ALLOW, match everything",
    ),
    "PeerAuthentication": Closing(
        peers.stand_in, f"{_KEPT}STRICT counts where the policy asks for it or is unreadable, and nothing else of it"
    ),
    "RequestAuthentication": Closing(tokens.stand_in, f"{_KEPT}tokens of rules that are wrong are refused"),
}
"""By kind."""
NOTES = frozenset(each.note for each in CLOSING.values())
UNREAD = "unread"
"""What is given in the place of a ``spec`` that is too large or too deep to be looked at."""
