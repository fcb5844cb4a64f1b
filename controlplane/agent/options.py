"""What the agent is told: flags, environment and the files of the pod, read once when it starts.

Names of flags and variables are those of Istio's agent, so that what starts one starts the other. Paths that begin with
``./`` are relative to the working directory, which is ``/`` in a container.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from controlplane.agent.addresses import interface_addresses, reachable
from controlplane.agent.environment import Environment, StartError, truth
from controlplane.agent.proxy_config import ProxyConfig, annotation_lines, proxy_config
from controlplane.documents.words import is_ip
from controlplane.model.proxy import Locality

KINDS = ("sidecar", "router")
LABELS = Path("./etc/istio/pod/labels")
ANNOTATIONS = Path("./etc/istio/pod/annotations")
_EXCLUDED_INTERFACES = "traffic.sidecar.istio.io/excludeInterfaces"
LOOPBACK = {4: "127.0.0.1", 6: "::1"}
EVERYWHERE = {4: "0.0.0.0", 6: "::"}  # noqa: S104 - what is probed and scraped from outside
"""The addresses of Envoy's own listeners, by IP version."""
_DUAL_STACK = "ISTIO_DUAL_STACK"


@dataclass(frozen=True, slots=True)
class Flags:
    """The flags of ``agent proxy``. An empty text and 0 mean that nothing was said."""

    kind: str = "sidecar"
    domain: str = ""
    mesh_config: str = "./etc/istio/config/mesh"
    proxy_log_level: str = "warning"
    proxy_component_log_level: str = ""
    concurrency: int = 0
    service_cluster: str = ""
    template_file: str = ""
    outlier_log_path: str = ""
    sts_port: int = 0
    log_as_json: bool = False
    log_output_level: str = ""


_NAMES = {
    "domain": "domain",
    "meshConfig": "mesh_config",
    "proxyLogLevel": "proxy_log_level",
    "proxyComponentLogLevel": "proxy_component_log_level",
    "concurrency": "concurrency",
    "serviceCluster": "service_cluster",
    "templateFile": "template_file",
    "outlierLogPath": "outlier_log_path",
    "stsPort": "sts_port",
    "log_as_json": "log_as_json",
    "log_output_level": "log_output_level",
}


@dataclass(frozen=True, slots=True)
class Workload:
    """Who this proxy stands beside. ``ips`` has at least one address, the pod's first.

    ``both_families`` has Envoy's own listeners listen for both where there are addresses of both.
    """

    kind: str
    name: str
    namespace: str
    service_account: str
    domain: str
    ips: tuple[str, ...]
    trust_domain: str = "cluster.local"
    both_families: bool = False

    @property
    def spiffe_id(self) -> str:
        """The identity that it asks a certificate for."""
        return f"spiffe://{self.trust_domain}/ns/{self.namespace}/sa/{self.service_account}"

    @property
    def ipv6_only(self) -> bool:
        """Whether it has no IPv4 address."""
        return all(":" in ip for ip in self.ips)

    @property
    def families(self) -> tuple[int, ...]:
        """The IP versions of Envoy's own listeners, the first of which its administration has.

        Of addresses of both kinds IPv4 counts alone, unless both are asked for; then the pod's first address leads.
        """
        if self.ipv6_only:
            return (6,)
        if not self.both_families or not any(":" in ip for ip in self.ips):
            return (4,)
        return (6, 4) if ":" in self.ips[0] else (4, 6)

    @property
    def loopback(self) -> str:
        """The loopback address of its first family."""
        return LOOPBACK[self.families[0]]


@dataclass(frozen=True, slots=True)
class Machine:
    """What a cloud says of the machine. ``metadata`` are texts by Istio's names of them."""

    metadata: Mapping[str, str] = field(default_factory=dict)
    locality: Locality = field(default_factory=Locality)


@dataclass(frozen=True, slots=True)
class Options:
    """Everything that was said. ``labels`` is ``None`` where the pod has no file of them."""

    flags: Flags
    environment: Environment
    config: ProxyConfig
    workload: Workload
    labels: Mapping[str, str] | None = None
    annotations: Mapping[str, str] = field(default_factory=dict)
    machine: Machine = field(default_factory=Machine)


