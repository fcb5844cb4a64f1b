"""HTTP/1.1 as the agent needs it: small requests of probes, scrapes and Envoy's admin interface, both sides.

The protocol is h11's; a framework would cost each pod more memory than the rest of the agent. Every wait, head and body
is bounded.
"""
