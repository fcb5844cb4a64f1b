"""Policies with the action CUSTOM: which requests an external authoriser is asked about, and how.

Two filters do it: the first only finds out whether a policy matches, and leaves that in the metadata; the second asks
where it did. Where the authoriser of a policy is not to be had, what the policy matches is denied.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from functools import partial

from envoy.config.core.v3.config_source_pb2 import ApiVersion
from envoy.config.core.v3.grpc_service_pb2 import GrpcService
from envoy.config.listener.v3.listener_components_pb2 import Filter
from envoy.config.rbac.v3.rbac_pb2 import RBAC
from envoy.extensions.filters.http.ext_authz.v3.ext_authz_pb2 import BufferSettings, ExtAuthz, HttpService
from envoy.extensions.filters.http.rbac.v3 import rbac_pb2 as http_rbac
from envoy.extensions.filters.network.ext_authz.v3.ext_authz_pb2 import ExtAuthz as NetworkExtAuthz
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import HttpFilter
from envoy.extensions.filters.network.rbac.v3 import rbac_pb2 as network_rbac
from envoy.type.matcher.v3.metadata_pb2 import MetadataMatcher
from envoy.type.matcher.v3.string_pb2 import ListStringMatcher, StringMatcher
from envoy.type.matcher.v3.value_pb2 import ValueMatcher
from envoy.type.v3.http_status_pb2 import StatusCode

from controlplane.apis.authorization_policy import Action
from controlplane.apis.common import MAX_PORT
from controlplane.apis.mesh_providers import (
    EnvoyExternalAuthorizationGrpcProvider,
    EnvoyExternalAuthorizationHttpProvider,
)
from controlplane.constraints.checker import faults
from controlplane.constraints.fields import is_fixed
from controlplane.model.cluster_names import outbound_name
from controlplane.model.objects import Object
from controlplane.registry.providers import Authoriser, provider_clusters
from controlplane.translate.listeners.extensions import http_filter, network_filter
from controlplane.translate.policies.rbac import HTTP_FILTER, NETWORK_FILTER, STAT_PREFIX, Chain, rbac

SHADOW_PREFIX = "istio_ext_authz_"
HTTP_EXT_AUTHZ = "envoy.filters.http.ext_authz"
NETWORK_EXT_AUTHZ = "envoy.filters.network.ext_authz"
_POLICY_ID = f"{SHADOW_PREFIX}shadow_effective_policy_id"
_BROKEN = "-deny-due-to-bad-CUSTOM-action"
_LONGEST_NAME = 63
_IN_NAME = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-")
#: how long an authoriser may take where its provider does not say
_TIMEOUT = timedelta(seconds=600)


def external_filters(
    policies: Sequence[Object], authorisers: Mapping[str, Authoriser], chain: Chain, *, several: bool
) -> Iterator[HttpFilter | Filter]:
    """Yield the filters of the policies with the action CUSTOM, by the names of their providers.

    ``authorisers`` are the providers that can be asked, by name. ``several`` says whether one workload may have more
    than one of them; else none of them is asked, and what their policies match is denied.
    """
    by_provider: defaultdict[str, list[Object]] = defaultdict(list)
    for obj in policies:
        if obj.spec.action is Action.CUSTOM:
            by_provider[obj.spec.provider.name if obj.spec.provider is not None else ""].append(obj)
    too_many = len(by_provider) > 1 and not several
    for name, held in sorted(by_provider.items()):
        authoriser = None if too_many else authorisers.get(name)
        prefix = f"istio-ext-authz-{name}"
        if authoriser is None:
            yield _denial(rbac(held, Action.CUSTOM, chain, partial(_broken, prefix)), chain)
        elif chain.http or isinstance(authoriser, EnvoyExternalAuthorizationGrpcProvider):
            yield _finding(rbac(held, Action.CUSTOM, chain, partial(_asked, prefix)), chain)
            yield _asking(authoriser, prefix, chain)


def sound(authorisers: Mapping[str, Authoriser]) -> Mapping[str, Authoriser]:
    """Return the authorisers whose settings make sense; what policies match that name another one is denied.

    Reference: ``extensionProviders`` of MeshConfig, as istiod reads them for policies.
    """
    return {
        name: each
        for name, each in authorisers.items()
        if _is_name(name) and _is_sound(each) and not faults(_settings(each, name))
    }


def _is_name(name: str) -> bool:
    return 0 < len(name) <= _LONGEST_NAME and _IN_NAME.issuperset(name) and not name.startswith("-") and name[-1] != "-"


def _is_sound(authoriser: Authoriser) -> bool:
    stated = authoriser.status_on_error
    if stated and (not (stated.isascii() and stated.isdigit()) or int(stated) not in StatusCode.values()):
        return False
    if not 1 <= authoriser.port <= MAX_PORT:
        return False
    if isinstance(authoriser, EnvoyExternalAuthorizationGrpcProvider):
        return True
    lists = (
        authoriser.include_headers_in_check,
        authoriser.include_request_headers_in_check,
        authoriser.headers_to_upstream_on_allow,
        authoriser.headers_to_downstream_on_deny,
        authoriser.headers_to_downstream_on_allow,
    )
    if any(map(is_fixed, authoriser.include_additional_headers_in_check)):
        return False
    return authoriser.path_prefix[:1] in {"", "/"} and not any("*" in names for names in lists)


def asked_clusters(policies: Sequence[Object], authorisers: Mapping[str, Authoriser]) -> frozenset[str]:
    """Return the clusters of the authorisers that the policies with the action CUSTOM name."""
    named = {obj.spec.provider.name for obj in policies if obj.spec.action is Action.CUSTOM and obj.spec.provider}
    return provider_clusters(tuple(authorisers[name] for name in sorted(named & authorisers.keys())))


def _asked(prefix: str, key: str) -> str:
    return f"{prefix}-{key}"


def _broken(prefix: str, key: str) -> str:
    return f"{prefix}-{key}{_BROKEN}"


def _denial(rules: RBAC, chain: Chain) -> HttpFilter | Filter:
    if chain.http:
        return http_filter(HTTP_FILTER, http_rbac.RBAC(rules=rules))
    return network_filter(NETWORK_FILTER, network_rbac.RBAC(rules=rules, stat_prefix=STAT_PREFIX))


def _finding(rules: RBAC, chain: Chain) -> HttpFilter | Filter:
    if chain.http:
        return http_filter(HTTP_FILTER, http_rbac.RBAC(shadow_rules=rules, shadow_rules_stat_prefix=SHADOW_PREFIX))
    config = network_rbac.RBAC(shadow_rules=rules, shadow_rules_stat_prefix=SHADOW_PREFIX, stat_prefix=STAT_PREFIX)
    return network_filter(NETWORK_FILTER, config)


def _asking(authoriser: Authoriser, prefix: str, chain: Chain) -> HttpFilter | Filter:
    if not chain.http:
        return network_filter(
            NETWORK_EXT_AUTHZ,
            NetworkExtAuthz(
                stat_prefix=STAT_PREFIX,
                grpc_service=_grpc_service(authoriser),
                failure_mode_allow=authoriser.fail_open,
                transport_api_version=ApiVersion.V3,
                filter_enabled_metadata=_where_found(NETWORK_FILTER, prefix),
            ),
        )
    return http_filter(HTTP_EXT_AUTHZ, _settings(authoriser, prefix))


def _settings(authoriser: Authoriser, prefix: str) -> ExtAuthz:
    """Return how an authoriser is asked about requests."""
    config = ExtAuthz(
        failure_mode_allow=authoriser.fail_open,
        transport_api_version=ApiVersion.V3,
        filter_enabled_metadata=_where_found(HTTP_FILTER, prefix),
    )
    status = status_on_error(authoriser.status_on_error)
    if status:
        config.status_on_error.code = status
    body = authoriser.include_request_body_in_check
    if body is not None:
        config.with_request_body.CopyFrom(
            BufferSettings(
                max_request_bytes=body.max_request_bytes,
                allow_partial_message=body.allow_partial_message,
                pack_as_bytes=body.pack_as_bytes,
            )
        )
    match authoriser:
        case EnvoyExternalAuthorizationHttpProvider():
            sent = authoriser.include_request_headers_in_check or authoriser.include_headers_in_check
            if sent:
                config.allowed_headers.CopyFrom(_headers(sent))
            config.http_service.CopyFrom(_http_service(authoriser))
        case EnvoyExternalAuthorizationGrpcProvider():
            config.grpc_service.CopyFrom(_grpc_service(authoriser))
    return config


def _where_found(name: str, prefix: str) -> MetadataMatcher:
    """Match where the first filter found a policy of this provider."""
    found = ValueMatcher(string_match=StringMatcher(prefix=prefix))
    return MetadataMatcher(filter=name, path=[MetadataMatcher.PathSegment(key=_POLICY_ID)], value=found)


def status_on_error(text: str) -> int:
    """Return the HTTP status that a provider's ``statusOnError`` means, 0 where it states none."""
    number = int(text) if text.isascii() and text.isdigit() else 0
    return number if number in StatusCode.values() else 0


