"""Clusters: one file per concern - names, policies, upstream TLS, the outbound, inbound and special clusters."""
