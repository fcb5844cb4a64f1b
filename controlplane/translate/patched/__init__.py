"""What EnvoyFilters make of resources that are built.

In: a resource as its translator built it, and references to the patches that are for it. Out: the resource with the
patches applied; the same one where they change nothing. The patches are read here (``reading``), applied one after the
other (``net``), and what comes out is held to the same rules as every resource: a patch that cannot be applied, or that
makes something Envoy would refuse, is left out by itself, and noted with its EnvoyFilter.
"""
