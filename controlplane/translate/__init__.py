"""Pure functions from what is known to what Envoy is told: ``(view, key) -> Resource``.

Comes in: a ``View``, through which every read is recorded, and a key that holds what else the bytes may depend on -
a service, a port, the half of a proxy class that matters. Goes out: encoded Envoy resources, sorted and
deterministic. One file or folder per noun (``clusters``, ``endpoints``, ``listeners``, ``routes``), one file per
feature. Nothing here sees a proxy, a clock or a setting that is not in the registry.
"""
