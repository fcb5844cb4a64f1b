"""What is done, as Envoy's permissions: hosts, methods, paths, ports, server names."""

from __future__ import annotations

from envoy.config.rbac.v3.rbac_pb2 import Permission
from envoy.type.matcher.v3.path_pb2 import PathMatcher

from controlplane.translate.policies.matchers import address, header, path_template, port, text


def host(value: str) -> Permission:
    """Match the ``Host`` of a request as it came, with its port, in any case of letters."""
    return Permission(header=header(":authority", value, ignore_case=True))


def method(value: str) -> Permission:
    """Match the method of a request."""
    return Permission(header=header(":method", value))


def path(value: str) -> Permission:
    """Match the path of a request without its query; ``{*}`` and ``{**}`` stand for segments."""
    if "{*}" in value or "{**}" in value:
        return Permission(uri_template=path_template(value))
    return Permission(url_path=PathMatcher(path=text(value)))


def destination_port(value: str) -> Permission:
    """Match the port that the connection was made to; ``ValueError`` where it is no port."""
    return Permission(destination_port=port(value))


def destination_address(value: str) -> Permission:
    """Match the address that the connection was made to; ``ValueError`` where it is no address or range."""
    return Permission(destination_ip=address(value))


def server_name(value: str) -> Permission:
    """Match the server name that the client asked for in TLS."""
    return Permission(requested_server_name=text(value))
