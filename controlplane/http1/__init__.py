"""What the HTTP/1.1 ports, of webhooks and of monitoring, have in common: limits on what callers may take of them.

In: requests and connections of aiohttp. Out: bodies as bytes within their limits, and connections within theirs. What
goes wrong is the caller's: a body that is too large, too slow or too much together with others, which is a value with
the HTTP status for it; and too many connections, of which an idle one has to go.
"""
