"""Extensions that only an istio-proxy has; a stock Envoy refuses a resource that names one of them.

They are emitted only for proxies whose node metadata says ``ISTIO_VERSION``.
"""

from __future__ import annotations

from functools import cache

from envoy.config.cluster.v3 import filter_pb2
from udpa.type.v1 import typed_struct_pb2

METADATA_EXCHANGE = "istio.metadata_exchange"
METADATA_EXCHANGE_TYPE = "type.googleapis.com/envoy.tcp.metadataexchange.config.MetadataExchange"


def metadata_exchange() -> typed_struct_pb2.TypedStruct:
    """Return the configuration of the TCP metadata exchange filter."""
    config = typed_struct_pb2.TypedStruct(type_url=METADATA_EXCHANGE_TYPE)
    config.value.fields["enable_discovery"].bool_value = True
    config.value.fields["protocol"].string_value = "istio-peer-exchange"
    return config


@cache
def metadata_exchange_upstream() -> filter_pb2.Filter:
    """Return the client's half of TCP metadata exchange, a filter of the cluster; one message, to be copied from."""
    result = filter_pb2.Filter(name=METADATA_EXCHANGE)
    result.typed_config.Pack(metadata_exchange(), deterministic=True)
    return result
