"""The values of the installation that injection reads, by their path in the Helm chart (``global.proxy.image``)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from controlplane.documents.limits import UnreadableError
from controlplane.documents.yaml_reader import yaml_value
from controlplane.injector.errors import InjectionError

_PROXY: dict[str, Any] = {
    "autoInject": "enabled",
    "clusterDomain": "cluster.local",
    "componentLogLevel": "misc:error",
    "excludeIPRanges": "",
    "excludeInboundPorts": "",
    "excludeOutboundPorts": "",
    "image": "proxyv2",
    "includeIPRanges": "*",
    "includeInboundPorts": "*",
    "includeOutboundPorts": "",
    "logLevel": "warning",
    "outlierLogPath": "",
    "privileged": False,
    "readinessFailureThreshold": 4,
    "readinessInitialDelaySeconds": 0,
    "readinessPeriodSeconds": 15,
    "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"cpu": "2000m", "memory": "1024Mi"}},
    "startupProbe": {"enabled": True, "failureThreshold": 600},
    "statusPort": 15020,
    "tracer": "none",
}
DEFAULTS: dict[str, Any] = {
    "global": {
        "hub": "controlplane",
        "tag": "latest",
        "variant": "",
        "caAddress": "",
        "caName": "",
        "imagePullPolicy": "",
        "imagePullSecrets": [],
        "istioNamespace": "istio-system",
        "logAsJson": False,
        "logging": {"level": "default:info"},
        "meshID": "",
        "mountMtlsCerts": False,
        "multiCluster": {"clusterName": ""},
        "nativeNftables": False,
        "network": "",
        "pilotCertProvider": "istiod",
        "proxy": _PROXY,
        "proxy_init": {"forceApplyIptables": False, "image": "proxyv2"},
        "sds": {"token": {"aud": "istio-ca"}},
        "sts": {"servicePort": 0},
    },
    "pilot": {"cni": {"enabled": False, "provider": "default"}, "env": {}},
    "gateways": {"securityContext": {}},
    "revision": "",
    "sidecarInjectorWebhook": {"injectedAnnotations": {}, "rewriteAppHTTPProbe": True, "templates": {}},
}
"""What holds where the values say nothing. Source: the defaults of Istio's chart; hub and image names are ours."""

_WHOLE = frozenset({"resources", "securityContext", "env"})
"""Maps that are taken as they are given: what they leave out is not asked for."""


class Values:
    """Values over ``DEFAULTS``, read by path."""

    def __init__(self, given: Mapping[str, Any] | None = None) -> None:
        """Lay the values over the defaults; ``null`` takes a default away."""
        self.raw: dict[str, Any] = _over(DEFAULTS, given or {}, "")

    @classmethod
    def parse(cls, text: str) -> Values:
        """Read the key ``values`` of the injector's ConfigMap: JSON, or YAML.

        Raises:
            InjectionError: it is neither, or a part of it has the wrong type.
        """
        try:
            given = yaml_value(text)
        except UnreadableError as error:
            raise InjectionError(f"values: {error}") from error
        if given is None:
            given = {}
        if not isinstance(given, dict):
            raise InjectionError("values: must be a map")
        return cls(given)

    def get(self, path: str) -> Any:  # noqa: ANN401 - whatever the user gave
        """Return what stands at a path, ``None`` where nothing does."""
        value: Any = self.raw
        for step in path.split("."):
            value = value.get(step) if isinstance(value, dict) else None
        return value

    def with_value(self, path: str, value: object) -> Values:
        """Return the values with another one at a path."""
        given: Any = value
        for step in reversed(path.split(".")):
            given = {step: given}
        changed = Values.__new__(Values)
        changed.raw = _over(self.raw, given, "")
        return changed

    def text(self, path: str) -> str:
        """Return a scalar as text, as it would stand in YAML; empty where there is none."""
        return scalar_text(self.get(path))

    def flag(self, path: str) -> bool:
        """Whether a value is true, or the text ``true``."""
        return self.get(path) in (True, "true")

    def names(self, path: str) -> list[str]:
        """Return a list of texts."""
        value = self.get(path)
        return [scalar_text(each) for each in value] if isinstance(value, list) else []

    def map(self, path: str) -> dict[str, Any]:
        """Return a map, empty where there is none."""
        value = self.get(path)
        return value if isinstance(value, dict) else {}


def scalar_text(value: object) -> str:
    """Return a scalar of YAML as text."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _over(base: Mapping[str, Any], given: Mapping[str, Any], path: str) -> dict[str, Any]:
    merged = dict(base)
    for key, value in given.items():
        below = f"{path}.{key}" if path else key
        old = base.get(key)
        if isinstance(old, dict) and value is not None and not isinstance(value, dict):
            raise InjectionError(f"values: {below}: must be a map")
        by_key = isinstance(old, dict) and isinstance(value, dict) and key not in _WHOLE
        merged[key] = _over(old or {}, value or {}, below) if by_key else value
    return merged
