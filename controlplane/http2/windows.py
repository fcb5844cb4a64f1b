"""Flow control of one connection: what its peer may still send, and what it still takes. RFC 9113, section 5.2."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from controlplane.http2.frames import FIRST_WINDOW, LARGEST_WINDOW, ConnectionFailed, ErrorCode

if TYPE_CHECKING:
    from controlplane.http2.call import Call

_SLACK = 1 << 18  # bytes that may come beyond those that are held, so that no message waits for another one


class Inflow:
    """What a peer may send. What it makes us hold, unfinished messages, it is not given back before they are taken."""

    def __init__(self) -> None:
        """Begin with the window that RFC 9113 gives: it may all be held, and who needs more has to wait."""
        self.held = 0
        """Bytes of messages that are not complete, or that nobody has taken yet."""
        self._most_held = FIRST_WINDOW
        self._room = FIRST_WINDOW  # bytes that may still come
        self._slack = 0
        self._credit = 0  # bytes that came, are not held, and were not given back yet
        self._more = 0  # bytes by which the window is to grow, once the peer comes to use it

    @property
    def full(self) -> bool:
        """Whether more is held than may be."""
        return self.held > self._most_held

    def widen(self, most_held: int) -> int:
        """Let the peer make us hold so much; return by how much its window grows now.

        It grows when the peer has used half of the first one: most never do, and need not be told.
        """
        more = max(0, most_held - self._most_held)
        self._most_held += more
        self._more += more + _SLACK - self._slack
        self._slack = _SLACK
        return self._grown()

    def _grown(self) -> int:
        if self._room > FIRST_WINDOW // 2:
            return 0
        more, self._more = self._more, 0
        self._room += more
        return more

    def take(self, size: int, held: int) -> int:
        """Count what came, and by how much more is held now; return what is to be given back.

        Raises:
            ConnectionFailed: there was no room for it.
        """
        self._room -= size
        self.held += held
        self._credit += size - held
        if size and self._room < 0:
            raise ConnectionFailed(ErrorCode.FLOW_CONTROL_ERROR, "more was sent than the window had room for")
        more = self._grown() if self._more else 0
        if self._credit <= self._room:
            return more
        back, self._credit = self._credit, 0
        self._room += back
        return back + more


class Outflow:
    """What a peer takes. ``first`` is that of each stream before the peer says more, ``window`` that of all streams."""

    def __init__(self) -> None:
        self.first = FIRST_WINDOW
        self.window = FIRST_WINDOW
        self._blocked: dict[Call, None] = {}  # in the order in which they ran out of room

    @property
    def blocked(self) -> int:
        """How many calls have more to send than the peer takes now."""
        return len(self._blocked)

    def block(self, call: Call) -> None:
        """Remember a call that has more to send than the peer takes now."""
        self._blocked[call] = None

    def unblock(self, call: Call) -> bool:
        """Forget it, to be remembered again if need be; return whether it was one."""
        return self._blocked.pop(call, self) is None

    def clear(self) -> None:
        """Forget all of them."""
        self._blocked.clear()

    def widen(self, size: int) -> None:
        """Hear that the peer takes so many more bytes.

        Raises:
            ConnectionFailed: they are more than there can be.
        """
        self.window += size
        if self.window > LARGEST_WINDOW:
            raise ConnectionFailed(ErrorCode.FLOW_CONTROL_ERROR, "the connection's window is out of bounds")
        blocked, self._blocked = self._blocked, {}
        while blocked and self.window:  # those who get nothing this time are first the next time
            waiting = next(iter(blocked))
            del blocked[waiting]
            waiting.resumed()
        self._blocked = blocked | self._blocked

    def set_first(self, size: int, calls: Iterable[Call]) -> None:
        """Hear what the peer takes of each stream; it counts for those that are open too.

        Raises:
            ConnectionFailed: the window of one is wider than one can be.
        """
        grows, self.first = size > self.first, size
        if any(call.window > LARGEST_WINDOW for call in calls):
            raise ConnectionFailed(ErrorCode.FLOW_CONTROL_ERROR, "a stream's window is out of bounds")
        if grows:
            for call in tuple(self._blocked):
                del self._blocked[call]
                call.resumed()