def flags_of(arguments: Sequence[str]) -> Flags:
    """Read the command line. Flags that are not known are passed over, as Istio's agent does.

    Raises:
        StartError: a value is none that its flag can have, or the kind of proxy is none that there is.
    """
    words: list[str] = []
    said: dict[str, str | int | bool] = {}
    rest = iter(_split(arguments))
    for name, value in rest:
        if not name:
            words.append(value)
        elif name in _NAMES:
            said[_NAMES[name]] = _value(name, value)
    if len(words) > 1 or (words and words[0] not in KINDS):
        raise StartError(f"{' '.join(words)!r} is no kind of proxy; there are {' and '.join(KINDS)}")
    return replace(Flags(), **said, **({"kind": words[0]} if words else {}))  # type: ignore[arg-type]


def _split(arguments: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield name and value of each flag, and words with an empty name. A flag takes the word behind it.

    Raises:
        StartError: a flag that is known has no value.
    """
    at = 0
    while at < len(arguments):
        word, at = arguments[at], at + 1
        if not word.startswith("-"):
            yield "", word
            continue
        name, equals, value = word.lstrip("-").partition("=")
        takes_next = not equals and name != "log_as_json" and at < len(arguments) and not arguments[at].startswith("-")
        if takes_next:
            value, at = arguments[at], at + 1
        elif not equals and name in _NAMES and name != "log_as_json":
            raise StartError(f"--{name} needs a value")
        yield name, value


def _value(name: str, text: str) -> str | int | bool:
    kind = type(getattr(Flags(), _NAMES[name]))
    if kind is bool:
        return truth(text or "true", f"--{name}")
    if kind is int:
        if not text.isdecimal():
            raise StartError(f"--{name}: {text!r} is not a whole number")
        return int(text)
    return text


def options(arguments: Sequence[str], variables: Mapping[str, str]) -> Options:
    """Return what the command line, the environment and the files of the pod say. Raises ``StartError``."""
    flags, environment = flags_of(arguments), Environment(variables)
    labels, annotations = _file(LABELS), _file(ANNOTATIONS) or {}
    config = proxy_config(_text(Path(flags.mesh_config)), environment.text("PROXY_CONFIG"), annotations)
    config = _with_flags(config, flags, environment)
    namespace = environment.text("POD_NAMESPACE")
    domain = flags.domain or f"{namespace}.svc.cluster.local"
    workload = Workload(
        kind=flags.kind,
        name=environment.text("POD_NAME"),
        namespace=namespace,
        service_account=environment.text("SERVICE_ACCOUNT"),
        domain=domain,
        ips=_ips(environment.text("INSTANCE_IP"), annotations.get(_EXCLUDED_INTERFACES, "")),
        trust_domain=environment.text("TRUST_DOMAIN", "cluster.local"),
        both_families=truth(environment.text(_DUAL_STACK) or config.metadata.get(_DUAL_STACK) or "false", _DUAL_STACK),
    )
    return Options(flags, environment, config, workload, labels, annotations)


def _with_flags(config: ProxyConfig, flags: Flags, environment: Environment) -> ProxyConfig:
    """Return the configuration with what the older flags and the processor limit add."""
    values = dict(config.values)
    if flags.concurrency:
        values["concurrency"] = flags.concurrency
    if config.concurrency is None and not flags.concurrency and (limit := environment.number("ISTIO_CPU_LIMIT", 0)):
        values["concurrency"] = limit
    if flags.service_cluster and not config.text("serviceCluster"):
        values["serviceCluster"] = flags.service_cluster
    return ProxyConfig(values)


def _ips(instance: str, excluded: str) -> tuple[str, ...]:
    """Return the pod's address, then those of its interfaces, none of them twice; loopback where there is none."""
    first = [instance] if is_ip(instance) else []
    names = {name.strip() for name in excluded.split(",")}
    return tuple(dict.fromkeys([*first, *reachable(interface_addresses(), names)])) or tuple(LOOPBACK.values())


def _file(path: Path) -> dict[str, str] | None:
    return dict(annotation_lines(_text(path))) if path.exists() else None


def _text(path: Path) -> str:
    """Return a file's text, empty where there is no such file. Raises ``StartError``."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise StartError(f"{path} cannot be read: {error.strerror}") from None
