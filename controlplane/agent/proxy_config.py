"""The effective ProxyConfig of this proxy, as plain JSON: defaults, mesh file, environment and annotations, later wins.

Its source is ``istio.mesh.v1alpha1.ProxyConfig``, whose JSON goes to the control plane as node metadata. Only what the
agent reads is looked at; the rest is passed on as it came.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from controlplane.agent.addresses import TcpAddress
from controlplane.agent.environment import StartError, duration
from controlplane.documents.json_reader import json_value
from controlplane.documents.limits import UnreadableError

Json = dict[str, Any]

DISCOVERY_ADDRESS = "istiod.istio-system.svc:15012"
DEFAULTS: Mapping[str, Any] = {
    "configPath": "./etc/istio/proxy",
    "binaryPath": "/usr/local/bin/envoy",
    "serviceCluster": "istio-proxy",
    "drainDuration": "45s",
    "terminationDrainDuration": "5s",
    "discoveryAddress": DISCOVERY_ADDRESS,
    "proxyAdminPort": 15000,
    "controlPlaneAuthPolicy": "MUTUAL_TLS",
    "statNameLength": 189,
    "statusPort": 15020,
}
_ADDRESS_ANNOTATION = "sidecar.istio.io/discoveryAddress"
_STATUS_PORT_ANNOTATION = "status.sidecar.istio.io/port"
ANNOTATION = "proxy.istio.io/config"


@dataclass(frozen=True, slots=True)
class ProxyConfig:
    """What was said, with the defaults beneath; the properties and methods read it."""

    values: Mapping[str, Any] = field(default_factory=lambda: dict(DEFAULTS))

    def text(self, name: str) -> str:
        """Return a text, empty where it is not given. Raises ``StartError``."""
        value = self.values.get(name, "")
        if not isinstance(value, str):
            raise StartError(f"ProxyConfig.{name} must be a text, not {value!r}")
        return value

    def duration(self, name: str) -> timedelta:
        """Return a duration, 0 where it is not given. Raises ``StartError``."""
        return duration(self.text(name) or "0", f"ProxyConfig.{name}")

    def number(self, name: str, default: int = 0) -> int:
        """Return a whole number that is not negative. Raises ``StartError``."""
        value = self.values.get(name, default)
        if isinstance(value, str) and value.isdecimal():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise StartError(f"ProxyConfig.{name} must be a whole number, not {value!r}")
        return value

    def port(self, name: str) -> int:
        """Return a port, 0 where there is to be none. Raises ``StartError``."""
        value = self.number(name)
        if value >= 1 << 16:
            raise StartError(f"ProxyConfig.{name}: {value} is no port")
        return value

    def flag(self, name: str, *, default: bool = False) -> bool:
        """Return a boolean. Raises ``StartError``."""
        value = self.values.get(name, default)
        if not isinstance(value, bool):
            raise StartError(f"ProxyConfig.{name} must be true or false, not {value!r}")
        return value

    def mapping(self, name: str) -> Mapping[str, Any]:
        """Return a mapping, empty where it is not given. Raises ``StartError``."""
        return _mapping(self.values.get(name), f"ProxyConfig.{name}")

    def texts(self, name: str) -> tuple[str, ...]:
        """Return a list of texts, empty where it is not given. Raises ``StartError``."""
        return texts_of(self.values.get(name), f"ProxyConfig.{name}")

    @property
    def metadata(self) -> Mapping[str, str]:
        """``proxyMetadata``: variables for the agent and metadata of the node."""
        return {name: str(value) for name, value in self.mapping("proxyMetadata").items()}

    @property
    def discovery_address(self) -> TcpAddress:
        """Where the control plane is. Raises ``StartError``."""
        try:
            return TcpAddress.parse(self.text("discoveryAddress"))
        except ValueError as error:
            raise StartError(f"ProxyConfig.discoveryAddress: {error}") from None

    @property
    def plaintext(self) -> bool:
        """Whether the control plane is spoken to without TLS."""
        return self.values.get("controlPlaneAuthPolicy") in {"NONE", 0}

    @property
    def concurrency(self) -> int | None:
        """Envoy's threads: 0 is one for each processor, ``None`` leaves it to the processor limit."""
        return None if self.values.get("concurrency") is None else self.number("concurrency")


def texts_of(value: object, path: str) -> tuple[str, ...]:
    """Return a list of texts. Raises ``StartError`` with the path."""
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise StartError(f"{path} must be a list of texts, not {value!r}")
    return tuple(value)


def proxy_config(mesh: str, environment: str, annotations: Mapping[str, str]) -> ProxyConfig:
    """Return the effective configuration from texts of YAML or JSON: the mesh file, the variable, the annotations.

    Raises ``StartError``, which names the source, where one cannot be read.
    """
    values: Json = dict(DEFAULTS)
    defaults = _read(mesh, "the mesh configuration file").get("defaultConfig")
    for said, source in (
        (_mapping(defaults, "defaultConfig of the mesh configuration file"), "mesh file"),
        (_read(environment, "PROXY_CONFIG"), "PROXY_CONFIG"),
        (_read(annotations.get(ANNOTATION, ""), f"annotation {ANNOTATION}"), ANNOTATION),
    ):
        values = _merged(values, said, source)
    if address := annotations.get(_ADDRESS_ANNOTATION):
        values["discoveryAddress"] = address
    if port := annotations.get(_STATUS_PORT_ANNOTATION):
        if not port.isdecimal():
            raise StartError(f"annotation {_STATUS_PORT_ANNOTATION}: {port!r} is no port")
        values["statusPort"] = int(port)
    _mapping(values.get("proxyMetadata"), "ProxyConfig.proxyMetadata")
    return ProxyConfig(values)


def _merged(below: Json, above: Mapping[str, Any], source: str) -> Json:
    """Return both, field by field: mappings are merged, anything else is replaced; ``null`` says nothing."""
    merged = dict(below)
    for name, value in above.items():
        if value is None:
            continue
        before = merged.get(name)
        if isinstance(before, dict) and not isinstance(value, dict):
            raise StartError(f"{source}: {name} must be a mapping, not {value!r}")
        merged[name] = _merged(before, value, source) if isinstance(before, dict) else value
    return merged


def _read(text: str, source: str) -> Mapping[str, Any]:
    if text.strip() in {"", "{}"}:
        return {}
    try:
        if text.lstrip().startswith("{"):  # JSON, as injection writes it
            return _mapping(json_value(text), source)
    except UnreadableError:
        pass  # or YAML's way of writing a mapping
    from controlplane.documents.yaml_reader import yaml_value  # noqa: PLC0415 - few proxies have YAML to read

    try:
        return _mapping(yaml_value(text), source)
    except UnreadableError as error:
        raise StartError(f"{source} cannot be read: {error}") from None


def _mapping(value: object, source: str) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise StartError(f"{source} must be a mapping, not {value!r}")
    return value


def annotation_lines(text: str) -> Iterator[tuple[str, str]]:
    """Yield name and value of each line of a file of the downward API, ``name="value"`` with Go's escapes."""
    import ast  # noqa: PLC0415 - such a value is a literal of Python's too, and nothing is run

    for line in text.splitlines():
        name, equals, quoted = line.partition("=")
        if not equals:
            continue
        try:
            value = ast.literal_eval(quoted)
        except (ValueError, SyntaxError):
            continue
        if isinstance(value, str):
            yield name, value
