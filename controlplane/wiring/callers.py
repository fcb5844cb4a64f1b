"""How much callers of the port with TLS may ask: proofs of who they are, and certificates."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager

from controlplane.ads.fair import Gate, Rates
from controlplane.http2.call import Call
from controlplane.limits import Limits
from controlplane.security.authentication import Call as AnyCall
from controlplane.security.authentication import Caller
from controlplane.security.refusal import CallRefused, Refusal
from controlplane.wiring.counting import count_limit

_IDENTIFIED_AT_ONCE = 32
"""Each may be a question to the API server, with some seconds to answer."""
_CERTIFICATES_AT_ONCE = 1_000
"""For one identity at one address: a whole mesh may come after a restart, through one gateway."""


class Callers:
    """Lets callers be identified each in its turn, by address, and sign no more than the limits allow."""

    def __init__(self, limits: Limits) -> None:
        self._identifying = Gate(_IDENTIFIED_AT_ONCE, ("max_waiting_calls", limits.max_waiting_calls), count_limit)
        self._rates = Rates(limits.certificates_per_second, _CERTIFICATES_AT_ONCE)
        self._signing = asyncio.Lock()

    def identified(self, call: Call) -> AbstractAsyncContextManager[None]:
        """Find out in here who calls. Raises ``StreamRefused`` where too many of its address wait."""
        return self._identifying.entered(call.address)

    async def may_sign(self, caller: Caller, call: AnyCall) -> None:
        """Return when a certificate may be signed: one in a turn of the event loop, for it takes two milliseconds.

        Raises:
            CallRefused: this identity has had too many.
        """
        if not self._rates.allows(f"{caller.identity} {call.peer.rpartition(':')[0]}"):
            count_limit("certificates_per_second")
            raise CallRefused(Refusal.TOO_MANY, f"too many certificates for {caller.identity}; ask again later")
        async with self._signing:
            await asyncio.sleep(0)
