"""Webhooks of the control plane: several for one pod, and ones that lead nowhere."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any
from urllib.parse import urlsplit

from controlplane.analysis import codes, raw
from controlplane.analysis.mesh_members import INJECT, INJECTION, REVISION
from controlplane.analysis.resources import Message, Resource, Resources, message
from controlplane.analysis.selectors import label_selector
from controlplane.documents.words import is_ip
from controlplane.model import kinds
from controlplane.model.label_selector import matches

_OURS = "istio.io"
_INJECTOR = "istio-sidecar-injector"
_VALIDATORS = ("istiod-default-validator", "istio-validator")


def injectors(resources: Resources) -> Iterator[Message]:
    """Find labels for which several webhooks inject, and webhooks whose Service is not there."""
    hooks = [
        (f"{config.name}/{raw.text(hook, 'name')}", config, at, hook)
        for config in resources.of(kinds.MUTATING_WEBHOOKS)
        if _revisions(config) or _is_injector(config)
        for at, hook in raw.mappings(config.written, "webhooks")
    ]
    revisions = sorted({revision for _, config, _, _ in hooks for revision in _revisions(config)})
    others: defaultdict[str, set[str]] = defaultdict(set)
    for namespace_labels, object_labels in product(_labels(INJECTION, revisions), _labels(INJECT, revisions)):
        matching = {name for name, _, _, hook in hooks if selects(hook, namespace_labels, object_labels)}
        for name in matching if len(matching) > 1 else ():
            others[name] |= matching - {name}
    for name, config, at, _ in hooks:
        if overlapping := sorted(others.get(name, ())):
            problem = f"several webhooks inject the same pods: {name} and {', '.join(overlapping)}"
            yield message(codes.INVALID_WEBHOOK, config, f"webhooks[{at}]", problem=problem)
    for _, config, at, hook in hooks:
        service = raw.mapping(hook, "clientConfig", "service")
        named = (raw.text(service, "namespace"), raw.text(service, "name"))
        if service and resources.find(kinds.SERVICE, *named) is None:
            problem = f"a webhook calls the Service {'/'.join(named)}, which is not there"
            yield message(codes.INVALID_WEBHOOK, config, f"webhooks[{at}].clientConfig.service", problem=problem)


def selects(hook: Mapping[str, Any], namespace_labels: Mapping[str, str], object_labels: Mapping[str, str]) -> bool:
    """Whether a webhook is called for objects with these labels in namespaces with those."""
    pairs = (("namespaceSelector", namespace_labels), ("objectSelector", object_labels))
    return all(matches(label_selector(raw.mapping(hook, field)), labels) for field, labels in pairs)


def _is_injector(config: Resource) -> bool:
    return any(raw.text(hook, "name").endswith(_OURS) for _, hook in raw.mappings(config.written, "webhooks"))


def _revisions(config: Resource) -> set[str]:
    """Return the revisions that a configuration is for."""
    found = {config.labels[REVISION]} if REVISION in config.labels else set()
    for _, hook in raw.mappings(config.written, "webhooks"):
        for field in ("namespaceSelector", "objectSelector"):
            selector = label_selector(raw.mapping(hook, field))
            found |= {selector.match_labels[REVISION]} if REVISION in selector.match_labels else set()
            found.update(*(each.values for each in selector.match_expressions if each.key == REVISION))
    return found


def _labels(switch: str, revisions: list[str]) -> list[dict[str, str]]:
    """Return the labels that decide about injection, in all combinations."""
    values = ("enabled", "disabled") if switch == INJECTION else ("true", "false")
    switches: list[dict[str, str]] = [{}, *({switch: value} for value in values)]
    return [*switches, *({**each, REVISION: revision} for revision in revisions for each in switches)]


def addresses(resources: Resources) -> Iterator[Message]:
    """Find webhooks of a control plane elsewhere whose address is none, or is an IP address."""
    configs = [each for each in resources.of(kinds.VALIDATING_WEBHOOKS) if each.name.startswith(_VALIDATORS)]
    configs += [each for each in resources.of(kinds.MUTATING_WEBHOOKS) if each.name.startswith(_INJECTOR)]
    for config in configs:
        for at, hook in raw.mappings(config.written, "webhooks"):
            client, name = raw.mapping(hook, "clientConfig"), raw.text(hook, "name")
            path = f"webhooks[{at}].clientConfig.url"
            url = raw.text(client, "url")
            if client.get("url") is None:
                if client.get("service") is None:
                    yield _invalid(config, path, url, name, "is missing, and no Service is named")
            elif reason := _why_no_url(url):
                yield _invalid(config, path, url, name, reason)
            elif is_ip(urlsplit(url).hostname or ""):
                yield message(codes.ADDRESS_NOT_HOSTNAME, config, path, url=url, webhook=name)


def _invalid(config: Resource, path: str, url: str, name: str, reason: str) -> Message:
    return message(codes.INVALID_EXTERNAL_CONTROL_PLANE, config, path, url=url, webhook=name, reason=reason)


def _why_no_url(url: str) -> str:
    try:
        host = urlsplit(url).hostname
    except ValueError:
        host = None
    return "" if host else "is no URL"
