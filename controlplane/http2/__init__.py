"""A gRPC server on HTTP/2, made for many connections that each hold one long stream."""
