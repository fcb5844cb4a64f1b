"""What happens once it is known which clusters a call goes to: endpoints, TLS, and what is missing for it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from controlplane.documents.nearest import nearest_text
from controlplane.model.cluster_names import BLACK_HOLE, INBOUND_PASSTHROUGH, PASSTHROUGH
from controlplane.simulate.actions import Chosen, chosen
from controlplane.simulate.call import Call, Destination, Failure, Fate, Outcome, Place, Step
from controlplane.simulate.clusters import load_assignment, places, security_of
from controlplane.simulate.filters import shown

if TYPE_CHECKING:
    from controlplane.simulate.proxy import HeldProxy

_NOT_FOUND = "IST0101"
_DISCOVERED = {0: "static", 1: "DNS", 2: "DNS", 3: "endpoints", 4: "the address that was called"}


class Sending:
    """Leads a call into the clusters that were chosen for it."""

    def __init__(self, proxy: HeldProxy, call: Call) -> None:
        self._proxy = proxy
        self._call = call

    def bytes(self, proxy: Any, steps: tuple[Step, ...]) -> Outcome:  # noqa: ANN401 - Envoy's messages carry no types
        """Return what becomes of a connection whose bytes are handed on."""
        destinations, told = self.destinations(chosen(proxy), "")
        return outcome_of(destinations, (*steps, *told))

    def destinations(
        self, clusters: Sequence[Chosen], path: str, missing_status: int = 503
    ) -> tuple[tuple[Destination, ...], list[Step]]:
        """Return where each of these clusters leads, and the steps that say so."""
        found: list[Destination] = []
        steps: list[Step] = []
        for each in clusters:
            destination, step = self._destination(each, path, missing_status)
            found.append(destination)
            steps.append(step if each.share == 1 else replace(step, note=_with(shown(each.share), step.note)))
        return tuple(found), steps

    def _destination(self, to: Chosen, path: str, missing_status: int) -> tuple[Destination, Step]:
        cluster = self._proxy.cluster(to.cluster)
        if cluster is None:
            missing = self._missing(to.cluster, missing_status)
            step = Step("cluster", to.cluster, note="there is no such cluster", verdict="failed", code=missing.code)
            return Destination(to.cluster, to.share, to.host, path, failure=missing), step
        sources = self._proxy.sources
        held = tuple(places(cluster, load_assignment(cluster, self._proxy.assignment), self._call))
        used = [place for place in held if place.share]
        mode = used[0].tls if used else ""
        tls = security_of(cluster, mode)
        failure = None if used or to.cluster == BLACK_HOLE else self._unhealthy(cluster, held)
        destination = Destination(
            to.cluster, to.share, to.host, path, held, tls.server_name, tls.alpn, tls.names, failure
        )
        steps = [*self._endpoint_steps(cluster, held)]
        if used and mode:
            value = "mutual" if mode == "mutual" else "the proxy begins TLS"
            steps.insert(0, Step("TLS", value, sources.of_security(cluster, used[0]), tls.server_name))
        verdict = "failed" if failure is not None else ""
        return destination, Step(
            "cluster", to.cluster, sources.of_cluster(cluster), verdict=verdict, steps=tuple(steps)
        )

    def _endpoint_steps(self, cluster: Any, held: Iterable[Place]) -> list[Step]:  # noqa: ANN401 - see above
        sources, held = self._proxy.sources, tuple(held)
        used = [place for place in held if place.share]
        value = f"{len(used)} of {len(held)}" if held else "none"
        if cluster.type == cluster.ORIGINAL_DST:
            value = _DISCOVERED[4]
        lines = [Step("endpoint", each.address, sources.of_place(each), _where(each, held)) for each in used]
        lines += [
            Step("endpoint", each.address, sources.of_place(each), _unused(each), "left out")
            for each in held
            if not each.share
        ]
        out = list(sources.left_out(cluster))
        return [Step("endpoints", value, sources.of_service(cluster), steps=(*lines, *out))]

    def _missing(self, name: str, status: int) -> Failure:
        known = nearest_text(name, self._proxy.cluster_names())
        return Failure(Fate.NO_CLUSTER, f"there is no cluster {name}{known}", status, "NC", _NOT_FOUND)

    def _unhealthy(self, cluster: Any, held: Sequence[Place]) -> Failure:  # noqa: ANN401 - see above
        parts = cluster.name.split("|")
        subset = parts[2] if len(parts) == 4 else ""  # noqa: PLR2004 - direction, port, subset, host
        reason = f"none of {len(held)} endpoints is ready" if held else "no endpoint"
        if cluster.type == cluster.ORIGINAL_DST:
            reason = "no service has the host, and an HTTP proxy does not know the address that was meant"
        elif subset:
            reason = f"subset {subset} {'has no ready endpoint' if held else 'selects no pod'}"
            if near := self._labels_near(cluster.name, parts):
                reason += f"; {near}"
        elif not held and (out := self._proxy.sources.left_out(cluster)):
            reason = f"no endpoint: {len(out)} {'pod is' if len(out) == 1 else 'pods are'} not ready"
        return Failure(Fate.NO_HEALTHY_UPSTREAM, reason, 503, "UH")

    def _labels_near(self, name: str, parts: Sequence[str]) -> str:
        """Return which other subsets of the host have endpoints."""
        filled = []
        for other in self._proxy.cluster_names():
            held = other.split("|")
            if other != name and len(held) == len(parts) and held[2] and (held[1], held[3]) == (parts[1], parts[3]):
                cluster = self._proxy.cluster(other)
                if any(
                    place.share
                    for place in places(cluster, load_assignment(cluster, self._proxy.assignment), self._call)
                ):
                    filled.append(held[2])
        return f"subsets with endpoints: {', '.join(sorted(filled))}" if filled else ""


def outcome_of(destinations: tuple[Destination, ...], steps: tuple[Step, ...], **rest: Any) -> Outcome:  # noqa: ANN401
    """Return the outcome of a call that is sent on; it fails where all destinations do."""
    names = {each.cluster for each in destinations}
    failure = next((each.failure for each in destinations if each.failure is not None), None)
    if names <= {BLACK_HOLE}:
        failure = Failure(Fate.BLACKHOLE, "hosts that the mesh does not know are blocked", 0, "UH")
    elif any(each.failure is None for each in destinations):
        failure = None
    fate = Fate.PASSTHROUGH if names <= {PASSTHROUGH, INBOUND_PASSTHROUGH} else Fate.FORWARDED
    if failure is not None:
        fate = failure.fate
    return Outcome(fate, steps, failure=failure, destinations=destinations, **rest)


def _where(place: Place, every: Sequence[Place]) -> str:
    parts = [place.locality] if place.locality else []
    if any(other.priority for other in every):
        parts.append(f"priority {place.priority}")
    if place.share != Fraction(1):
        parts.append(shown(Fraction(round(place.share * 1000), 1000)))
    return ", ".join(parts)


def _unused(place: Place) -> str:
    if not place.healthy:
        return "not healthy"
    return f"priority {place.priority}: used when those before fail"


def _with(first: str, rest: str) -> str:
    return f"{first}, {rest}" if rest else first
