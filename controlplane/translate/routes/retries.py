"""Retry policies of routes."""

from __future__ import annotations

from http import HTTPStatus

from envoy.config.route.v3.route_components_pb2 import RetryPolicy
from envoy.extensions.retry.host.previous_hosts.v3.previous_hosts_pb2 import PreviousHostsPredicate
from envoy.extensions.retry.priority.previous_priorities.v3.previous_priorities_config_pb2 import (
    PreviousPrioritiesConfig,
)

from controlplane.apis.virtual_service import HTTPRetry

DEFAULT_RETRY_ON = "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes"
DEFAULT_RETRY = HTTPRetry(attempts=2)
_STATUS_CODES = "retriable-status-codes"
_HOST_SELECTION_ATTEMPTS = 5
_KNOWN_STATUSES = frozenset(str(int(status)) for status in HTTPStatus)


def retry_policy(retry: HTTPRetry, *, keeps_host: bool = False) -> RetryPolicy | None:
    """Translate one retry intent; no attempts give no policy: a route without one does not retry.

    ``keeps_host`` is true where the host follows from a hash of the request, so that another one must not be
    preferred; ``retryIgnorePreviousHosts`` overrides it. ``num_retries`` is always written: absent, Envoy falls
    back to one retry. Reference: envoy.config.route.v3.RetryPolicy.
    """
    if retry.attempts <= 0:
        return None
    conditions, codes = _retry_on(retry.retry_on)
    policy = RetryPolicy(
        retry_on=conditions,
        retriable_status_codes=codes,
        host_selection_retry_max_attempts=_HOST_SELECTION_ATTEMPTS,
    )
    policy.num_retries.value = retry.attempts
    if retry.per_try_timeout is not None:
        policy.per_try_timeout.FromTimedelta(retry.per_try_timeout)
    ignores = retry.retry_ignore_previous_hosts
    if ignores if ignores is not None else not keeps_host:
        predicate = policy.retry_host_predicate.add(name="envoy.retry_host_predicates.previous_hosts")
        predicate.typed_config.Pack(PreviousHostsPredicate(), deterministic=True)
    if retry.retry_remote_localities:
        policy.retry_priority.name = "envoy.retry_priorities.previous_priorities"
        policy.retry_priority.typed_config.Pack(PreviousPrioritiesConfig(update_frequency=2), deterministic=True)
    if retry.backoff is not None:
        policy.retry_back_off.base_interval.FromTimedelta(retry.backoff)
    return policy


def _retry_on(stated: str) -> tuple[str, list[int]]:
    """Divide the conditions into Envoy's text and the status codes, which Envoy takes apart from it."""
    if not stated:
        return DEFAULT_RETRY_ON, []
    tokens = [token.strip() for token in stated.split(",")]
    codes = [int(token) for token in tokens if token in _KNOWN_STATUSES]
    conditions = ",".join(token for token in tokens if token not in _KNOWN_STATUSES)
    if codes and _STATUS_CODES not in conditions:
        conditions += f",{_STATUS_CODES}"
    return conditions, codes
