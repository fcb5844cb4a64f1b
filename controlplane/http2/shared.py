"""What the connections of a server share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from controlplane.http2.addresses import Addresses
from controlplane.http2.deadlines import Deadlines
from controlplane.http2.frames import ConnectionFailed, ErrorCode
from controlplane.http2.options import ConnectionOptions
from controlplane.http2.turns import Turns

if TYPE_CHECKING:
    from controlplane.http2.call import Call
    from controlplane.http2.connection import Connection


class Shared:
    """Handlers by method, options, and what all connections together do and hold."""

    def __init__(self, handlers: Mapping[str, Callable[[Call], None]], options: ConnectionOptions) -> None:
        self.handlers = handlers
        self.options = options
        self.connections: set[Connection] = set()
        self.addresses = Addresses(options.limits, options.reached)
        self.turns = Turns()
        limits = options.limits
        self.prefaces: Deadlines[Connection] = Deadlines(limits.handshake_timeout, lambda late: late.without_preface())
        self.pending: Deadlines[Connection] = Deadlines(limits.pending_connection_timeout, lambda late: late.time_out())
        self.held = 0
        """Bytes of messages that are not complete, or that nobody has taken yet, on all connections."""

    def check(self) -> None:
        """End the connection that holds most of all, if all of them hold too much."""
        if self.held > self.options.limits.max_unfinished:
            self.options.reached("max_unfinished")
            heaviest = max(self.connections, key=lambda connection: connection.inflow.held)
            heaviest.fail(ConnectionFailed(ErrorCode.ENHANCE_YOUR_CALM, "too much of unfinished messages"))
