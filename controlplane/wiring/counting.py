"""Counts what happens elsewhere: the packages tell observers of theirs, and these count it as metrics."""

from __future__ import annotations

import time
from collections.abc import Callable

from controlplane import metrics
from controlplane.ads.observer import Observer, Pushed
from controlplane.analysis.problems import Problems
from controlplane.apis.kinds import KINDS
from controlplane.compiler.compiler import Compiler
from controlplane.http2.server import Server
from controlplane.model import kinds
from controlplane.model.objects import ChangeSet, ObjectKey
from controlplane.registry.store import Registry
from controlplane.security.observer import SecurityObserver
from controlplane.webhooks.injection import SKIPPED
from controlplane.webhooks.review import Request, Response, Reviewer
from controlplane.wiring.deliveries import Deliveries

_UPDATES = {kinds.SERVICE: "svc", kinds.ENDPOINT_SLICE: "eds"}
_RESOURCES = frozenset((kind.group, version, kind.plural) for kind in KINDS.values() for version in kind.versions)
_OTHER = ("", "", "")


def count_limit(limit: str) -> None:
    """Count that a peer ran into a limit, by its name."""
    metrics.LIMITS_REACHED.labels(limit).inc()


def show_sizes(registry: Registry, problems: Problems, compiler: Compiler, server: Server) -> None:
    """Have metrics tell how much is held by each of these, whenever somebody asks."""
    metrics.VIRTUAL_SERVICES.set_function(lambda: len(registry.keys(kinds.VIRTUAL_SERVICE)))
    metrics.LEFT_OUT.set_function(lambda: len(problems.left_out))
    metrics.CLASSES.set_function(lambda: compiler.class_count)
    metrics.CONNECTIONS.set_function(lambda: server.connection_count)
    metrics.PENDING_CONNECTIONS.set_function(lambda: server.pending_count)
    metrics.UNFINISHED.set_function(lambda: server.held_bytes)


class CountStreams(Observer):
    """Counts what happens on streams of proxies; ``nacked`` is told the type of each response that one refused."""

    def __init__(self, nacked: Callable[[str], None], deliveries: Deliveries) -> None:
        super().__init__()
        self._deliveries = deliveries
        self._nacked = nacked

    def sent(self, type_url: str, size_bytes: int) -> None:
        """Count a response."""
        metrics.PUSHES.count(type_url, size_bytes)

    def converged(self, seconds: float) -> None:
        """Count how long a change took."""
        metrics.CONVERGENCE_TIME.observe(seconds)

    def pushed(self, pushed: Pushed) -> None:
        """Count how long a response took."""
        if pushed.type_url in metrics.PUSH_TIMES:
            metrics.PUSH_TIMES[pushed.type_url].observe(time.perf_counter() - pushed.changed_at)
        self._deliveries.sent(pushed)

    def acknowledged(self, pushed: Pushed) -> None:
        """Count it for the changes that it brought."""
        self._deliveries.acknowledged(pushed)

    def not_taken(self, pushed: Pushed) -> None:
        """Count it for the changes that it brought."""
        self._deliveries.refused(pushed)

    def refused(self, type_url: str) -> None:
        """Count a response that a proxy refused."""
        if type_url in metrics.REJECTS:
            metrics.REJECTS[type_url].inc()
        self._nacked(type_url)

    def expired(self, type_url: str) -> None:
        """Count an answer to a replaced response."""
        if type_url in metrics.EXPIRED_NONCES:
            metrics.EXPIRED_NONCES[type_url].inc()

    def failed(self) -> None:
        """Count an error of ours."""
        metrics.INTERNAL_ERRORS.inc()

    def limit_reached(self, limit: str) -> None:
        """Count that a peer ran into a limit."""
        count_limit(limit)


class CountCertificates(SecurityObserver):
    """Counts requests for certificates."""

    def requested(self) -> None:
        """Count a request."""
        metrics.CSRS.inc()

    def unauthenticated(self) -> None:
        """Count a caller that was not identified."""
        metrics.CSR_UNAUTHENTICATED.inc()

    def not_signed(self, error: str) -> None:
        """Count a refusal."""
        metrics.CSR_SIGN_ERRORS.labels(error).inc()

    def not_read(self) -> None:
        """Count a request that is none."""
        metrics.CSR_PARSING_ERRORS.inc()

    def not_its_own(self) -> None:
        """Count a request for somebody else's names."""
        metrics.CSR_NAME_ERRORS.inc()

    def signed(self) -> None:
        """Count a certificate."""
        metrics.CSR_SIGNED.inc()


def counted(reviewer: Reviewer) -> Reviewer:
    """Return the same reviewer, whose findings are counted as istiod counts them.

    Everybody may ask, so resources that nobody knows count as one.
    """

    def review(request: Request) -> Response:
        response = reviewer(request)
        count_review(request, response)
        return response

    return review


def count_review(request: Request, response: Response) -> None:
    """Count a finding; see ``counted``."""
    resource = request.resource if request.resource in _RESOURCES else _OTHER
    if not response.failure:
        metrics.VALIDATION_PASSED.labels(*resource).inc()
    elif not request.dry_run:
        metrics.VALIDATION_FAILED.labels(*resource, response.failure).inc()


def counted_injection(reviewer: Reviewer) -> Reviewer:
    """Return the same reviewer of pods, whose answers are counted as istiod counts them."""

    def review(request: Request) -> Response:
        metrics.INJECTION_REQUESTS.inc()
        with metrics.INJECTION_TIME.time():
            response = reviewer(request)
        if response.failure == SKIPPED:
            metrics.INJECTION_SKIPS.inc()
        elif response.failure:
            metrics.INJECTION_FAILURES.inc()
        else:
            metrics.INJECTION_SUCCESSES.inc()
        return response

    return review


def count_http_error(status: int) -> None:
    """Count a request to the webhooks that was no review."""
    metrics.VALIDATION_HTTP_ERRORS.labels(str(status)).inc()


def count_configuration(refusal: str) -> None:
    """Count a change of the webhook's configuration; ``refusal`` is empty where it was made."""
    if refusal:
        metrics.WEBHOOK_CONFIG_ERRORS.labels(refusal).inc()
    else:
        metrics.WEBHOOK_CONFIG_UPDATES.inc()


def count_changes(changes: ChangeSet, is_known: Callable[[ObjectKey], bool]) -> None:
    """Count what came in, by istiod's words for it; ``is_known`` tells what is there already."""
    for obj in changes.upserts:
        _count_event(obj.key, "update" if is_known(obj.key) else "add")
        metrics.INBOUND_UPDATES.labels(_UPDATES.get(obj.key.kind, "config")).inc()
    for key in changes.deletes:
        _count_event(key, "delete")
        metrics.INBOUND_UPDATES.labels(
            "svcdelete" if key.kind == kinds.SERVICE else _UPDATES.get(key.kind, "config")
        ).inc()
    for rejected in changes.rejections:
        metrics.REJECTED_CONFIGS.count(rejected.key.kind.name, rejected.key.name)


def _count_event(key: ObjectKey, event: str) -> None:
    kind = KINDS.get(key.kind.name)
    of_istio = kind is not None and kind.group == key.kind.group
    (metrics.CONFIG_EVENTS if of_istio else metrics.REGISTRY_EVENTS).labels(key.kind.name, event).inc()
