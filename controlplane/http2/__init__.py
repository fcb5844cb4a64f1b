"""A gRPC server on HTTP/2, made for many connections that each hold one long stream.

Bytes come in from the event loop, and a call's messages go out to its handler; messages of a handler become frames as
the peer's windows have room. In reading order: ``frames`` and ``headers`` (what is on the wire), ``call`` (one gRPC
call, which handlers work with), ``connection`` (one peer), ``receiving`` (what its frames mean), ``windows`` (how much
may be on the way), ``server`` (ports), ``unary`` (methods of one request and one response). Nothing is queued for a
peer that does not read: a handler sends only while its call is ``writable``.

No peer takes more than its share: ``turns`` of the event loop, ``tolerance`` for what is useless, places and memory
(``addresses``, ``shared``); how much that is says ``controlplane.limits``.

What may go wrong: a peer that breaks HTTP/2 loses its connection, and is told why (``ConnectionFailed``); one that
breaks gRPC loses its call; one that is silent for too long is dropped. A call's metadata may hold credentials and is
not for logs. Callbacks of a handler must not raise.
"""
