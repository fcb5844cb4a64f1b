"""Messages of the protocols between agents and control plane that are no part of Envoy's, generated from ``protos/``.

Both sides speak them: the certificate service (``istio_auth_pb2``) and the table of names (``name_table_pb2``).
"""
