"""Routes: which requests go where.

``sidecar`` makes the route configurations of sidecars and ``gateway`` those of gateways. Both join virtual hosts that
are encoded once (``virtual_hosts``) and shared between proxy classes; the routes of a VirtualService at one port
(``http_routes``) are encoded once too and shared by its virtual hosts. ``selection`` and ``claims`` settle which
service has which routes, ``host_sets`` that each domain has one host; each feature of a route has a file of its own.
Everything here is a query or a pure function.
"""
