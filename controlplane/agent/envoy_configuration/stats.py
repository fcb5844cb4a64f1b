"""Which statistics Envoy keeps, and how their names become labels. Source: ``envoy.config.metrics.v3.StatsConfig``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from controlplane.agent.environment import StartError
from controlplane.agent.options import Options
from controlplane.agent.proxy_config import texts_of
from controlplane.documents.json_reader import json_value
from controlplane.documents.limits import UnreadableError

Json = dict[str, Any]

_TAGS = (
    ("cluster_name", r"^cluster(\.(.+);)"),
    ("http_conn_manager_prefix", r"^http\.(((?:[_.[:digit:]\w]*|[_\[\]aAbBcCdDeEfF[:digit:]\w\:]*));\.)"),
    ("thread_name", r"^server(\.(.+))\.watchdog"),
    ("tcp_prefix", r"^tcp\.((.*?)\.)\w+?$"),
    ("response_code", r"_rq(_(\d{3}))$"),
    ("response_code_class", r"_rq(_(\dxx))$"),
    (
        "http_conn_manager_listener_prefix",
        r"^listener(?=\.).*?\.http\.(((?:[_.[:digit:]]*|[_\[\]aAbBcCdDeEfF[:digit:]]*))\.)",
    ),
    ("listener_address", r"^listener\.(((?:[_.[:digit:]]*|[_\[\]aAbBcCdDeEfF[:digit:]]*))\.)"),
    ("mongo_prefix", r"^mongo\.(.+?)\.(collection|cmd|cx_|op_|delays_|decoding_)(.*?)$"),
)
_LAST_TAGS = (
    ("cache", r"(cache\.(.+?)\.)"),
    ("component", r"(component\.(.+?)\.)"),
    ("tag", r"(tag\.(.+?);\.)"),
    ("wasm_filter", r"(wasm_filter\.(.+?)\.)"),
    ("authz_enforce_result", r"rbac(\.(allowed|denied))"),
    ("authz_dry_run_action", r"(\.istio_dry_run_(allow|deny)_)"),
    ("authz_dry_run_result", r"(\.shadow_(allowed|denied))"),
)
_PREFIXES = ("cluster_manager", "listener_manager", "server", "cluster.xds-grpc", "wasm")
_SUFFIXES = ("rbac.allowed", "rbac.denied", "shadow_allowed", "shadow_denied")
_ROUTES = r"vhost\..*\.route\..*"


def stats_config(options: Options, metadata: Mapping[str, Any]) -> Json:
    """Return the configuration. Raises ``StartError`` for an annotation that cannot be read."""
    found: Json = {
        "use_all_default_tags": False,
        "stats_tags": [{"tag_name": name, "regex": regex} for name, regex in _tags(options)],
        "stats_matcher": {"inclusion_list": {"patterns": list(_patterns(options, metadata))}},
    }
    if buckets := _annotation(options, "statsHistogramBuckets"):
        found["histogram_bucket_settings"] = _buckets(buckets)
    return found


def _tags(options: Options) -> Iterator[tuple[str, str]]:
    yield from _TAGS
    further = (*options.config.texts("extraStatTags"), *_listed(_annotation(options, "extraStatTags")))
    for name in dict.fromkeys(further):
        yield name, rf"({name}=\.=(.*?);\.;)"
    yield from _LAST_TAGS


def _patterns(options: Options, metadata: Mapping[str, Any]) -> Iterator[Json]:
    """Yield what is kept: our own choice, and what the annotations or ``proxyStatsMatcher`` add."""
    yield {"prefix": "reporter="}
    if metadata.get("METADATA_DISCOVERY") == "true":
        yield {"prefix": "workload_discovery"}
    for prefix in (*_chosen(options, "statsInclusionPrefixes", "inclusionPrefixes"), *_PREFIXES):
        yield {"prefix": prefix}
    active = ("downstream_cx_active",) if metadata.get("EXIT_ON_ZERO_ACTIVE_CONNECTIONS") == "true" else ()
    for suffix in (*_chosen(options, "statsInclusionSuffixes", "inclusionSuffixes"), *_SUFFIXES, *active):
        yield {"suffix": suffix}
    for regex in (*_chosen(options, "statsInclusionRegexps", "inclusionRegexps"), _ROUTES):
        yield {"safe_regex": {"regex": regex}}
    yield {"prefix": "component"}
    yield {"prefix": "istio"}


def _chosen(options: Options, annotation: str, field: str) -> Sequence[str]:
    """Return what the user adds; ``{pod_ip}`` in it stands for each address of the workload."""
    said = _listed(_annotation(options, annotation))
    if not said:
        matcher = options.config.mapping("proxyStatsMatcher")
        said = texts_of(matcher.get(field), f"ProxyConfig.proxyStatsMatcher.{field}")
    return [
        each.replace("{pod_ip}", ip) for each in said for ip in (options.workload.ips if "{pod_ip}" in each else ("",))
    ]


def _buckets(text: str) -> list[Json]:
    name = "annotation sidecar.istio.io/statsHistogramBuckets"
    try:
        value = json_value(text)
    except UnreadableError as error:
        raise StartError(f"{name} is not JSON: {error}") from None
    if not isinstance(value, dict) or not all(isinstance(each, list) for each in value.values()):
        raise StartError(f"{name} must be a mapping of prefixes to lists of numbers, not {text[:80]!r}")
    return [{"match": {"prefix": prefix}, "buckets": value[prefix]} for prefix in sorted(value)]


def _annotation(options: Options, name: str) -> str:
    return options.annotations.get(f"sidecar.istio.io/{name}", "")


def _listed(text: str) -> tuple[str, ...]:
    return tuple(each.strip() for each in text.split(",") if each.strip())
