"""Telemetry: tracing, metrics and access logs of workloads."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from controlplane.apis.common import (
    ONE_TARGET,
    ApiModel,
    Bool,
    NonEmpty,
    PercentDouble,
    PolicyTargetReference,
    PositiveDuration,
    TargetReferences,
    WorkloadSelector,
    at_most_one,
    rule,
)


class TelemetryMode(StrEnum):
    """Which side of a connection is meant."""

    CLIENT_AND_SERVER = "CLIENT_AND_SERVER"
    CLIENT = "CLIENT"
    SERVER = "SERVER"


class ProviderRef(ApiModel):
    """The name of an extension provider."""

    name: NonEmpty


class Literal(ApiModel):
    """A fixed text."""

    value: NonEmpty


class Environment(ApiModel):
    """A variable of the proxy's environment."""

    name: NonEmpty
    default_value: str = ""


class RequestHeader(ApiModel):
    """A header of the request."""

    name: NonEmpty
    default_value: str = ""


class Formatter(ApiModel):
    """A text with Envoy's access log operators."""

    value: NonEmpty


class CustomTag(ApiModel):
    """Where the value of a span tag comes from."""

    literal: Literal | None = None
    environment: Environment | None = None
    header: RequestHeader | None = None
    formatter: Formatter | None = None

    _one = at_most_one("literal", "environment", "header", "formatter")


class ModeSelector(ApiModel):
    """Which side is meant."""

    mode: TelemetryMode = TelemetryMode.CLIENT_AND_SERVER


class Tracing(ApiModel):
    """How spans are made; ``None`` leaves a wider policy's word. Sampling is in percent."""

    match: ModeSelector | None = None
    providers: tuple[ProviderRef, ...] = ()
    random_sampling_percentage: PercentDouble | None = None
    disable_span_reporting: Bool | None = None
    custom_tags: dict[str, CustomTag] = Field(default_factory=dict)
    enable_istio_tags: Bool | None = None
    use_request_id_for_trace_sampling: Bool | None = None
    disable_context_propagation: Bool | None = None


class IstioMetric(StrEnum):
    """Istio's metrics."""

    ALL_METRICS = "ALL_METRICS"
    REQUEST_COUNT = "REQUEST_COUNT"
    REQUEST_DURATION = "REQUEST_DURATION"
    REQUEST_SIZE = "REQUEST_SIZE"
    RESPONSE_SIZE = "RESPONSE_SIZE"
    TCP_OPENED_CONNECTIONS = "TCP_OPENED_CONNECTIONS"
    TCP_CLOSED_CONNECTIONS = "TCP_CLOSED_CONNECTIONS"
    TCP_SENT_BYTES = "TCP_SENT_BYTES"
    TCP_RECEIVED_BYTES = "TCP_RECEIVED_BYTES"
    GRPC_REQUEST_MESSAGES = "GRPC_REQUEST_MESSAGES"
    GRPC_RESPONSE_MESSAGES = "GRPC_RESPONSE_MESSAGES"


class MetricSelector(ApiModel):
    """Which metric of which side is meant; neither name means all metrics."""

    metric: IstioMetric | None = None
    custom_metric: NonEmpty | None = None
    mode: TelemetryMode = TelemetryMode.CLIENT_AND_SERVER

    _one = at_most_one("metric", "custom_metric")


class TagOperation(StrEnum):
    """What becomes of a tag."""

    UPSERT = "UPSERT"
    REMOVE = "REMOVE"


class TagOverride(ApiModel):
    """A tag set to the value of an expression, or dropped."""

    operation: TagOperation = TagOperation.UPSERT
    value: str = ""

    _value = rule(
        lambda tag: not (tag.has("operation") and tag.operation is TagOperation.UPSERT and not tag.value),
        "value must be set when operation is UPSERT",
    )
    _no_value = rule(
        lambda tag: not (tag.operation is TagOperation.REMOVE and tag.has("value")),
        "value must not be set when operation is REMOVE",
    )


class MetricsOverrides(ApiModel):
    """A change of some metrics; ``disabled`` ``None`` leaves a wider policy's word."""

    match: MetricSelector | None = None
    disabled: Bool | None = None
    tag_overrides: dict[str, TagOverride] = Field(default_factory=dict)


class Metrics(ApiModel):
    """Metrics for some providers."""

    providers: tuple[ProviderRef, ...] = ()
    overrides: tuple[MetricsOverrides, ...] = ()
    reporting_interval: PositiveDuration | None = None


class AccessLoggingFilter(ApiModel):
    """Which requests are logged, as a CEL expression."""

    expression: str = ""


class AccessLogging(ApiModel):
    """Access logs to some providers; ``disabled`` ``None`` leaves a wider policy's word."""

    match: ModeSelector | None = None
    providers: tuple[ProviderRef, ...] = ()
    disabled: Bool | None = None
    filter: AccessLoggingFilter | None = None


class Telemetry(ApiModel):
    """``spec`` of a Telemetry; no selector: the namespace."""

    selector: WorkloadSelector | None = None
    target_ref: PolicyTargetReference | None = None
    target_refs: TargetReferences = ()
    tracing: tuple[Tracing, ...] = ()
    metrics: tuple[Metrics, ...] = ()
    access_logging: tuple[AccessLogging, ...] = ()

    _one_target = at_most_one("selector", "target_ref", "target_refs", reason=ONE_TARGET)
