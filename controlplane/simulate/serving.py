"""A request in a connection manager: virtual host, route, filters, and what the route does with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from controlplane.simulate.actions import REDIRECT_STATUSES, chosen, hash_shown, location, rewritten, timeout
from controlplane.simulate.call import Call, Failure, Fate, Outcome, Step
from controlplane.simulate.filters import HttpFilters, Passed, percentage, shown
from controlplane.simulate.request import Request, request
from controlplane.simulate.routes import asked_for, conditions, matches, nearest_domains, virtual_host
from controlplane.simulate.sending import Sending, outcome_of

if TYPE_CHECKING:
    from controlplane.simulate.proxy import HeldProxy

_BLOCKED = "block_all"
"""The virtual host of hosts that the mesh does not know, where they are blocked."""
_MISSING_STATUSES = {0: 503, 1: 404, 2: 500}
"""By RouteAction.ClusterNotFoundResponseCode."""
_ALL_TLS = 2
"""VirtualHost.TlsRequirementType.ALL."""
_MOST_SHOWN = 12
"""Routes that are shown before the one that is taken; of more, those that are nearest to it."""


class Serving:
    """One request in one connection manager."""

    def __init__(self, proxy: HeldProxy, manager: Any, call: Call) -> None:  # noqa: ANN401 - Envoy's messages
        self._proxy = proxy
        self._manager = manager
        self._call = call
        self._sources = proxy.sources

    def outcome(self, steps: tuple[Step, ...]) -> Outcome:
        """Return what becomes of the request; ``steps`` are those that led here."""
        name = self._manager.rds.route_config_name
        routes = self._proxy.route_configuration(name) if name else self._manager.route_config
        if routes is None:
            failure = Failure(Fate.NO_ROUTE, f"the route configuration {name} is not there", 404, "NR")
            return Outcome(failure.fate, (*steps, Step("routes", name, verdict="failed")), failure=failure)
        asked = request(self._manager, self._call)
        host, by = virtual_host(routes, self._call.host)
        route = _first(host, asked)
        filters = HttpFilters(self._manager, self._sources)
        passed = filters.passed(asked, route)
        if passed.rechosen and passed.request is not None:
            asked, route = passed.request, _first(host, passed.request)
        told = [*steps, *self._chosen_steps(routes, host, by, route, asked), *passed.steps]
        return self._ended(passed, route, tuple(told)) or self._served(passed, routes, host, route, asked, told)

    def _ended(self, passed: Passed, route: Any, steps: tuple[Step, ...]) -> Outcome | None:  # noqa: ANN401
        """Return the outcome where a filter ended the request."""
        name = route.name if route is not None else ""
        if passed.failure is not None:
            return Outcome(passed.failure.fate, steps, passed.failure.status, passed.failure, route=name)
        if passed.answer:
            return Outcome(Fate.ANSWERED, steps, passed.answer, route=name)
        if passed.chance == 1:
            status = passed.fault_status
            return Outcome(Fate.FAULT, steps, status, route=name, chance=passed.chance, fault_status=status)
        return None

    def _served(  # noqa: PLR0913, PLR0917 - what was found so far
        self,
        passed: Passed,
        routes: Any,  # noqa: ANN401 - Envoy's messages carry no types
        host: Any,  # noqa: ANN401 - the same
        route: Any,  # noqa: ANN401 - the same
        asked: Request,
        steps: Sequence[Step],
    ) -> Outcome:
        if host is not None and host.require_tls == _ALL_TLS and asked.headers["x-forwarded-proto"] != "https":
            to = f"https://{asked.headers[':authority']}{asked.headers[':path']}"
            return Outcome(
                Fate.REDIRECT, (*steps, Step("redirect", f"301 {to}", note="TLS is asked for")), 301, location=to
            )
        if route is None:
            failure = self._not_found(routes, host)
            return Outcome(failure.fate, tuple(steps), 404, failure)
        if route.HasField("redirect"):
            to, status = location(route, asked), REDIRECT_STATUSES[route.redirect.response_code]
            told = Step("redirect", f"{status} {to}", self._sources.of_route(route, ".redirect"))
            return Outcome(Fate.REDIRECT, (*steps, told), status, route=route.name, location=to)
        if route.HasField("direct_response"):
            return self._direct(host, route, steps)
        if not route.HasField("route"):
            failure = Failure(Fate.NO_ROUTE, f"the route {route.name} does nothing", 404, "NR")
            return Outcome(failure.fate, tuple(steps), 404, failure, route=route.name)
        return self._forwarded(route, asked, passed, steps)

    def _direct(self, host: Any, route: Any, steps: Sequence[Step]) -> Outcome:  # noqa: ANN401 - see above
        status = route.direct_response.status
        told = Step("answer", str(status), self._sources.of_route(route, ".directResponse"))
        if host.name == _BLOCKED:
            reason = "hosts that the mesh does not know are blocked (outboundTrafficPolicy REGISTRY_ONLY)"
            failure = Failure(Fate.BLACKHOLE, reason, status)
            return Outcome(failure.fate, (*steps, told), status, failure, route=route.name)
        return Outcome(Fate.ANSWERED, (*steps, told), status, route=route.name)

    def _forwarded(self, route: Any, asked: Request, passed: Passed, steps: Sequence[Step]) -> Outcome:  # noqa: ANN401
        action, path = route.route, rewritten(route, asked)
        missing = _MISSING_STATUSES[action.cluster_not_found_response_code]
        destinations, told = Sending(self._proxy, self._call).destinations(chosen(action), path, missing)
        mirrors = tuple(dict.fromkeys(policy.cluster for policy in action.request_mirror_policies))
        return outcome_of(
            destinations,
            (*steps, *self._action_steps(route, asked, path), *told),
            route=route.name,
            path=path,
            timeout=timeout(action),
            attempts=_attempts(action),
            mirrors=mirrors,
            chance=passed.chance,
            fault_status=passed.fault_status,
            unknown=passed.unknown,
        )

    def _action_steps(self, route: Any, asked: Request, path: str) -> list[Step]:  # noqa: ANN401 - see above
        action, of = route.route, self._sources.of_route
        steps = []
        if path != asked.headers[":path"]:
            steps.append(Step("path", path, of(route, ".rewrite"), "as the server sees it"))
        if action.host_rewrite_literal:
            steps.append(Step("host", action.host_rewrite_literal, of(route, ".rewrite"), "as the server sees it"))
        seconds, attempts = timeout(action), _attempts(action)
        steps.append(Step("timeout", f"{seconds:g} s" if seconds else "none", of(route, ".timeout")))
        source = of(route, ".retries")
        steps.append(Step("retries", str(attempts) if attempts else "none", source, action.retry_policy.retry_on))
        for policy in action.request_mirror_policies:
            share = policy.runtime_fraction.default_value
            note = shown(percentage(share)) if policy.HasField("runtime_fraction") else ""
            steps.append(Step("mirror", policy.cluster, of(route, ".mirrors"), note))
        steps += [Step("sticky by", hash_shown(policy)) for policy in action.hash_policy]
        return steps

    def _chosen_steps(self, routes: Any, host: Any, by: str, taken: Any, asked: Request) -> list[Step]:  # noqa: ANN401
        """Return which virtual host and route was chosen, and why not one of those before."""
        if host is None:
            return [Step("virtual host", "none", note=f"of {routes.name}, for {self._call.host}", verdict="failed")]
        found = [Step("virtual host", host.name, self._sources.of_virtual_host(host, self._call), f'domain "{by}"')]
        at = next((index for index, route in enumerate(host.routes) if route is taken), len(host.routes))
        lines = []
        for index, route in enumerate(host.routes[: at + 2]):
            if index + _MOST_SHOWN < at:
                continue
            lines.append(self._route_step(route, index, len(host.routes), asked, taken_at=at))
        if taken is None:
            lines.append(Step("route", "none", verdict="failed"))
        return [*found, *lines, *self._sources.lost(host, self._call)]

    def _route_step(self, route: Any, index: int, count: int, asked: Request, taken_at: int) -> Step:  # noqa: ANN401
        value = f"{index + 1} of {count}" + (f"  {route.name}" if route.name else "")
        source = self._sources.of_route(route)
        if index > taken_at:
            return Step("route", value, source, verdict="not reached")
        held = list(conditions(route.match, asked))
        shown_ones = [each for each in held if not each.met] if index < taken_at else held
        asked_for = tuple(
            Step(each.kind, each.text, verdict="yes" if each.met else "no")
            for each in shown_ones
            if each.asks or not each.met
        )
        return Step("route", value, source, verdict="" if index == taken_at else "no", steps=asked_for)

    def _not_found(self, routes: Any, host: Any) -> Failure:  # noqa: ANN401 - see above
        if host is None:
            near = nearest_domains(routes, self._call.host)
            known = f"; nearest: {', '.join(near)}" if near else ""
            return Failure(Fate.NO_VIRTUAL_HOST, f"no virtual host for {self._call.host}{known}", 404, "NR")
        asked = [asked_for(route.match) for route in host.routes]
        known = f"; routes are for: {'; '.join(asked[:_MOST_SHOWN])}" if asked else ""
        return Failure(
            Fate.NO_ROUTE, f"no route of {host.name} takes {self._call.method} {self._call.path}{known}", 404, "NR"
        )


def _first(host: Any, asked: Request) -> Any:  # noqa: ANN401 - Envoy's messages carry no types
    """Return the first route of a virtual host that takes a request."""
    return next((route for route in host.routes if matches(route.match, asked)), None) if host is not None else None


def _attempts(action: Any) -> int:  # noqa: ANN401 - see above
    """Return how often a request is tried again at most; a policy without a number means once."""
    if not action.HasField("retry_policy") or not action.retry_policy.retry_on:
        return 0
    policy = action.retry_policy
    return int(policy.num_retries.value) if policy.HasField("num_retries") else 1
