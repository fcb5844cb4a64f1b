"""What comes before the router: HTTP filters and network filters, in the order in which Envoy asks them."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any, NamedTuple

from envoy.extensions.filters.http.cors.v3.cors_pb2 import CorsPolicy
from envoy.extensions.filters.http.fault.v3.fault_pb2 import HTTPFault
from envoy.extensions.filters.http.jwt_authn.v3.config_pb2 import JwtAuthentication
from envoy.extensions.filters.http.rbac.v3 import rbac_pb2 as http_rbac
from envoy.extensions.filters.network.rbac.v3 import rbac_pb2 as network_rbac

from controlplane.simulate.call import Call, Failure, Fate, Source, Step
from controlplane.simulate.policies import judged
from controlplane.simulate.request import Request
from controlplane.simulate.sources import Sources
from controlplane.simulate.text_matching import text_matches
from controlplane.simulate.tokens import FILTER as JWT_FILTER
from controlplane.simulate.tokens import Tokens

_FAULT = "envoy.filters.http.fault"
_CORS = "envoy.filters.http.cors"
_CERTAIN = {0: 100, 1: 10_000, 2: 1_000_000}
"""By envoy.type.v3.FractionalPercent.DenominatorType."""
_WITHOUT_EFFECT = frozenset(
    {
        "envoy.filters.http.router",
        "envoy.filters.http.grpc_stats",
        "envoy.filters.http.alpn",
        "istio.alpn",
        "istio_authn",
        "istio.metadata_exchange",
        "istio.stats",
        "envoy.filters.http.grpc_web",
        "envoy.filters.network.http_connection_manager",
        "envoy.filters.network.tcp_proxy",
        "istio.istio_authn",
        "envoy.filters.http.dynamic_forward_proxy",
    }
)
"""Filters that decide nothing of what is asked here."""


class Passed(NamedTuple):
    """What the filters did: ``failure`` where one of them ended it, ``answer`` the status of an answer that is meant.

    ``chance`` of the calls are ended with ``fault_status``. ``unknown`` are filters whose effect is not known here.
    ``rechosen`` says that the route is chosen anew after them.
    """

    request: Request | None
    steps: tuple[Step, ...] = ()
    failure: Failure | None = None
    answer: int = 0
    chance: Fraction = Fraction(0)
    fault_status: int = 0
    unknown: tuple[str, ...] = ()
    rechosen: bool = False


class HttpFilters:
    """The filters of one connection manager."""

    def __init__(self, manager: Any, sources: Sources) -> None:  # noqa: ANN401 - Envoy's messages carry no types
        self._manager = manager
        self._sources = sources
        self._steps: list[Step] = []
        self._unknown: list[str] = []

    def passed(self, request: Request, route: Any) -> Passed:  # noqa: ANN401 - Envoy's messages carry no types
        """Lead a request through the filters, which are asked even where no route takes it and ``route`` is ``None``.

        Raises:
            UnsupportedError: a filter asks for something that is not known here.
        """
        chance, status, rechosen = Fraction(0), 0, False
        for filter_ in self._manager.http_filters:
            config = filter_.typed_config
            if filter_.disabled:
                continue
            if config.Is(http_rbac.RBAC.DESCRIPTOR):
                failure = self._policies(http_rbac.RBAC.FromString(config.value), request)
                if failure is not None:
                    return Passed(request, tuple(self._steps), failure)
            elif config.Is(JwtAuthentication.DESCRIPTOR):
                tokens = JwtAuthentication.FromString(config.value)
                verified = self._tokens(tokens, request)
                if isinstance(verified, Failure):
                    return Passed(request, tuple(self._steps), verified)
                rechosen |= verified is not request and any(
                    each.clear_route_cache for each in tokens.providers.values()
                )
                request = verified
            elif filter_.name == _FAULT:
                chance, status = self._fault(route)
                if chance == 1:
                    return Passed(request, tuple(self._steps), chance=chance, fault_status=status)
            elif filter_.name == _CORS:
                if self._preflight(route, request):
                    return Passed(request, tuple(self._steps), answer=200)
            elif filter_.name not in _WITHOUT_EFFECT:
                self._note(filter_.name)
        return Passed(request, tuple(self._steps), None, 0, chance, status, tuple(self._unknown), rechosen)

    def _policies(self, config: Any, request: Request) -> Failure | None:  # noqa: ANN401 - see above
        if not config.HasField("rules"):
            return None
        judgement = judged(config.rules, request.call, request)
        step, failure = _judged_step(judgement.allowed, judgement.policy, config.rules, self._sources)
        self._steps.append(step)
        return failure

    def _tokens(self, config: Any, request: Request) -> Request | Failure:  # noqa: ANN401 - see above
        if config.bypass_cors_preflight and _is_preflight(request):
            return request
        verified = Tokens(config).verified(request)
        if verified.problem:
            self._steps.append(Step("token", verified.problem, self._sources.of_tokens(), verdict="denied"))
            status = 403 if "Audience" in verified.problem else 401
            return Failure(Fate.UNAUTHENTICATED, verified.problem, status, source=self._sources.of_tokens())
        if not verified.issuer:
            self._steps.append(Step("token", "none", self._sources.of_tokens(), "none is needed to pass here"))
            return request
        note = "its signature is not checked here: the proxy fetches the keys itself" if verified.assumed else ""
        value = f"{verified.issuer}/{verified.payload.get('sub', '')}"
        self._steps.append(Step("token", value, self._sources.of_tokens(), note, "yes"))
        return request.with_metadata(JWT_FILTER, {"payload": verified.payload})

    def _fault(self, route: Any) -> tuple[Fraction, int]:  # noqa: ANN401 - see above
        packed = route.typed_per_filter_config.get(_FAULT) if route is not None else None
        if packed is None:
            return Fraction(0), 0
        config = HTTPFault.FromString(packed.value)
        source = self._sources.of_route(route, ".fault")
        if config.HasField("delay"):
            seconds = config.delay.fixed_delay.ToTimedelta().total_seconds()
            share = percentage(config.delay.percentage)
            self._steps.append(Step("delay", f"{seconds:g} s for {shown(share)} of the requests", source))
        abort = config.abort
        if not abort.http_status and not abort.grpc_status:
            return Fraction(0), 0
        share, status = percentage(abort.percentage), int(abort.http_status or 200)
        self._steps.append(Step("fault", f"{status} for {shown(share)} of the requests", source))
        return share, status

    def _preflight(self, route: Any, request: Request) -> bool:  # noqa: ANN401 - see above
        packed = route.typed_per_filter_config.get(_CORS) if route is not None else None
        if packed is None or not _is_preflight(request):
            return False
        policy = CorsPolicy.FromString(packed.value)
        met = any(text_matches(each, request.headers["origin"]) for each in policy.allow_origin_string_match)
        source = self._sources.of_route(route, ".corsPolicy")
        self._steps.append(Step("CORS", f"origin {request.headers['origin']}", source, verdict="yes" if met else "no"))
        return met

    def _note(self, name: str) -> None:
        self._unknown.append(name)
        self._steps.append(Step("filter", name, note="what it does with the request is not known here"))


def network_policies(chain: Any, call: Call, sources: Sources) -> Iterator[tuple[Step, Failure | None]]:  # noqa: ANN401
    """Yield what each RBAC filter of a chain says of a connection.

    Raises:
        UnsupportedError: a rule asks for something that is not known here.
    """
    for filter_ in chain.filters:
        if filter_.typed_config.Is(network_rbac.RBAC.DESCRIPTOR):
            config = network_rbac.RBAC.FromString(filter_.typed_config.value)
            if config.HasField("rules"):
                judgement = judged(config.rules, call, None)
                step, failure = _judged_step(judgement.allowed, judgement.policy, config.rules, sources)
                yield step, Failure(Fate.DENIED, failure.reason, source=failure.source) if failure else None


def _judged_step(
    allowed: bool,  # noqa: FBT001 - what was judged
    policy: str,
    rules: Any,  # noqa: ANN401 - Envoy's messages carry no types
    sources: Sources,
) -> tuple[Step, Failure | None]:
    """Return the line for one RBAC filter, and the failure where it denies."""
    source = sources.of_policy(policy) if policy else None
    if allowed:
        return Step("policy", _rule(policy) or "no rule denies it", source, verdict="allowed"), None
    if policy:
        reason = f"denied by {source}" if source is not None else f"denied by {policy}"
        return Step("policy", _rule(policy), source, verdict="denied"), Failure(Fate.DENIED, reason, 403, source=source)
    asked = [found for name in sorted(rules.policies) if (found := sources.of_policy(name)) is not None]
    steps = tuple(Step("rule", each.field, each, verdict="no") for each in asked)
    first = asked[0] if asked else None
    reason = f"no rule of {first.key} allows it" if first is not None else "no rule allows it"
    denied = Failure(Fate.DENIED, reason, 403, source=Source(first.key) if first is not None else None)
    return Step("policy", "no rule allows it", denied.source, verdict="denied", steps=steps), denied


def _rule(policy: str) -> str:
    """Return which rule of its policy ``ns[x]-policy[y]-rule[0]`` is."""
    return f"rule {policy.rpartition('[')[2].removesuffix(']')}" if policy.endswith("]") else policy


def percentage(held: Any) -> Fraction:  # noqa: ANN401 - Envoy's messages carry no types
    """Return a ``FractionalPercent`` as a share, at most 1."""
    return min(Fraction(1), Fraction(held.numerator, _CERTAIN[held.denominator]))


def shown(share: Fraction) -> str:
    """Return a share in percent, as short as it can be told."""
    return f"{float(share * 100):g} %"


def _is_preflight(request: Request) -> bool:
    asked = {"origin", "access-control-request-method"}
    return request.headers[":method"] == "OPTIONS" and asked <= request.headers.keys()
