"""Listeners: what a proxy accepts and which filters a connection passes.

Outbound and gateway listeners are made in two steps. A *plan* (``outbound_plan``) reads services, VirtualServices and
DestinationRules and gives the listeners as frozen values: address, chains, names of clusters and routes. A plan entry
is the key of the second query, which turns it into an Envoy message; so a change rebuilds exactly the listeners whose
plan it changes, and proxies of different namespaces share the rest. Inbound listeners belong to one workload class and
are made in one go (``inbound``).

What only istio-proxy has (metadata exchange, ALPN override, its statistics) goes only to scopes with ``istio``.
"""
