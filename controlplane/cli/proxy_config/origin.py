"""Names the object that a resource was made from, as its metadata says."""

from __future__ import annotations

import re  # noqa: TID251 - names of our own resources

from controlplane.cli.proxy_config.dump import Json

_OBJECT = re.compile(r"/apis/networking\.istio\.io/[^/]+/namespaces/(?P<namespace>[^/]+)/[^/]+/(?P<name>.+)")


def origin(resource: Json) -> str:
    """Return ``name.namespace``; ``<unknown>`` for what is no networking object, empty where nothing is said."""
    config = resource.get("metadata", {}).get("filter_metadata", {}).get("istio", {}).get("config", "")
    if not config:
        return ""
    found = _OBJECT.fullmatch(config)
    return "<unknown>" if found is None else f"{found['name']}.{found['namespace']}"