def _http_service(authoriser: EnvoyExternalAuthorizationHttpProvider) -> HttpService:
    service = HttpService(path_prefix=authoriser.path_prefix)
    service.server_uri.uri = f"http://{authoriser.service}"
    service.server_uri.cluster = _cluster(authoriser)
    service.server_uri.timeout.FromTimedelta(authoriser.timeout or _TIMEOUT)
    for name, value in sorted(authoriser.include_additional_headers_in_check.items()):
        service.authorization_request.headers_to_add.add(key=name, value=value)
    answer = service.authorization_response
    for stated, field in (
        (authoriser.headers_to_upstream_on_allow, "allowed_upstream_headers"),
        (authoriser.headers_to_downstream_on_deny, "allowed_client_headers"),
        (authoriser.headers_to_downstream_on_allow, "allowed_client_headers_on_success"),
    ):
        if stated:
            getattr(answer, field).CopyFrom(_headers(stated))
    return service


def _grpc_service(authoriser: Authoriser) -> GrpcService:
    service = GrpcService()
    service.envoy_grpc.cluster_name = _cluster(authoriser)
    service.envoy_grpc.authority = authoriser.service
    service.timeout.FromTimedelta(authoriser.timeout or _TIMEOUT)
    return service


def _cluster(authoriser: Authoriser) -> str:
    return outbound_name(authoriser.port, "", authoriser.service)


def _headers(names: Iterable[str]) -> ListStringMatcher:
    return ListStringMatcher(patterns=[_header(name) for name in names])


def _header(name: str) -> StringMatcher:
    if name.startswith("*"):
        return StringMatcher(suffix=name[1:], ignore_case=True)
    if name.endswith("*"):
        return StringMatcher(prefix=name[:-1], ignore_case=True)
    return StringMatcher(exact=name, ignore_case=True)
