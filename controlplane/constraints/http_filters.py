"""What Envoy checks of the settings of HTTP filters that people insert."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Any
from urllib.parse import urlsplit

from controlplane.apis.validation import cel
from controlplane.apis.validation.formats import format_problem
from controlplane.constraints.fields import is_fixed

Wrong = Iterator[tuple[str, str]]

_LEAST_FILL_SECONDS = 0.05
_SHA, _DIGEST_CHARACTERS = "{SHA}", 28  # twenty bytes in base64
_END_OF_PORTS = 65536
_PARTS_OF_AN_ARN = 7
_LONGEST_MODULE = 249  # its file is called libNAME.so
_DUPLEX = "FULL_DUPLEX_STREAMED"


def rate_limit_faults(stated: Any) -> Wrong:  # noqa: ANN401 - a generated message, here and below
    """Check a ``LocalRateLimit``: how fast its buckets are filled, and that its descriptors differ."""
    if 0 < int(_seconds(stated.token_bucket.fill_interval) * 1000) < _LEAST_FILL_SECONDS * 1000:
        yield "token_bucket.fill_interval", "must be at least 0.05s"
    seen = set()
    for index, each in enumerate(stated.descriptors):
        if _seconds(each.token_bucket.fill_interval) < _LEAST_FILL_SECONDS:
            yield f"descriptors[{index}].token_bucket.fill_interval", "must be at least 0.05s"
        entries = tuple((entry.key, entry.value) for entry in each.entries)
        if entries in seen:
            yield f"descriptors[{index}].entries", "are those of an earlier descriptor"
        seen.add(entries)
    yield from described_faults(stated)
    if stated.HasField("local_cluster_rate_limit"):
        yield "local_cluster_rate_limit", "needs a name of the proxy's own cluster, which its bootstrap does not have"


def described_faults(stated: Any) -> Wrong:  # noqa: ANN401
    """Check the ``rate_limits`` that a filter, or a route for it, makes its descriptors of."""
    for index, each in enumerate(stated.rate_limits):
        if each.HasField("stage") or each.disable_key:
            yield f"rate_limits[{index}]", "may have neither stage nor disable_key here"
        if each.HasField("hits_addend") and not each.hits_addend.HasField("number") and not each.hits_addend.format:
            yield f"rate_limits[{index}].hits_addend", "must have a number or a format"
        if problem := format_problem(each.hits_addend.format):
            yield f"rate_limits[{index}].hits_addend.format", problem


def _seconds(duration: Any) -> float:  # noqa: ANN401
    return float(duration.seconds) + float(duration.nanos) / 1e9


def processor_faults(stated: Any) -> Wrong:  # noqa: ANN401
    """Check an ``ExternalProcessor``: one service, and what goes with bodies that go both ways."""
    if stated.HasField("grpc_service") == stated.HasField("http_service"):
        yield "grpc_service", "must be given, or http_service, and not both"
    mode = stated.processing_mode
    for side in ("request", "response"):
        kinds = mode.DESCRIPTOR.fields_by_name[f"{side}_body_mode"].enum_type.values_by_name
        duplex = kinds.get(_DUPLEX)
        if duplex is None or getattr(mode, f"{side}_body_mode") != duplex.number:
            continue
        if (
            mode.DESCRIPTOR.fields_by_name[f"{side}_trailer_mode"]
            .enum_type.values_by_number[getattr(mode, f"{side}_trailer_mode")]
            .name
            != "SEND"
        ):
            yield f"processing_mode.{side}_trailer_mode", f"must be SEND where {side}_body_mode is {_DUPLEX}"
    for field in ("request_attributes", "response_attributes"):
        for index, text in enumerate(getattr(stated, field)):
            if problem := cel.envoy_problem(text):
                yield f"{field}[{index}]", problem


def authorisation_faults(stated: Any) -> Wrong:  # noqa: ANN401
    """Check the headers that an ``AuthorizationRequest`` adds to what is asked."""
    for index, each in enumerate(stated.headers_to_add):
        if is_fixed(each.key):
            yield f"headers_to_add[{index}].key", "cannot be changed here: host, or a header that begins with a colon"


def port_range_faults(permission: Any) -> Wrong:  # noqa: ANN401
    """Check the ports of a ``Permission``."""
    ports = permission.destination_port_range
    if not permission.HasField("destination_port_range"):
        return
    if ports.start >= ports.end:
        yield "destination_port_range", "must begin before it ends"
    elif ports.start < 0 or ports.end > _END_OF_PORTS:
        yield "destination_port_range", f"must lie within 0 and {_END_OF_PORTS}, which is not in it"


def policy_faults(policy: Any) -> Wrong:  # noqa: ANN401
    """Check the condition of a ``Policy``."""
    if policy.HasField("condition") and policy.condition.WhichOneof("expr_kind") is None:
        yield "condition", "is empty"


def token_faults(stated: Any) -> Wrong:  # noqa: ANN401
    """Check a ``JwtAuthentication``: requirements name providers and requirements that are there."""
    for index, rule in enumerate(stated.rules):
        path = f"rules[{index}]"
        if (
            rule.WhichOneof("requirement_type") == "requirement_name"
            and rule.requirement_name not in stated.requirement_map
        ):
            yield f"{path}.requirement_name", f"{rule.requirement_name!r} is not in requirement_map"
        yield from _requirement(f"{path}.requires", rule.requires, stated.providers)
    for name, requirement in stated.requirement_map.items():
        yield from _requirement(f"requirement_map[{name}]", requirement, stated.providers)
    for name, requirement in stated.filter_state_rules.requires.items():
        yield from _requirement(f"filter_state_rules.requires[{name}]", requirement, stated.providers)
    for name, provider in stated.providers.items():
        if provider.HasField("remote_jwks") and not _is_url(provider.remote_jwks.http_uri.uri):
            yield f"providers[{name}].remote_jwks.http_uri.uri", "must be a URL with a scheme and a host"


def _requirement(path: str, stated: Any, providers: Collection[str]) -> Wrong:  # noqa: ANN401
    match stated.WhichOneof("requires_type"):
        case "provider_name":
            named = stated.provider_name
        case "provider_and_audiences":
            named = stated.provider_and_audiences.provider_name
        case "requires_any" | "requires_all" as kind:
            for index, each in enumerate(getattr(stated, kind).requirements):
                yield from _requirement(f"{path}.{kind}.requirements[{index}]", each, providers)
            return
        case _:
            return
    if named not in providers:
        yield path, f"{named!r} is none of providers"


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    host = parts.hostname or ""
    return bool(parts.scheme and host) and " " not in text and "_" not in host


def header_rule_faults(stated: Any) -> Wrong:  # noqa: ANN401
    """Check the rules of a ``header_to_metadata`` filter."""
    for field in ("request_rules", "response_rules"):
        for index, rule in enumerate(getattr(stated, field)):
            path = f"{field}[{index}]"
            if bool(rule.header) == bool(rule.cookie):
                yield f"{path}.header", "must be given, or cookie, and not both"
            if not rule.HasField("on_header_present") and not rule.HasField("on_header_missing"):
                yield f"{path}.on_header_present", "must be given, or on_header_missing"
            if rule.HasField("on_header_missing") and not rule.on_header_missing.value:
                yield f"{path}.on_header_missing.value", "is required"


def json_rule_faults(stated: Any) -> Wrong:  # noqa: ANN401
    """Check the rules of a ``json_to_metadata`` filter."""
    for field in ("request_rules", "response_rules"):
        for index, rule in enumerate(getattr(stated, field).rules):
            path = f"{field}.rules[{index}]"
            if not rule.HasField("on_present") and not rule.HasField("on_missing"):
                yield f"{path}.on_present", "must be given, or on_missing"
            for name in ("on_missing", "on_error"):
                if rule.HasField(name) and getattr(rule, name).value.WhichOneof("kind") is None:
                    yield f"{path}.{name}.value", "is required"


def oauth_faults(stated: Any) -> Wrong:  # noqa: ANN401
    """Check the URLs of an ``OAuth2Config``."""
    if not _is_url(stated.authorization_endpoint):
        yield "authorization_endpoint", "must be a URL with a scheme and a host"
    if problem := format_problem(stated.redirect_uri):
        yield "redirect_uri", problem
    if stated.end_session_endpoint and "openid" not in stated.auth_scopes:
        yield "end_session_endpoint", "is only for the scope openid"


def users_faults(stated: Any) -> Wrong:  # noqa: ANN401
    """Check the users of ``BasicAuth``, which has to have some."""
    kind = stated.users.WhichOneof("specifier")
    if kind in {"inline_string", "inline_bytes"} and not getattr(stated.users, kind):
        yield f"users.{kind}", "must not be empty"
    yield from route_users_faults(stated)


def route_users_faults(stated: Any) -> Wrong:  # noqa: ANN401
    """Check the users of a route, as far as they stand in it: lines of a name and a digest, or none at all."""
    kind = stated.users.WhichOneof("specifier")
    if kind is None:
        yield "users", "is required"
    if kind not in {"inline_string", "inline_bytes"}:
        return
    given = getattr(stated.users, kind)
    lines = (given if isinstance(given, str) else given.decode(errors="replace")).split("\n")
    names = set()
    for number, line in enumerate(lines, 1):
        name, colon, digest = line.partition(":")
        if not line or line.startswith("#"):
            continue
        if not colon or not name or not digest.startswith(_SHA) or len(digest) != len(_SHA) + _DIGEST_CHARACTERS:
            yield f"users.{kind}", f"line {number} must be NAME:{{SHA}}DIGEST"
        elif name in names:
            yield f"users.{kind}", f"line {number} names a user a second time"
        names.add(name)


def api_key_faults(stated: Any) -> Wrong:  # noqa: ANN401
    """Check where ``ApiKeyAuth`` finds keys, and that no key is there twice; a key is not told."""
    for index, each in enumerate(stated.key_sources):
        if not each.header and not each.query and not each.cookie:
            yield f"key_sources[{index}]", "must name a header, a query parameter or a cookie"
    keys = [each.key for each in stated.credentials]
    if len(set(keys)) < len(keys):
        yield "credentials", "has a key twice"


def lambda_faults(stated: Any) -> Wrong:  # noqa: ANN401
    """Check the name that AWS has for a function."""
    parts = stated.arn.split(":")
    if parts[0] != "arn" or len(parts) < _PARTS_OF_AN_ARN:
        yield "arn", "must be arn:PARTITION:lambda:REGION:ACCOUNT:function:NAME"


def reverse_transcoder_faults(stated: Any) -> Wrong:  # noqa: ANN401
    """Check a ``GrpcJsonReverseTranscoder``, which needs to know services."""
    if not stated.descriptor_path and not stated.descriptor_binary:
        yield "descriptor_path", "must be given, or descriptor_binary"
    if stated.descriptor_binary and not _is_descriptor_set(stated.descriptor_binary):
        yield "descriptor_binary", "is no FileDescriptorSet"


def transcoder_faults(stated: Any) -> Wrong:  # noqa: ANN401
    """Check a ``GrpcJsonTranscoder``; one without services does nothing, whatever its descriptors are."""
    if not stated.services or stated.WhichOneof("descriptor_set") != "proto_descriptor_bin":
        return
    known = _services(stated.proto_descriptor_bin)
    if known is None:
        yield "proto_descriptor_bin", "is no FileDescriptorSet"
        return
    for index, name in enumerate(stated.services):
        if name not in known:
            yield f"services[{index}]", f"{name!r} is not in proto_descriptor_bin"


def _is_descriptor_set(content: bytes) -> bool:
    return _services(content) is not None


def _services(content: bytes) -> frozenset[str] | None:
    """Return the full names of the services of a ``FileDescriptorSet``, ``None`` where it is none."""
    from google.protobuf.descriptor_pb2 import FileDescriptorSet  # noqa: PLC0415 - where one is met
    from google.protobuf.message import DecodeError  # noqa: PLC0415

    try:
        files = FileDescriptorSet.FromString(content).file
    except DecodeError:
        return None
    return frozenset(f"{each.package}.{held.name}".lstrip(".") for each in files for held in each.service)


def module_faults(stated: Any) -> Wrong:  # noqa: ANN401
    """Check the name of a module that Envoy loads: it crashes of one that can be no file's."""
    if not 0 < len(stated.name.encode()) <= _LONGEST_MODULE:
        yield "name", f"must have 1 to {_LONGEST_MODULE} bytes"


