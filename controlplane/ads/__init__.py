"""Streams snapshots to proxies over ADS and knows what each has acknowledged.

Bytes of requests come in, bytes of responses go out. In reading order:

* ``source``: what the server asks of the compiler: a session per proxy, with the newest snapshot of its class.
* ``contents``: snapshots as all streams of a class share them; differences are computed once.
* ``watch``, ``protocol``, ``responses``: the xDS protocol as pure values and steps, for state of the world and
  delta alike: what a request means, and what is sent next.
* ``wire``: requests decoded, responses put together from encoded parts; streams in the same state get one object.
* ``node``: who the proxy is. ``stream``: one proxy's core driven over an abstract byte transport (``serving``), in its
  ``turns``.
* ``server``, ``admission``, ``connections``, ``credential``, ``refusal``: joined to gRPC, how many streams are let in,
  those that are open, who a caller has proved to be, and why one is not served.
* ``debug``: streams of people's tools.
* ``sync_status``: what the rest of the program may ask about connected proxies. ``observer``: what it may count.

What may go wrong: a malformed request or node ends its stream with the reason (``StreamRefused``); a refused
response leaves the proxy with what it had and shows in its status; a proxy that does not answer holds up only
itself, and for a limited time; an error of our own ends one stream, which the proxy opens anew.
"""
