"""The bootstrap that Envoy is started with, from the node and the ProxyConfig to plain JSON.

``document`` puts it together from ``clusters``, ``listeners``, ``stats`` and ``tracing``. Everything else comes over
the agent's Unix sockets: configuration from ``XDS``, secrets from the socket of the workload's secrets.
"""
