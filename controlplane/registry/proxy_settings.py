"""The ProxyConfig of one proxy: its own where it brings one, else the mesh's ``defaultConfig``.

An agent puts the effective ProxyConfig into its node metadata (``PROXY_CONFIG``): that is the proxy's, whole. A proxy
without an agent has the annotation ``proxy.istio.io/config`` of its pod, which overrides the mesh's field by field.
Of the custom resource ProxyConfig only environment variables are heeded here, as ``proxyMetadata``; what else it can
state is for the injector alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import structlog
from pydantic import ValidationError

from controlplane.apis.mesh import ProxyConfig
from controlplane.apis.problems import problems_of
from controlplane.documents.limits import UnreadableError
from controlplane.documents.yaml_reader import yaml_value
from controlplane.engine.recording import query
from controlplane.kept import kept
from controlplane.model.proxy import Proxy
from controlplane.registry.environment import DUAL_STACK, enabled, is_true
from controlplane.registry.mesh import mesh_config
from controlplane.registry.proxy_configs import proxy_variables
from controlplane.registry.store import View

log = structlog.get_logger(__name__)

ANNOTATION = "proxy.istio.io/config"
METADATA_KEY = "PROXY_CONFIG"

SETTINGS = ("connection_settings", "gateway_topology", "proxy_headers", "tracing")
"""The fields of a ProxyConfig that change what is served; the others are for the injector and the agent."""

_MAX_TEXT = 64_000
"""Characters of one ProxyConfig, far more than any; those that were read are kept."""


def own_settings(view: View, proxy: Proxy, annotations: Mapping[str, str]) -> str:
    """Return what of a proxy's ProxyConfig is served and differs from the mesh's, as canonical JSON; else empty.

    ``annotations`` are those of its pod. A ProxyConfig that cannot be read is logged, and the mesh's holds.
    """
    default = mesh_config(view).default_config
    own = _held(_own(proxy, annotations, default))
    return "" if own == _held(default) else _json(own)


def speaks_both_families(view: View, proxy: Proxy, labels: Mapping[str, str], annotations: Mapping[str, str]) -> bool:
    """Whether a proxy is to listen at, and be told, addresses of both IP families, should it have both.

    ``ISTIO_DUAL_STACK`` says so: in the ``proxyMetadata`` of the proxy's ProxyConfig, else in the environment of the
    control plane. ``labels`` are those of the proxy's workload, ``annotations`` of its pod.
    """
    stated = _variable(view, proxy, labels, annotations, DUAL_STACK)
    return enabled(view, DUAL_STACK) if stated is None else is_true(stated)


def _variable(
    view: View, proxy: Proxy, labels: Mapping[str, str], annotations: Mapping[str, str], name: str
) -> str | None:
    """Return a variable of ``proxyMetadata``: what the node says, where it says anything, is all there is to it.

    Else the resource that selects the proxy goes before its annotation, that before the resources for all proxies of
    its namespace and of the root namespace, and these before the mesh's ``defaultConfig``.
    """
    default = mesh_config(view).default_config
    if METADATA_KEY in proxy.metadata:
        return _own(proxy, annotations, default).proxy_metadata.get(name)
    found, annotated = proxy_variables(view, proxy.namespace), _annotated(proxy, annotations)
    levels = (
        found.selected(labels),
        annotated.proxy_metadata if annotated is not None else {},
        found.own,
        found.root,
        default.proxy_metadata,
    )
    return next((level[name] for level in levels if name in level), None)


def _own(proxy: Proxy, annotations: Mapping[str, str], default: ProxyConfig) -> ProxyConfig:
    """Return the ProxyConfig of a proxy: what its node says, else its annotation over the mesh's default."""
    stated = proxy.metadata.get(METADATA_KEY)
    if stated is not None:
        found = _read(json.dumps(stated, sort_keys=True), METADATA_KEY)
        if found is not None and found.connection_settings is None:  # the one field that is not replaced as a whole
            found = found.model_copy(update={"connection_settings": default.connection_settings})
        return found or default
    found = _annotated(proxy, annotations)
    if found is None:
        return default
    given = {name: getattr(found, name) for name in found.model_fields_set}
    given["proxy_metadata"] = {**default.proxy_metadata, **found.proxy_metadata}
    return default.model_copy(update=given)


def stated_annotations(proxy: Proxy) -> Mapping[str, Any]:
    """Return the annotations that a proxy's node says its pod has."""
    stated = proxy.metadata.get("ANNOTATIONS")
    return stated if isinstance(stated, Mapping) else {}


def _annotated(proxy: Proxy, annotations: Mapping[str, str]) -> ProxyConfig | None:
    """Return the ProxyConfig in a pod's annotation."""
    text = annotations.get(ANNOTATION) or stated_annotations(proxy).get(ANNOTATION)
    return _read(text, ANNOTATION) if isinstance(text, str) and text else None


@kept(1024, longest=8192)
def _read(text: str, source: str) -> ProxyConfig | None:
    """Read a ProxyConfig in JSON or YAML; each text is complained of once."""
    try:
        value = yaml_value(text, limit=_MAX_TEXT)
        return ProxyConfig.model_validate({} if value is None else value, extra="ignore")
    except ValidationError as error:
        reason = "; ".join(str(each) for each in problems_of(error))
    except UnreadableError as error:
        reason = f"not YAML: {error}"
    log.warning("registry.proxy_config_rejected", source=source, reason=reason[:500])
    return None


def _held(config: ProxyConfig) -> dict[str, Any]:
    return config.model_dump(mode="json", by_alias=True, include=set(SETTINGS), exclude_none=True)


def _json(held: Mapping[str, Any]) -> str:
    return json.dumps(held, sort_keys=True, separators=(",", ":"))


@query
def proxy_config(view: View, settings: str) -> ProxyConfig:
    """Return the mesh's ``defaultConfig`` with the settings of ``own_settings`` in their place."""
    default = mesh_config(view).default_config
    if not settings:
        return default
    own = ProxyConfig.model_validate_json(settings)
    return default.model_copy(update={name: getattr(own, name) for name in SETTINGS})


@query
def preserves_header_case(view: View, settings: str) -> bool:
    """Whether HTTP/1.1 header names keep the case they came in; nothing else of a ProxyConfig shows in clusters."""
    headers = proxy_config(view, settings).proxy_headers
    return headers is not None and bool(headers.preserve_http1_header_case)


@query
def route_settings(view: View, settings: str) -> str:
    """Return what of a proxy's own settings shows in routes, empty for nothing; proxies alike in it share routes."""
    own, default = proxy_config(view, settings), mesh_config(view).default_config
    if own.proxy_headers == default.proxy_headers:
        return ""
    return _json(own.model_dump(mode="json", by_alias=True, include={"proxy_headers"}, exclude_none=True))