def signing_faults(stated: Any) -> Wrong:  # noqa: ANN401
    """Check where ``AwsRequestSigning`` signs for; without a region it is that of the proxy's environment."""
    if stated.signing_algorithm == stated.AWS_SIGV4 and any(each in stated.region for each in "*,"):
        yield "region", "must be one, without wildcards, unless signing_algorithm is AWS_SIGV4A"


def on_demand_faults(stated: Any) -> Wrong:  # noqa: ANN401
    """Check an ``OnDemandCds``: where clusters are asked for when a request needs them."""
    kind = stated.source.WhichOneof("config_source_specifier")
    if stated.resources_locator and not stated.resources_locator.startswith("xdstp:"):
        yield "resources_locator", "must be a URL with the scheme xdstp"
    elif kind in {None, "self"} and not stated.resources_locator:
        yield "source", "must name one other than self"


_PACKAGE = "envoy.extensions.filters.http"
HTTP_FILTERS: dict[str, Callable[[Any], Wrong]] = {
    f"{_PACKAGE}.local_ratelimit.v3.LocalRateLimit": rate_limit_faults,
    f"{_PACKAGE}.ext_proc.v3.ExternalProcessor": processor_faults,
    f"{_PACKAGE}.jwt_authn.v3.JwtAuthentication": token_faults,
    f"{_PACKAGE}.header_to_metadata.v3.Config": header_rule_faults,
    f"{_PACKAGE}.json_to_metadata.v3.JsonToMetadata": json_rule_faults,
    f"{_PACKAGE}.oauth2.v3.OAuth2Config": oauth_faults,
    f"{_PACKAGE}.basic_auth.v3.BasicAuth": users_faults,
    f"{_PACKAGE}.api_key_auth.v3.ApiKeyAuth": api_key_faults,
    f"{_PACKAGE}.ext_authz.v3.AuthorizationRequest": authorisation_faults,
    f"{_PACKAGE}.api_key_auth.v3.ApiKeyAuthPerRoute": api_key_faults,
    f"{_PACKAGE}.aws_lambda.v3.Config": lambda_faults,
    f"{_PACKAGE}.aws_request_signing.v3.AwsRequestSigning": signing_faults,
    f"{_PACKAGE}.basic_auth.v3.BasicAuthPerRoute": route_users_faults,
    f"{_PACKAGE}.grpc_json_reverse_transcoder.v3.GrpcJsonReverseTranscoder": reverse_transcoder_faults,
    f"{_PACKAGE}.grpc_json_transcoder.v3.GrpcJsonTranscoder": transcoder_faults,
    f"{_PACKAGE}.on_demand.v3.OnDemandCds": on_demand_faults,
    f"{_PACKAGE}.ratelimit.v3.RateLimitPerRoute": described_faults,
    "envoy.config.rbac.v3.Permission": port_range_faults,
    "envoy.extensions.dynamic_modules.v3.DynamicModuleConfig": module_faults,
    "envoy.config.rbac.v3.Policy": policy_faults,
}
