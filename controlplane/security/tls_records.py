"""TLS whose records have to hold something: what a peer says to TLS itself has an end.

A peer of TLS 1.3 may ask for new keys as often as it likes (KeyUpdate; RFC 8446, 4.6.3). Each costs some 20 µs and 27
bytes, a quarter of a megabyte is read at a time, and nothing of it reaches the program, which could neither count it
nor take turns meanwhile. So OpenSSL is given a few records at a time, and a connection ends with too many that hold
nothing.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Any, TypeVar

MOST_USELESS = 32
"""Records without content; OpenSSL itself takes as many empty ones."""
CONTENT_FOR_ONE = 16
"""So many records with content are worth another without."""
_AT_ONCE = 32
_HEAD, _LONGEST = 5, (1 << 14) + 2048
_KINDS = range(20, 25)
_VERSION = 3

T = TypeVar("T")


class CountedRecords(ssl.SSLObject):
    """A connection; ``sslobject_class`` of a context makes it. Raises ``ssl.SSLError`` where too many hold nothing."""

    _incoming: ssl.MemoryBIO
    _fed: ssl.MemoryBIO
    _held: bytearray
    _useless: float

    @classmethod
    def _create(
        cls,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        **options: Any,  # noqa: ANN401 - the base class' own
    ) -> CountedRecords:
        """Stand between what comes and OpenSSL; called by ``SSLContext.wrap_bio``."""
        fed = ssl.MemoryBIO()
        made: CountedRecords = super()._create(fed, outgoing, **options)  # type: ignore[misc]
        made._incoming, made._fed, made._held, made._useless = incoming, fed, bytearray(), 0.0
        return made

    def do_handshake(self) -> None:
        """Go on with the handshake, as far as what has come allows; its records need no content."""
        self._step(super().do_handshake)
        self._useless = 0.0

    def unwrap(self) -> None:
        """Go on with the end of TLS."""
        self._step(super().unwrap)

    def read(self, len: int = 1024, buffer: Any = None) -> Any:  # noqa: A002, ANN401 - as the base class has it
        """Return the content of a record, or its length where it goes to a buffer."""
        read = super().read
        content = self._step(lambda: read(len, buffer))
        self._useless = max(0.0, self._useless - 1 - 1 / CONTENT_FOR_ONE)
        return content

    def pending(self) -> int:
        """Return how many bytes may be read at once, those that OpenSSL was not given yet among them.

        uvloop reads on while there are some, and would leave what waits here until the peer sends more.
        """
        return super().pending() + self._fed.pending + len(self._held)

    def _step(self, step: Callable[[], T]) -> T:
        """Do something, with some more records each time that it wants them."""
        while True:
            try:
                return step()
            except ssl.SSLWantReadError:
                if self._useless > MOST_USELESS:
                    raise ssl.SSLError(ssl.SSL_ERROR_SSL, "too many records without content") from None
                if not self._feed():
                    raise

    def _feed(self) -> bool:
        """Hand on the whole records that come next, if there are any; what is no record, for OpenSSL to refuse it."""
        records = end = 0
        while records < _AT_ONCE and end < _LONGEST:
            size = self._size(end)
            if not 0 < size <= len(self._held) - end:
                if not self._incoming.pending:
                    break
                self._held += self._incoming.read()
                continue
            records, end = records + 1, end + size
        if records:
            self._useless += records
            self._fed.write(self._held[:end])
            del self._held[:end]
            return True
        if self._incoming.eof and not self._fed.eof:
            self._fed.write(self._held)
            self._fed.write_eof()
            self._held.clear()
            return True
        return False

    def _size(self, at: int) -> int:
        """Return how long the record at a place is; 0 while it does not say."""
        held, rest = self._held, len(self._held) - at
        if rest < _HEAD:
            return 0 if not rest or held[at] in _KINDS else rest
        size = int.from_bytes(held[at + 3 : at + _HEAD])
        return _HEAD + size if held[at] in _KINDS and held[at + 1] == _VERSION and size <= _LONGEST else rest
