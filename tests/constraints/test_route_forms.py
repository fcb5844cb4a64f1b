"""What routes say to filters, and what is said in filters and routes alike: judged by us and by a real Envoy."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from typing import Any

import pytest
from envoy.config.route.v3.route_components_pb2 import Route
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet, ServiceDescriptorProto

from controlplane.apis.envoy_filter import ApplyTo
from controlplane.constraints.checker import faults
from controlplane.patches.messages import decode
from tests.envoy.judge import refused_listeners, routed

pytestmark = pytest.mark.slow

Json = dict[str, Any]
HTTP = "type.googleapis.com/envoy.extensions.filters.http"
WRAPPER = "type.googleapis.com/envoy.config.route.v3.FilterConfig"
BUCKET = {"max_tokens": 4, "fill_interval": "60s"}
USER = "a:{SHA}tESsBmE/yNY3lb6a0L6vVQEZNqw="
HEALTH = b64encode(
    FileDescriptorSet(
        file=[
            FileDescriptorProto(
                name="a.proto", package="a", syntax="proto3", service=[ServiceDescriptorProto(name="Health")]
            )
        ]
    ).SerializeToString()
).decode()
DISABLED = {"@type": f"{HTTP}.buffer.v3.BufferPerRoute", "disabled": True}
EXTENSION = {"name": "a", "typed_config": DISABLED}
"""An extension of no category."""
UNKNOWN_FORMATTER = {"body_format": {"text_format": "a", "formatters": [EXTENSION]}}
LIMITED: Json = {"actions": [{"remote_address": {}}]}
TO_METADATA = {"metadata_namespace": "a", "key": "k"}
HEADER = {"key": "x", "value": "y"}
SMALL: Json = {"regex": "abcdef", "google_re2": {"max_program_size": 1}}


def mutating(**mutations: Any) -> Json:
    return {"mutations": mutations}


def json_rules(**rule: Any) -> Json:
    return {"request_rules": {"rules": [{"selectors": [{"key": "a"}], **rule}]}}


def inline(text: str) -> Json:
    return {"inline_bytes": text}  # in base64


def signing(region: str) -> Json:
    key = {"access_key_id": "a", "secret_access_key": "b"}
    provider = {"inline_credential": key, "custom_credential_provider_chain": True}
    said = {"service_name": "s3", "region": region, "credential_provider": provider}
    return {"aws_request_signing": said, "stat_prefix": "a"}


def asked_of(cluster: str) -> Json:
    """Return a source that is asked over gRPC; its cluster must be one of the bootstrap."""
    services = [{"envoy_grpc": {"cluster_name": cluster}}]
    source = {"api_type": "GRPC", "transport_api_version": "V3", "grpc_services": services}
    return {"api_config_source": source, "resource_api_version": "V3"}


def described(kind: str, **stated: str) -> Json:
    """Return limits by what an extension of this type says of a request."""
    extension = {"name": "a", "typed_config": {"@type": f"type.googleapis.com/envoy.{kind}", **stated}}
    return {"rate_limits": [{"actions": [{"extension": extension}]}]}


def wrapping(kind: str, *, says: Json | None = None, **more: bool) -> Json:
    """Return what a route says of a filter, and more than that: whether it is off, or need not be there."""
    return {"config": {"@type": f"{HTTP}.{kind}", **(says or {})}, **more}


KILLING: Json = {"probability": {"numerator": 1}}
WRAPPED_BAD: tuple[Json, ...] = (
    wrapping("kill_request.v3.KillRequest", says=KILLING),
    wrapping("buffer.v3.Buffer", says={"max_request_bytes": 3}, is_optional=True),
    wrapping("local_ratelimit.v3.LocalRateLimit", says={"stat_prefix": "a"}, is_optional=True),
)
WRAPPED_GOOD: tuple[Json, ...] = (
    wrapping("kill_request.v3.KillRequest", says=KILLING, is_optional=True),
    wrapping("router.v3.Router", is_optional=True),
    wrapping("buffer.v3.Buffer", says={"max_request_bytes": 3}, disabled=True),
    wrapping("local_ratelimit.v3.LocalRateLimit", says={"stat_prefix": "a"}, disabled=True),
)
BAD: tuple[tuple[str, Json], ...] = (
    ("adaptive_concurrency.v3.GradientControllerConfig", {}),
    ("cache.v3.CacheConfig", {"disabled": True}),
    ("credential_injector.v3.CredentialInjector", {"overwrite": True}),
    ("decompressor.v3.Decompressor", {"decompressor_library": EXTENSION}),
    ("gcp_authn.v3.GcpAuthnFilterConfig", {"timeout": "1s", "cluster": "c"}),
    ("ip_tagging.v3.IPTagging", {"ip_tags": [{"ip_tag_name": "a"}]}),
    ("kill_request.v3.KillRequest", {"probability": {"numerator": 1}}),
    ("rate_limit_quota.v3.RateLimitQuotaOverride", {"domain": "a"}),
    ("thrift_to_metadata.v3.ThriftToMetadataPerRoute", {}),
    ("buffer.v3.Buffer", {"max_request_bytes": 3}),
    ("local_ratelimit.v3.LocalRateLimit", {"stat_prefix": "a"}),
    ("bandwidth_limit.v3.BandwidthLimit", {"stat_prefix": "a"}),
    ("header_to_metadata.v3.Config", {}),
    ("json_to_metadata.v3.JsonToMetadata", {}),
    ("json_to_metadata.v3.JsonToMetadata", json_rules(on_missing=TO_METADATA)),
    ("json_to_metadata.v3.JsonToMetadata", json_rules(on_error={**TO_METADATA, "value": "a"})),
    ("basic_auth.v3.BasicAuthPerRoute", {"users": {"inline_string": "a:b"}}),
    ("api_key_auth.v3.ApiKeyAuthPerRoute", {"key_sources": [{}]}),
    ("api_key_auth.v3.ApiKeyAuthPerRoute", {"credentials": 2 * [{"key": "a", "client": "b"}]}),
    ("aws_lambda.v3.PerRouteConfig", {"invoke_config": {"arn": "a"}}),
    ("grpc_json_reverse_transcoder.v3.GrpcJsonReverseTranscoder", {}),
    ("grpc_json_reverse_transcoder.v3.GrpcJsonReverseTranscoder", {"descriptor_binary": "YQ=="}),
    ("grpc_json_transcoder.v3.GrpcJsonTranscoder", {"services": ["a"], "proto_descriptor_bin": "YQ=="}),
    ("grpc_json_transcoder.v3.GrpcJsonTranscoder", {"services": ["a.b"], "proto_descriptor_bin": HEALTH}),
    ("grpc_json_transcoder.v3.GrpcJsonTranscoder", {"services": ["a"], "proto_descriptor_bin": ""}),
    ("aws_request_signing.v3.AwsRequestSigningPerRoute", signing("eu-*")),
    ("dynamic_modules.v3.DynamicModuleFilterPerRoute", {"dynamic_module_config": {}}),
    ("ratelimit.v3.RateLimitPerRoute", {"rate_limits": [{**LIMITED, "stage": 1}]}),
    ("ratelimit.v3.RateLimitPerRoute", {"rate_limits": [{**LIMITED, "hits_addend": {"format": "%NOTHING%"}}]}),
    ("ratelimit.v3.RateLimitPerRoute", {"rate_limits": [{"actions": [{"extension": EXTENSION}]}]}),
    ("on_demand.v3.PerRouteConfig", {"odcds": {"source": {"self": {}}}}),
    ("on_demand.v3.PerRouteConfig", {"odcds": {"source": {"ads": {}}, "resources_locator": "a"}}),
    ("lua.v3.LuaPerRoute", {"source_code": inline("YQ==")}),
    ("rbac.v3.RBACPerRoute", {"rbac": {"matcher": {"on_no_match": {"keep_matching": True, "action": EXTENSION}}}}),
    ("header_mutation.v3.HeaderMutationPerRoute", mutating(query_parameter_mutations=[{}])),
    (
        "header_mutation.v3.HeaderMutationPerRoute",
        mutating(
            request_mutations=[
                {"append": {"header": HEADER, "append": True, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}}
            ]
        ),
    ),
    ("cors.v3.CorsPolicy", {"allow_origin_string_match": [{"custom": EXTENSION}]}),
    ("cors.v3.CorsPolicy", {"allow_origin_string_match": [{"safe_regex": SMALL}]}),
    ("compressor.v3.CompressorPerRoute", {"overrides": {"compressor_library": EXTENSION}}),
    ("ext_proc.v3.ExtProcPerRoute", {"overrides": {"processing_request_modifier": EXTENSION}}),
    ("stateful_session.v3.StatefulSessionPerRoute", {"stateful_session": {"session_state": EXTENSION}}),
    ("transform.v3.TransformConfig", {"request_transformation": {"body_transformation": UNKNOWN_FORMATTER}}),
)  # fmt: skip
GOOD: tuple[tuple[str, Json], ...] = (
    ("buffer.v3.BufferPerRoute", {"disabled": True}),
    ("local_ratelimit.v3.LocalRateLimit", {"stat_prefix": "a", "token_bucket": BUCKET}),
    ("bandwidth_limit.v3.BandwidthLimit", {"stat_prefix": "a", "limit_kbps": 3}),
    ("header_to_metadata.v3.Config", {"request_rules": [{"header": "a", "on_header_present": TO_METADATA}]}),
    ("json_to_metadata.v3.JsonToMetadata", json_rules(on_present=TO_METADATA)),
    ("json_to_metadata.v3.JsonToMetadata", json_rules(on_missing={**TO_METADATA, "value": "a"})),
    ("basic_auth.v3.BasicAuthPerRoute", {"users": {"inline_string": USER}}),
    ("basic_auth.v3.BasicAuthPerRoute", {"users": {"inline_string": ""}}),
    ("api_key_auth.v3.ApiKeyAuthPerRoute", {"credentials": [{"key": "a", "client": "b"}]}),
    ("grpc_json_transcoder.v3.GrpcJsonTranscoder", {"proto_descriptor_bin": "YQ=="}),
    ("grpc_json_transcoder.v3.GrpcJsonTranscoder", {"services": ["a.Health"], "proto_descriptor_bin": HEALTH}),
    ("aws_request_signing.v3.AwsRequestSigningPerRoute", signing("eu-west-1")),
    ("ratelimit.v3.RateLimitPerRoute", {"rate_limits": [{**LIMITED, "hits_addend": {"number": 3}}]}),
    ("ratelimit.v3.RateLimitPerRoute", described("type.matcher.v3.HttpRequestHeaderMatchInput", header_name="a")),
    ("ratelimit.v3.RateLimitPerRoute", described("extensions.matching.common_inputs.network.v3.SourceIPInput")),
    ("on_demand.v3.PerRouteConfig", {"odcds": {"source": {"ads": {}, "resource_api_version": "V3"}}}),
    ("on_demand.v3.PerRouteConfig", {"odcds": {"source": asked_of("c")}}),
    ("lua.v3.LuaPerRoute", {"source_code": inline("YT0i/yI=")}),  # a="\xff"
    ("fault.v3.HTTPFault", {"abort": {"http_status": 503, "percentage": {"numerator": 1}}}),
    ("header_mutation.v3.HeaderMutationPerRoute", mutating(query_parameter_mutations=[{"remove": "a"}])),
    ("cors.v3.CorsPolicy", {"allow_origin_string_match": [{"safe_regex": {"regex": "a"}}]}),
    ("csrf.v3.CsrfPolicy", {"filter_enabled": {"default_value": {"numerator": 1}}}),
    ("custom_response.v3.CustomResponse", {}),
    ("set_metadata.v3.Config", {}),
)


def listeners() -> Mapping[str, Json]:
    """Return a listener with a route for each row; the bad ones come first."""
    bad, good = ([{"@type": f"{HTTP}.{kind}", **stated} for kind, stated in rows] for rows in (BAD, GOOD))
    wrapped_bad, wrapped_good = (
        [{"@type": WRAPPER, **stated} for stated in rows] for rows in (WRAPPED_BAD, WRAPPED_GOOD)
    )
    return {
        f"route {number}": routed(f"route {number}", typed_per_filter_config={"f": each})
        for number, each in enumerate((*bad, *wrapped_bad, *good, *wrapped_good))
    }


def test_routes_are_judged_as_envoy_judges_them() -> None:
    made = listeners()
    bad = [f"route {number}" for number in range(len(BAD) + len(WRAPPED_BAD))]
    ours = [name for name, each in made.items() if faults(decode(ApplyTo.LISTENER, each).message)]
    assert ours == bad
    assert sorted(refused_listeners(made.values()), key=lambda name: int(name.split()[1])) == bad


def test_a_rule_reaches_what_is_wrapped() -> None:
    """``FilterConfig`` says more of a filter than its settings."""
    limit = {"@type": f"{HTTP}.local_ratelimit.v3.LocalRateLimit", "stat_prefix": "a"}
    wrapped = {"@type": WRAPPER, "config": limit}
    stated = {"match": {"prefix": "/"}, "route": {"cluster": "c"}, "typed_per_filter_config": {"f": wrapped}}
    route = decode(ApplyTo.HTTP_ROUTE, stated).message
    assert isinstance(route, Route)
    assert [tuple(each) for each in faults(route)] == [
        ("typed_per_filter_config[f].config.token_bucket", "is required for a route")
    ]
