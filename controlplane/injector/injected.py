"""One pod, injected: every step in its order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from controlplane.injector import prometheus
from controlplane.injector.annotations import STATUS_PORT, boolean, check_annotations
from controlplane.injector.containers import (
    CONTAINERS,
    INIT_CONTAINERS,
    PROXY,
    Container,
    annotations_of,
    containers,
    labels_of,
    named,
    proxy_of,
)
from controlplane.injector.errors import InjectionError
from controlplane.injector.merge import merged
from controlplane.injector.order import ordered, ordered_init
from controlplane.injector.overrides import kept_overrides, moved, with_overrides, with_users, without_assigned_user
from controlplane.injector.owner import Owner, owner
from controlplane.injector.probes import ENVIRONMENT, REWRITE, probers, probers_text, rewritten
from controlplane.injector.proxy_config import annotated, effective
from controlplane.injector.settings import Settings
from controlplane.injector.shape import check_pod
from controlplane.injector.status import STATUS, InjectionStatus, injected_before, status_text
from controlplane.injector.template_data import TemplateData
from controlplane.injector.templates import BUILT_IN
from controlplane.injector.templates.redirection import interception_mode
from controlplane.injector.templates.sidecar import is_native

Pod = dict[str, Any]

TEMPLATES = "inject.istio.io/templates"
NETWORK = "topology.istio.io/network"
CLUSTER_VARIABLE, NETWORK_VARIABLE = "ISTIO_META_CLUSTER_ID", "ISTIO_META_NETWORK"
_LAST_VARIABLES = (prometheus.ENVIRONMENT, ENVIRONMENT)  # are there already where a pod is injected again
_FAILED = "failed to run injection template: "


def injected(pod: Mapping[str, Any], settings: Settings, workload: Owner | None = None) -> Pod:
    """Return a pod as it is with its sidecar; ``pod`` is not changed, and may already be injected.

    ``workload`` is whose pod it is, where that is known; else it is found out.

    Raises:
        InjectionError: it cannot be injected; says why.
    """
    check_pod(pod)
    original = dict(pod)
    if settings.identifiers.user is not None:
        original = without_assigned_user(original)
    annotations = annotations_of(original)
    try:
        check_annotations(annotations)
    except InjectionError as error:
        raise InjectionError(f"{_FAILED}{error}") from error
    before = injected_before(annotations)
    environment = _environment(original, settings)
    data = _template_data(original, settings, workload, before, environment)
    overlays = _overlays(annotations, settings, data)
    result, template = _laid(original, overlays)
    result = with_overrides(result, original, template, before)
    result = with_users(result, original, tproxy=interception_mode(data) == "TPROXY")
    result = _with_environment(result, environment)
    status_port = data.proxy_config.status_port
    result = _with_metrics(result, settings, status_port)
    result = _with_probes(result, settings, status_port, injected_again=before is not None)
    result = _with_metadata(result, template, settings, environment)
    return _in_order(result, settings, data)


def _environment(pod: Pod, settings: Settings) -> dict[str, str]:
    """Return the variables that the values, the webhook's path and the pod's label set; later goes before earlier."""
    found = {
        CLUSTER_VARIABLE: settings.values.text("global.multiCluster.clusterName"),
        NETWORK_VARIABLE: settings.values.text("global.network"),
    }
    found |= settings.environment
    if network := labels_of(pod).get(NETWORK):
        found[NETWORK_VARIABLE] = network
    return {name: value for name, value in found.items() if value}


def _template_data(
    pod: Pod,
    settings: Settings,
    workload: Owner | None,
    before: InjectionStatus | None,
    environment: Mapping[str, str],
) -> TemplateData:
    config = effective(settings.mesh.default_config, annotations_of(pod), labels_of(pod), settings.proxy_configs)
    stripped = _stripped(pod, config.status_port, before)
    network = environment.get(NETWORK_VARIABLE, "")
    values = settings.values.with_value("global.network", network) if network else settings.values
    return TemplateData(
        pod=stripped,
        owner=workload or owner(pod, settings.namespace),
        proxy_config=config,
        mesh=settings.mesh,
        values=values,
        namespace=settings.namespace,
        revision=settings.revision,
        native=settings.native,
        identifiers=settings.identifiers,
        compliance_policy=settings.compliance_policy,
    )


def _stripped(pod: Pod, status_port: int, before: InjectionStatus | None) -> Pod:
    """Return the pod as its user stated it: without what was injected, with what the user stated of it."""
    metadata, spec = dict(pod.get("metadata") or {}), dict(pod.get("spec") or {})
    annotations = annotations_of(pod)
    if before is not None:
        for field in (CONTAINERS, INIT_CONTAINERS):
            spec[field] = [each for each in containers(pod, field) if each.get("name") not in before.of(field)]
        annotations = prometheus.without_moved(annotations, status_port)
        annotations.pop(STATUS, None)
    for field, kept in kept_overrides(annotations).items():
        present = {each.get("name") for each in spec.get(field) or ()}
        spec[field] = [*(spec.get(field) or ()), *(each for each in kept if each.get("name") not in present)]
    return {**pod, "metadata": {**metadata, "annotations": annotations}, "spec": spec}


def _overlays(annotations: Mapping[str, str], settings: Settings, data: TemplateData) -> dict[str, dict[str, Any]]:
    """Return what each template that is asked for adds, by its name and in their order."""
    config = settings.config
    asked = annotations.get(TEMPLATES)
    names = list(config.default_templates) if asked is None else [each.strip() for each in asked.split(",")]
    expanded = [each for name in names for each in config.aliases.get(name, (name,))]
    try:
        return {name: _overlay(name, settings, data) for name in expanded}
    except InjectionError as error:
        raise InjectionError(f"{_FAILED}{error}") from error


def _overlay(name: str, settings: Settings, data: TemplateData) -> dict[str, Any]:
    templates = settings.config.templates
    if name in templates:
        return templates[name].overlay(data)
    if name in BUILT_IN:
        return BUILT_IN[name](data)
    have = ", ".join(sorted({*templates, *BUILT_IN, *settings.config.aliases}))
    said_by = f" (annotation {TEMPLATES})" if TEMPLATES in data.annotations else ""
    raise InjectionError(f'requested template "{name}" not found; have {have}{said_by}')


def _laid(pod: Pod, overlays: Mapping[str, dict[str, Any]]) -> tuple[Pod, Pod]:
    """Lay overlays on the pod, and on nothing: what the templates state of themselves."""
    template: Pod = {}
    try:
        for overlay in overlays.values():
            template = merged(template, overlay)
        check_pod(template)
        result = moved(pod, template)
        for overlay in overlays.values():
            result = merged(result, overlay)
        check_pod(result)
    except InjectionError as error:
        named = ", ".join(overlays)
        raise InjectionError(f"failed parsing generated injected YAML (templates {named}): {error}") from error
    return result, template


def _changed(pod: Pod, chosen: Container, changes: Mapping[str, Any]) -> Pod:
    """Return the pod with fields of one container replaced."""
    spec = dict(pod["spec"])
    for field in (CONTAINERS, INIT_CONTAINERS):
        if spec.get(field):
            spec[field] = [{**each, **changes} if each is chosen else each for each in spec[field]]
    return {**pod, "spec": spec}


def _with_environment(pod: Pod, environment: Mapping[str, str]) -> Pod:
    proxy = proxy_of(pod)
    if proxy is None or not environment:
        return pod
    kept = [each for each in proxy.get("env") or () if each.get("name") not in environment]
    added = [{"name": name, "value": value} for name, value in sorted(environment.items())]
    at = next((index for index, each in enumerate(kept) if each.get("name") in _LAST_VARIABLES), len(kept))
    return _changed(pod, proxy, {"env": [*kept[:at], *added, *kept[at:]]})


def _with_variable(pod: Pod, name: str, value: str) -> Pod:
    proxy = proxy_of(pod)
    if proxy is None or not value:
        return pod
    kept = [each for each in proxy.get("env") or () if each.get("name") != name]
    return _changed(pod, proxy, {"env": [*kept, {"name": name, "value": value}]})


def _with_metrics(pod: Pod, settings: Settings, status_port: int) -> Pod:
    found = prometheus.moved_annotations(
        annotations_of(pod), by_default=settings.mesh.enable_prometheus_merge, status_port=status_port
    )
    if found is not None:
        annotations, text = found
        pod = _with_variable(pod, prometheus.ENVIRONMENT, text)
        pod = {**pod, "metadata": {**(pod.get("metadata") or {}), "annotations": annotations}}
    proxy = proxy_of(pod)
    secure = named((proxy or {}).get("env") or (), prometheus.SECURE_PORT_ENVIRONMENT)
    if secure is not None and secure.get("value"):
        pod = merged(pod, {"metadata": {"annotations": {prometheus.SECURE_PORT: secure["value"]}}})
    return pod


def _with_probes(pod: Pod, settings: Settings, status_port: int, *, injected_again: bool) -> Pod:
    proxy, annotations = proxy_of(pod), annotations_of(pod)
    stated = boolean(annotations.get(REWRITE, ""))
    by_value = settings.values.flag("sidecarInjectorWebhook.rewriteAppHTTPProbe")
    if proxy is None or not (by_value if stated is None else stated):
        return pod
    asked = annotations.get(STATUS_PORT, "").strip()
    asked_port = int(asked) if asked else status_port
    new = probers(pod, (status_port, asked_port))
    old = named(proxy.get("env") or (), ENVIRONMENT) if injected_again else None
    if new:
        pod = _with_variable(pod, ENVIRONMENT, probers_text(new, (old or {}).get("value") or ""))
    return rewritten(pod, status_port, asked_port)


def _with_metadata(pod: Pod, template: Pod, settings: Settings, environment: Mapping[str, str]) -> Pod:
    network = environment.get(NETWORK_VARIABLE)
    annotations = {
        STATUS: status_text(template.get("spec") or {}, settings.revision),
        **settings.config.injected_annotations,
    }
    labels = {NETWORK: network} if network else {}
    return merged(pod, {"metadata": {"annotations": annotations, "labels": labels}})


def _in_order(pod: Pod, settings: Settings, data: TemplateData) -> Pod:
    config = annotated(settings.mesh.default_config, annotations_of(data.pod))
    holds = config.hold_application_until_proxy_starts or settings.values.flag(
        "global.proxy.holdApplicationUntilProxyStarts"
    )
    spec = dict(pod.get("spec") or {})
    spec[CONTAINERS] = ordered(containers(pod), proxy_first=bool(holds))
    if containers(pod, INIT_CONTAINERS):
        native = named(containers(pod, INIT_CONTAINERS), PROXY) is not None or is_native(data)
        spec[INIT_CONTAINERS] = ordered_init(containers(pod, INIT_CONTAINERS), native=native)
    return {**pod, "spec": spec}
