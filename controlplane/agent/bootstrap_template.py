"""A bootstrap of the user's: JSON in which what the agent knows is filled in, as a Go template.

``{{ .bootstrap }}`` is what the agent would have written by itself. The other values have the names that they have in
Istio's template; what is not there is empty. Source: ``ISTIO_BOOTSTRAP``, ``--templateFile``,
``ProxyConfig.proxyBootstrapTemplatePath``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from controlplane.agent.environment import StartError
from controlplane.agent.envoy_configuration.places import Places
from controlplane.agent.options import Options
from controlplane.documents.json_reader import json_value
from controlplane.documents.limits import UnreadableError
from controlplane.gotemplate.errors import TemplateError
from controlplane.gotemplate.evaluate import Template
from controlplane.gotemplate.sprig import FUNCTIONS

Json = dict[str, Any]


def filled(file: str, options: Options, places: Places, document: Mapping[str, Any]) -> Json:
    """Return the bootstrap that a template makes of ``document``, the usual one.

    Raises:
        StartError: the file cannot be read, or makes no JSON object; says where.
    """
    try:
        text = Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text in UTF-8"
        raise StartError(f"the template of the bootstrap, {file}, cannot be read: {reason}") from None
    try:
        template = Template(Path(file).name, text, {**FUNCTIONS, "toJSON": _to_json})
        made = template.render(_values(options, places, document))
    except TemplateError as error:
        raise StartError(f"the template of the bootstrap, {file}: {error}") from None
    try:
        value = json_value(made)
    except UnreadableError as error:
        raise StartError(f"the template of the bootstrap, {file}, makes no JSON: {error}") from None
    if not isinstance(value, dict):
        raise StartError(f"the template of the bootstrap, {file}, makes no JSON object")
    return value


def _values(options: Options, places: Places, document: Mapping[str, Any]) -> Json:
    node = document["node"]
    locality = node.get("locality", {})
    config = options.config
    return {
        "bootstrap": json.dumps(document),
        "config": {name[:1].upper() + name[1:]: value for name, value in config.values.items()},
        "nodeID": node["id"],
        "cluster": node["cluster"],
        "region": locality.get("region", ""),
        "zone": locality.get("zone", ""),
        "sub_zone": locality.get("sub_zone", ""),
        "meta_json_str": json.dumps(node["metadata"]),
        "discovery_address": str(config.discovery_address),
        "pilot_SAN": node["metadata"].get("PILOT_SAN", []),
        "xds_type": document["dynamic_resources"]["ads_config"]["api_type"],
        "localhost": places.loopback,
        "wildcard": places.everywhere[0],
        "envoy_status_port": places.status_port,
        "envoy_prometheus_port": places.prometheus_port,
        "envoy_secure_metrics_port": places.secure_port,
        "envoy_secure_merged_metrics_port": places.secure_merged_port,
        "workload_identity_socket_file": places.secrets.name,
    }


def _to_json(value: object) -> str:
    return json.dumps(value)
