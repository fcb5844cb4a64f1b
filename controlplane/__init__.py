"""An Istio-compatible service-mesh control plane for Envoy.

Data moves left to right: ``watchers`` feed ``registry``, ``compiler`` runs ``translate`` over it and
publishes ``snapshots``, ``ads`` streams them to proxies. ``app`` wires the packages together.
"""

import os

os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
"""gRPC would start its threads again in each process that is forked off, and abort it where its files are closed."""

__version__ = "0.2.0"

ISTIO_VERSION = "1.31.0"
"""The version of Istio whose configuration is understood: what tools that know Istio are told first."""
