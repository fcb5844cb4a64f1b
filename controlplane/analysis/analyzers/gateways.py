"""Gateways: ports and secrets that are not there, certificates and hosts that several have."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from controlplane.analysis import codes, raw
from controlplane.analysis.credentials import why_unusable
from controlplane.analysis.resources import Message, Resource, Resources, has_labels, message, selector_text
from controlplane.model import kinds
from controlplane.validation.ingress import gateway_selector, is_ours


def _selector(gateway: Resource) -> dict[str, str]:
    return raw.string_map(gateway.spec, "selector")


def ports(resources: Resources) -> Iterator[Message]:
    """Find selectors that no pod has, and ports that no Service leads to."""
    for gateway in resources.of(kinds.GATEWAY):
        selector = _selector(gateway)
        pods = resources.selected_pods(selector)
        if not pods:
            yield _no_pod(gateway, selector)
            continue
        reached = {port for pod in pods for port in _ports(resources, pod)}
        for at, server in raw.mappings(gateway.spec, "servers"):
            number = raw.number(server, "port", "number")
            if raw.at(server, "port") is not None and number not in reached:
                yield message(
                    codes.PORT_NOT_ON_SERVICE,
                    gateway,
                    f"spec.servers[{at}].port.number",
                    port=number,
                    selector=selector_text(selector),
                )


def _no_pod(gateway: Resource, selector: Mapping[str, str]) -> Message:
    return message(codes.NOT_FOUND, gateway, "spec.selector", kind="selector", value=selector_text(selector))


def _ports(resources: Resources, pod: Resource) -> Iterator[int]:
    """Yield the ports, and the targets of ports, of the Services that select a pod."""
    for service in resources.within(kinds.SERVICE, pod.namespace):
        if not has_labels(pod.labels, raw.string_map(service.spec, "selector")):
            continue
        for _, port in raw.mappings(service.spec, "ports"):
            if raw.text(port, "protocol") in {"", "TCP"}:
                yield raw.number(port, "port")
                yield raw.number(port, "targetPort") or _named_port(pod, raw.text(port, "targetPort"))


def _named_port(pod: Resource, name: str) -> int:
    """Return the number of a port of the containers, 0 where there is none of this name."""
    for _, container in raw.mappings(pod.spec, "containers"):
        for _, port in raw.mappings(container, "ports"):
            if name and raw.text(port, "name") == name:
                return raw.number(port, "containerPort")
    return 0


def duplicate_certificates(resources: Resources) -> Iterator[Message]:
    """Find certificates that two Gateways for the same proxies have."""
    gateways = resources.of(kinds.GATEWAY)
    for gateway in gateways:
        selector = _selector(gateway)
        for other in gateways:
            if other is gateway or not has_labels(_selector(other), selector):
                continue
            theirs = [raw.mapping(server, "tls") for _, server in raw.mappings(other.spec, "servers")]
            for at, server in raw.mappings(gateway.spec, "servers"):
                ours = raw.mapping(server, "tls")
                if any(_same_certificate(ours, each) for each in theirs):
                    names = [gateway.full_name, other.full_name]
                    yield message(codes.DUPLICATE_CERTIFICATE, gateway, f"spec.servers[{at}].tls", gateways=names)


def _same_certificate(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    names = (raw.text(one, "credentialName"), raw.text(other, "credentialName"))
    if any(names):
        return names[0] == names[1]
    files = [(raw.text(tls, "serverCertificate"), raw.text(tls, "privateKey")) for tls in (one, other)]
    return all(files[0]) and files[0] == files[1]


def secrets(resources: Resources) -> Iterator[Message]:
    """Find secrets that are not there, or cannot be used, in the namespace of a gateway's pods."""
    for gateway in resources.of(kinds.GATEWAY):
        selector = _selector(gateway)
        pod = next(iter(resources.selected_pods(selector)), None)
        if pod is None:
            yield _no_pod(gateway, selector)
            continue
        for at, server in raw.mappings(gateway.spec, "servers"):
            named = raw.text(server, "tls", "credentialName")
            if not named:
                continue
            path = f"spec.servers[{at}].tls.credentialName"
            secret = resources.find(kinds.SECRET, pod.namespace, named)
            if secret is None:
                yield message(codes.NOT_FOUND, gateway, path, kind="credentialName", value=named)
            elif reason := why_unusable(secret.written):
                yield message(
                    codes.INVALID_CREDENTIAL,
                    gateway,
                    path,
                    secret=named,
                    gateway=gateway.name,
                    namespace=pod.namespace,
                    reason=reason,
                )


def ingress_secrets(resources: Resources) -> Iterator[Message]:
    """Find secrets of Istio's Ingresses that are not there, or cannot be used, where the pods of their gateway are."""
    pod = next(iter(resources.selected_pods({"istio": gateway_selector(resources.mesh.config)})), None)
    if pod is None:
        return
    for ingress in resources.of(kinds.INGRESS):
        for at, tls in raw.mappings(ingress.spec, "tls") if is_ours(ingress.written) else ():
            named, path = raw.text(tls, "secretName"), f"spec.tls[{at}].secretName"
            secret = resources.find(kinds.SECRET, pod.namespace, named)
            if named and secret is None:
                yield message(codes.NOT_FOUND, ingress, path, kind="secretName", value=f"{pod.namespace}/{named}")
            elif secret is not None and (reason := why_unusable(secret.written)):
                found = f"the secret {pod.namespace}/{named} is of no use: {reason}"
                yield message(codes.SCHEMA_ERROR, ingress, path, problem=found)


def conflicts(resources: Resources) -> Iterator[Message]:
    """Find hosts at a port that two Gateways for the same proxies have."""
    at_port: defaultdict[int, list[tuple[Resource, set[tuple[str, str]]]]] = defaultdict(list)
    for gateway in resources.of(kinds.GATEWAY):
        for _, server in raw.mappings(gateway.spec, "servers"):
            claimed = {(raw.text(server, "bind"), host) for host in raw.texts(server, "hosts")}
            at_port[raw.number(server, "port", "number")].append((gateway, claimed))
    for gateway in resources.of(kinds.GATEWAY):
        selector = _selector(gateway)
        for at, server in raw.mappings(gateway.spec, "servers"):
            number, hosts = raw.number(server, "port", "number"), raw.texts(server, "hosts")
            ours = {(raw.text(server, "bind"), host) for host in hosts}
            others = sorted(
                {
                    other.full_name
                    for other, claimed in at_port[number]
                    if other is not gateway
                    and not ours.isdisjoint(claimed)
                    and _same_proxies(resources, selector, _selector(other))
                }
            )
            if number and others:
                yield message(
                    codes.CONFLICTING_GATEWAYS,
                    gateway,
                    f"spec.servers[{at}]",
                    gateways=",".join(others),
                    selector=selector_text(selector),
                    port=number,
                    hosts=",".join(hosts),
                )


def _same_proxies(resources: Resources, one: Mapping[str, str], other: Mapping[str, str]) -> bool:
    return one == other or bool(resources.selected_pods({**one, **other}) if _compatible(one, other) else ())


def _compatible(one: Mapping[str, str], other: Mapping[str, str]) -> bool:
    return all(one[key] == other[key] for key in one.keys() & other.keys())
