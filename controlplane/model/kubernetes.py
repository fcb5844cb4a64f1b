"""Kubernetes core kinds, trimmed to the fields that reach a proxy. Metadata is in ``Object.meta``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from controlplane.model.credentials import KeyPair, TrustedRoots


@dataclass(frozen=True, slots=True)
class KubeServicePort:
    """One entry of ``spec.ports``; ``target_port`` is a number or a container port name (0: as ``number``)."""

    number: int
    name: str = ""
    protocol: str = "TCP"
    app_protocol: str | None = None
    target_port: int | str = 0
    node_port: int = 0


@dataclass(frozen=True, slots=True)
class KubeService:
    """``Service.spec``; ``cluster_ips`` is empty for ExternalName and ``("None",)`` for a headless service."""

    type: str = "ClusterIP"
    cluster_ips: tuple[str, ...] = ()
    ports: tuple[KubeServicePort, ...] = ()
    selector: Mapping[str, str] = field(default_factory=dict)
    external_name: str = ""
    external_ips: tuple[str, ...] = ()
    load_balancer_ips: tuple[str, ...] = ()
    publish_not_ready_addresses: bool = False
    internal_traffic_policy: str = ""
    traffic_distribution: str = ""


@dataclass(frozen=True, slots=True)
class SliceEndpoint:
    """One entry of ``EndpointSlice.endpoints``; conditions are ``None`` where the slice leaves them out.

    ``pod`` is the name of the Pod that ``targetRef`` names, ``namespace`` its namespace; empty, that is the slice's.
    """

    addresses: tuple[str, ...]
    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None
    pod: str = ""
    namespace: str = ""
    hostname: str = ""


@dataclass(frozen=True, slots=True)
class EndpointSlice:
    """``EndpointSlice``; ``service`` is its label ``kubernetes.io/service-name``, ``ports`` are (name, number)."""

    service: str
    address_type: str = "IPv4"
    ports: tuple[tuple[str, int], ...] = ()
    endpoints: tuple[SliceEndpoint, ...] = ()


@dataclass(frozen=True, slots=True)
class ContainerPort:
    """A declared container port."""

    number: int
    name: str = ""
    protocol: str = "TCP"


@dataclass(frozen=True, slots=True)
class Pod:
    """``Pod``; ``workload`` is the name of the controller that made it (Deployment, not ReplicaSet)."""

    ips: tuple[str, ...] = ()
    node: str = ""
    service_account: str = "default"
    ready: bool = False
    terminating: bool = False
    hostname: str = ""
    subdomain: str = ""
    workload: str = ""
    ports: tuple[ContainerPort, ...] = ()
    host_network: bool = False


@dataclass(frozen=True, slots=True)
class Node:
    """``Node``; its labels matter, and ``minor_version``: major and minor version of its kubelet (0 and 0: unknown).

    ``external_ips`` are the addresses at which it is reached from outside its network.
    """

    minor_version: tuple[int, int] = (0, 0)
    external_ips: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Namespace:
    """``Namespace``; only its labels and annotations matter."""


@dataclass(frozen=True, slots=True)
class ServiceAccount:
    """``ServiceAccount``; only its existence matters."""


@dataclass(frozen=True, slots=True)
class Secret:
    """``Secret``, as far as proxies use it: a key pair, root certificates, logins of registries (JSON, or empty).

    Nothing else of it is kept, and logins only where its type says that it holds them.
    Where a part is not usable, its ``problem`` says why (``data.tls.key: reason``); the part is then ``None``, or the
    last good one that stays in force.
    """

    type: str = ""
    pair: KeyPair | None = None
    roots: TrustedRoots | None = None
    pair_problem: str = ""
    roots_problem: str = ""
    logins: str = field(default="", repr=False)
    logins_problem: str = ""


@dataclass(frozen=True, slots=True)
class ConfigMap:
    """``ConfigMap``; ``data`` is text by key."""

    data: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class IngressPath:
    """One path of an Ingress rule. ``type`` is ``Exact``, ``Prefix`` or ``ImplementationSpecific``.

    The backend is a Service of the Ingress's namespace, by port number or (``port`` 0) port name; ``service`` is empty
    where the backend is none.
    """

    path: str = ""
    type: str = "ImplementationSpecific"
    service: str = ""
    port: int = 0
    port_name: str = ""


@dataclass(frozen=True, slots=True)
class IngressRule:
    """One entry of ``spec.rules``: ``host`` empty is every host, ``paths`` is ``None`` where there is no ``http``."""

    host: str = ""
    paths: tuple[IngressPath, ...] | None = None


@dataclass(frozen=True, slots=True)
class IngressTLS:
    """One entry of ``spec.tls``; no ``hosts`` means every host."""

    hosts: tuple[str, ...] = ()
    secret: str = ""


@dataclass(frozen=True, slots=True)
class Ingress:
    """``Ingress.spec``; ``class_name`` is ``None`` where none is stated.

    ``default_backend`` says whether there is one: it routes nothing in Istio.
    """

    class_name: str | None = None
    rules: tuple[IngressRule, ...] = ()
    tls: tuple[IngressTLS, ...] = ()
    default_backend: bool = False


@dataclass(frozen=True, slots=True)
class IngressClass:
    """``IngressClass``; ``controller`` is the name of what serves its Ingresses."""

    controller: str = ""
