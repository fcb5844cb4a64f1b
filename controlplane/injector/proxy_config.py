"""The effective ProxyConfig of a pod, and the text of it that its agent reads.

Later goes before earlier: the mesh's ``defaultConfig``, ProxyConfig resources for all of the root namespace and of the
pod's, the pod's annotation, resources that select the pod.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from controlplane.apis.mesh import ProxyConfig
from controlplane.apis.problems import problems_of
from controlplane.apis.proxy_config import ProxyConfigResource
from controlplane.documents.limits import UnreadableError
from controlplane.documents.yaml_reader import yaml_value
from controlplane.injector.errors import InjectionError
from controlplane.injector.proxy_config_rules import proxy_config_problems

ANNOTATION = "proxy.istio.io/config"
_KEPT_WHEN_ZERO = frozenset(
    {"concurrency", "holdApplicationUntilProxyStarts", "statsCompression", "fileFlushMinSizeKb"}
)
"""Fields whose zero says something else than their absence."""
_DROPPED_WHEN_DEFAULT = frozenset(
    {
        "configPath",
        "binaryPath",
        "controlPlaneAuthPolicy",
        "serviceCluster",
        "drainDuration",
        "terminationDrainDuration",
        "discoveryAddress",
        "envoyMetricsService",
        "envoyAccessLogService",
        "tracing",
        "proxyAdminPort",
        "statNameLength",
        "statusPort",
        "concurrency",
        "proxyMetadata",
    }
)
"""Fields that are not told to an agent that would assume the same."""


def annotated(config: ProxyConfig, annotations: Mapping[str, str]) -> ProxyConfig:
    """Return a ProxyConfig with what the pod's annotation states laid over it, field by field.

    Unknown fields are ignored.

    Raises:
        InjectionError: the annotation is no ProxyConfig.
    """
    text = annotations.get(ANNOTATION)
    if not text:
        return config
    try:
        value = yaml_value(text)
        stated = ProxyConfig.model_validate({} if value is None else value, extra="ignore")
    except UnreadableError as error:
        raise _refused(text, f"is not YAML: {error}") from error
    except ValidationError as error:
        raise _refused(text, "; ".join(map(str, problems_of(error)))) from error
    if problems := list(proxy_config_problems(stated)):
        raise _refused(text, "; ".join(problems))
    given = {name: getattr(stated, name) for name in stated.model_fields_set}
    if stated.proxy_metadata:
        given["proxy_metadata"] = {**config.proxy_metadata, **stated.proxy_metadata}
    if "proxy_headers" in given and config.proxy_headers is not None and stated.proxy_headers is not None:
        headers = {name: getattr(stated.proxy_headers, name) for name in stated.proxy_headers.model_fields_set}
        given["proxy_headers"] = config.proxy_headers.model_copy(update=headers)
    return config.model_copy(update=given)


def effective(
    default: ProxyConfig,
    annotations: Mapping[str, str],
    labels: Mapping[str, str],
    resources: tuple[Sequence[ProxyConfigResource], Sequence[ProxyConfigResource]],
) -> ProxyConfig:
    """Return the ProxyConfig of a pod with these annotations and labels.

    ``resources`` are those of the root namespace and of the pod's; of several for all of a namespace the oldest counts.

    Raises:
        InjectionError: the annotation is no ProxyConfig.
    """
    config = default
    for each in resources:
        for_all = [resource for resource in each if not _selected(resource)]
        if for_all:
            config = _with(config, for_all[0])
    config = annotated(config, annotations)
    for resource in resources[1]:
        selected = _selected(resource)
        if selected and all(labels.get(key) == value for key, value in selected.items()):
            return _with(config, resource)
    return config


def _selected(resource: ProxyConfigResource) -> Mapping[str, str]:
    return resource.selector.match_labels if resource.selector is not None else {}


def _with(config: ProxyConfig, resource: ProxyConfigResource) -> ProxyConfig:
    given: dict[str, Any] = {}
    if resource.concurrency is not None:
        given["concurrency"] = resource.concurrency
    if resource.image is not None:
        given["image"] = resource.image
    if resource.environment_variables:
        given["proxy_metadata"] = {**config.proxy_metadata, **resource.environment_variables}
    return config.model_copy(update=given)


def text(config: ProxyConfig) -> str:
    """Return the variable ``PROXY_CONFIG``: protobuf's JSON of what an agent would not assume itself, and a newline."""
    told = {
        name: value
        for name, value in stated(config).items()
        if not (name in _DROPPED_WHEN_DEFAULT and value == _DEFAULT.get(name))
    }
    return json.dumps(told, separators=(",", ":"), ensure_ascii=False) + "\n"


def stated(config: ProxyConfig) -> dict[str, Any]:
    """Return protobuf's JSON of a ProxyConfig, without fields that nobody set and without zeros that say nothing."""
    found = config.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude_none=True)
    return {
        name: _plain(value)
        for name, value in found.items()
        if value or (name in _KEPT_WHEN_ZERO and value is not None)
        if not (name == "interceptionMode" and value == "REDIRECT")
    }


def _plain(value: Any) -> Any:  # noqa: ANN401 - JSON
    """Return JSON with whole floats as protobuf writes them, without a fraction."""
    match value:
        case dict():
            return {key: _plain(each) for key, each in value.items()}
        case list():
            return [_plain(each) for each in value]
        case float() if value.is_integer():
            return int(value)
        case _:
            return value


_DEFAULT: dict[str, Any] = {
    name: value
    for name, value in ProxyConfig().model_dump(mode="json", by_alias=True, exclude_none=True).items()
    if name in _DROPPED_WHEN_DEFAULT
}


def _refused(value: str, reason: str) -> InjectionError:
    return InjectionError(
        f"could not parse proxy config: invalid value {value[:200]!r} for annotation {ANNOTATION!r}: {reason}"
    )
