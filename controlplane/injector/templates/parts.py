"""What the built-in templates share: metadata, environment, volumes, probes and resources of the proxy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from controlplane.injector.annotations import STATUS_PORT
from controlplane.injector.images import image
from controlplane.injector.template_data import TemplateData

Json = dict[str, Any]

_LONGEST_LABEL = 63
_READINESS = "readiness.status.sidecar.istio.io/"
_MOST_DIGITS = 10
_BOOTSTRAP = "sidecar.istio.io/bootstrapOverride"
_PORT_FIELDS = ("name", "hostPort", "containerPort", "protocol", "hostIP")
_CPU, _MEMORY, _CPU_LIMIT, _MEMORY_LIMIT = (
    f"sidecar.istio.io/proxy{each}" for each in ("CPU", "Memory", "CPULimit", "MemoryLimit")
)


def canonical_labels(data: TemplateData, *, shortened: bool) -> Json:
    """Return the labels by which a workload is called in metrics; a label that is empty counts as missing."""
    labels = data.labels
    name = _first(labels, ("service.istio.io/canonical-name", "app.kubernetes.io/name", "app")) or data.owner.name
    if shortened:
        name = name[:_LONGEST_LABEL].strip("-_.")
    names = ("service.istio.io/canonical-revision", "app.kubernetes.io/version", "version")
    return {
        "service.istio.io/canonical-name": name,
        "service.istio.io/canonical-revision": _first(labels, names) or "latest",
    }


def _first(labels: Mapping[str, str], names: tuple[str, ...]) -> str:
    return next((labels[name] for name in names if labels.get(name)), "")


def tunnel_label(data: TemplateData) -> Json:
    """Return the label by which tunnels to a workload are allowed, where its proxy takes them."""
    if data.proxy_config.proxy_metadata.get("ISTIO_META_ENABLE_HBONE") != "true":
        return {}
    return {"networking.istio.io/tunnel": data.labels.get("networking.istio.io/tunnel") or "http"}


def default_container(data: TemplateData) -> Json:
    """Return the annotations by which ``kubectl exec`` and ``logs`` find the application."""
    applications = data.applications()
    names = ("kubectl.kubernetes.io/default-container", "kubectl.kubernetes.io/default-logs-container")
    return {name: applications[0] for name in names if applications and name not in data.annotations}


def revision_annotation(data: TemplateData) -> Json:
    """Return the annotation that says which control plane injected."""
    return {"istio.io/rev": data.revision or "default"}


def log_arguments(data: TemplateData) -> list[str]:
    """Return the arguments of the agent that several templates share, without those that only a sidecar has."""
    values = data.values
    found = [
        f"--proxyLogLevel={data.annotated('sidecar.istio.io/logLevel', values.get('global.proxy.logLevel'))}",
        "--proxyComponentLogLevel="
        + data.annotated("sidecar.istio.io/componentLogLevel", values.get("global.proxy.componentLogLevel")),
        "--log_output_level=" + data.annotated("sidecar.istio.io/agentLogLevel", values.get("global.logging.level")),
    ]
    if port := values.get("global.sts.servicePort"):
        found.append(f"--stsPort={port}")
    if values.flag("global.logAsJson"):
        found.append("--log_as_json")
    return found


def arguments(data: TemplateData, role: str) -> list[str]:
    """Return the arguments of the agent; ``role`` is ``sidecar`` or ``router``."""
    domain = data.values.text("global.proxy.clusterDomain")
    return ["proxy", role, "--domain", f"$(POD_NAMESPACE).svc.{domain}", *log_arguments(data)]


def image_fields(data: TemplateData, path: str) -> Json:
    """Return the image for a value, and when it is pulled where the values say so."""
    policy = data.values.text("global.imagePullPolicy")
    return {"image": image(data, path), **({"imagePullPolicy": policy} if policy else {})}


def status_port(data: TemplateData) -> str:
    """Return the port of the agent; ``0`` asks for no probes."""
    return data.annotated(STATUS_PORT, data.values.get("global.proxy.statusPort")).strip()


def readiness(data: TemplateData, *, port: int, annotated: bool) -> Json:
    """Return the probe of the proxy; ``annotated`` says whether the pod may change its times."""

    def number(name: str) -> int:
        value = data.values.get(f"global.proxy.readiness{name[0].upper()}{name[1:]}")
        text = data.annotated(f"{_READINESS}{name}", value) if annotated else str(value)
        return int(text) if text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS else 0

    times = {name: number(name) for name in ("initialDelaySeconds", "periodSeconds", "failureThreshold")}
    return {
        "httpGet": {"path": "/healthz/ready", "port": port},
        **{name: value for name, value in times.items() if value},
        "timeoutSeconds": 3,
    }


def resources(data: TemplateData) -> Json:
    """Return the resources of the proxy: those that the pod states, where it states any, else those of the values."""
    stated = {
        "requests": {"cpu": data.annotations.get(_CPU), "memory": data.annotations.get(_MEMORY)},
        "limits": {"cpu": data.annotations.get(_CPU_LIMIT), "memory": data.annotations.get(_MEMORY_LIMIT)},
    }
    if any(each is not None for group in stated.values() for each in group.values()):
        return _without_nothing(stated)
    return _without_nothing(data.values.map("global.proxy.resources"))


def _without_nothing(value: Json) -> Json:
    """Return a map without what is ``null``, and without maps that hold nothing else."""
    kept: Json = {}
    for name, each in value.items():
        inner = _without_nothing(each) if isinstance(each, dict) else each
        if inner is not None and inner != {}:
            kept[name] = inner if isinstance(inner, (dict, list)) else str(inner)
    return kept


def pull_secrets(data: TemplateData) -> Json:
    """Return the Secrets for pulling the images, as the field of a spec; nothing where there are none."""
    names = data.values.names("global.imagePullSecrets")
    return {"imagePullSecrets": [{"name": name} for name in names]} if names else {}
