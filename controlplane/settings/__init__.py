"""Everything that ``serve`` can be told, as one frozen value.

``Settings`` is the only statement of a setting: its fields carry the help text and the group that
``serve --help`` shows; the flag ``--max-holdoff`` and the environment variable ``CONTROLPLANE_MAX_HOLDOFF`` are
derived from the field's name. Plain dataclasses and not a settings library: that one alone takes longer to import
than the start of the whole program may.
"""

from __future__ import annotations

import math
import re  # noqa: TID251 - what the operator writes, once
from dataclasses import dataclass, fields
from datetime import timedelta
from pathlib import Path
from typing import Annotated

from controlplane.limits import Limits
from controlplane.settings.durations import format_duration
from controlplane.settings.options import (
    CONNECTIONS,
    IDENTITY,
    KUBE_CLUSTER,
    LOGGING,
    PUSHING,
    SERVING,
    SOURCES,
    LogFormat,
    LogLevel,
    Option,
    flag,
)

DEFAULT_REVISION = "default"
"""The revision of a control plane that is told no other."""

LIGHTEST, HEAVIEST = 1e-6, 1e6
"""The weights that a replica may have: what is reckoned with them is a number still, and above 0."""

KUBERNETES_API = "ISTIOD_RA_KUBERNETES_API"
"""Istio's word for signers of Kubernetes, the one kind of external authority that there is."""

ISTIOD = "istiod"
SIGNER_PREFIX = "k8s.io/"

_NAMESPACE = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?")
_LABEL_VALUE = re.compile(r"[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")


@dataclass(frozen=True, slots=True)
class Settings(Limits):
    """How one control plane runs. Port 0 lets the system choose a free one.

    What peers may take of it is inherited; see there.

    Raises:
        ValueError: values that make no sense, alone or together; the message is a sentence for the user.
    """

    config_dir: Annotated[
        Path | None, Option(SOURCES, "Serve the YAML files of this directory instead of a cluster.")
    ] = None
    kubeconfig: Annotated[
        str,
        Option(KUBE_CLUSTER, "Kubeconfig file of the cluster; by default the one this runs in, else $KUBECONFIG."),
    ] = ""
    context: Annotated[str, Option(KUBE_CLUSTER, "Context of the kubeconfig; by default its current one.")] = ""
    revision: Annotated[
        str,
        Option(
            KUBE_CLUSTER, "Istio objects count that have this value, or none, in their label istio.io/rev.", "REVISION"
        ),
    ] = DEFAULT_REVISION
    watch_namespaces: Annotated[
        str, Option(KUBE_CLUSTER, "Namespaces to read, separated by commas; by default all.")
    ] = ""
    untaint_nodes: Annotated[
        bool,
        Option(
            KUBE_CLUSTER,
            "Whether the taint cni.istio.io/not-ready is taken off nodes where the agent of the CNI plugin is ready.",
            "PILOT_ENABLE_NODE_UNTAINT_CONTROLLERS",
        ),
    ] = False
    cni_namespace: Annotated[
        str, Option(KUBE_CLUSTER, "With --untaint-nodes: namespace of these agents; by default the control plane's.")
    ] = ""
    domain_suffix: Annotated[str, Option(SOURCES, "DNS domain of the Kubernetes cluster.")] = "cluster.local"
    cluster_id: Annotated[str, Option(SOURCES, "Name of the Kubernetes cluster.", "CLUSTER_ID")] = "Kubernetes"

    xds_port: Annotated[int, Option(SERVING, "Port of plaintext xDS (gRPC).")] = 15010
    xds_bind: Annotated[
        str,
        Option(SERVING, "Address that xDS listens on; by default loopback with --config-dir, else 0.0.0.0."),
    ] = ""
    plaintext: Annotated[bool, Option(SERVING, "Whether the plaintext port is open.")] = True
    secure_port: Annotated[
        int | None,
        Option(
            SERVING, "Port of xDS and certificates over TLS; by default 15012 in a cluster, none with --config-dir."
        ),
    ] = None
    webhook_port: Annotated[
        int | None,
        Option(SERVING, "Port of the webhooks; by default 15017 in a cluster, none with --config-dir."),
    ] = None
    monitoring_port: Annotated[int, Option(SERVING, "Port of metrics, readiness and the debug endpoints.")] = 15014
    monitoring_bind: Annotated[
        str, Option(SERVING, "Address that the monitoring port and the one of readiness listen on.")
    ] = "127.0.0.1"
    ready_port: Annotated[
        int | None, Option(SERVING, "Port of readiness alone (/ready), 8080 for istiod's probes; by default none.")
    ] = None

    ca_dir: Annotated[
        Path | None,
        Option(
            IDENTITY,
            "Folder of the certificate authority; filled with a new root if there is nothing. In a cluster a plugged-in"
            " authority only, by default /etc/cacerts; without one, Secrets are used.",
            "ROOT_CA_DIR",
        ),
    ] = None
    ca_server: Annotated[
        bool,
        Option(
            IDENTITY,
            "Whether certificates are signed here; if not, somebody else signs them and hands on the roots.",
            "ENABLE_CA_SERVER",
        ),
    ] = True
    serving_dir: Annotated[
        Path | None,
        Option(
            IDENTITY,
            "With --no-ca-server: folder of the ports' certificate (tls/tls.crt, tls/tls.key) and of its roots"
            " (ca/root-cert.pem, else tls/ca.crt); by default /var/run/secrets/istiod.",
        ),
    ] = None
    external_ca: Annotated[
        str,
        Option(
            IDENTITY,
            "ISTIOD_RA_KUBERNETES_API: a signer of Kubernetes signs certificates of workloads, through"
            " CertificateSigningRequests that are approved here; by default they are signed here.",
            "EXTERNAL_CA",
        ),
    ] = ""
    csr_signer: Annotated[
        str, Option(IDENTITY, "With --external-ca: the signer of those that name none.", "K8S_SIGNER")
    ] = ""
    csr_signer_domain: Annotated[
        str, Option(IDENTITY, "With --external-ca: the domain of signers that agents may name.", "CERT_SIGNER_DOMAIN")
    ] = ""
    cert_provider: Annotated[
        str,
        Option(
            IDENTITY,
            "Who signs the certificate of the ports: istiod for this control plane, or, with --external-ca, k8s.io/"
            " and the full name of a signer of Kubernetes.",
            "PILOT_CERT_PROVIDER",
        ),
    ] = ISTIOD
    external_roots: Annotated[
        Path | None,
        Option(
            IDENTITY,
            "With --external-ca: file of the signers' roots (PEM), by default /etc/external-ca-cert/root-cert.pem;"
            " those in caCertificates of the mesh configuration count, too.",
        ),
    ] = None
    serving_names: Annotated[
        str,
        Option(
            IDENTITY,
            "Further DNS names and addresses of the serving certificate, separated by commas.",
            "ISTIOD_CUSTOM_HOST",
        ),
    ] = ""
    token_audiences: Annotated[
        str,
        Option(
            IDENTITY,
            "Audiences of the ServiceAccount tokens that are accepted, separated by commas.",
            "TOKEN_AUDIENCES",
        ),
    ] = "istio-ca"  # noqa: S105 - no secret
    certificate_lifetime: Annotated[
        timedelta,
        Option(IDENTITY, "How long certificates of workloads live that ask for no time.", "DEFAULT_WORKLOAD_CERT_TTL"),
    ] = timedelta(hours=24)
    max_certificate_lifetime: Annotated[
        timedelta, Option(IDENTITY, "The longest that a workload may ask for.", "MAX_WORKLOAD_CERT_TTL")
    ] = timedelta(days=90)

    holdoff: Annotated[
        timedelta,
        Option(PUSHING, "After a push, gather changes until none came for so long.", "PILOT_DEBOUNCE_AFTER"),
    ] = timedelta(milliseconds=100)
    max_holdoff: Annotated[timedelta, Option(PUSHING, "Gather no longer than this.", "PILOT_DEBOUNCE_MAX")] = timedelta(
        seconds=1
    )

    virtual_host_discovery: Annotated[
        bool,
        Option(
            PUSHING,
            "Send virtual hosts one by one (VHDS) to proxies with Envoy 1.37 or newer and delta xDS whose metadata"
            " (VIRTUAL_HOST_DISCOVERY) does not say otherwise.",
        ),
    ] = False

    keepalive_interval: Annotated[
        timedelta, Option(CONNECTIONS, "Time between gRPC keepalive pings.", "GRPC_KEEPALIVE_INTERVAL")
    ] = timedelta(seconds=30)
    keepalive_timeout: Annotated[
        timedelta,
        Option(CONNECTIONS, "A connection whose ping is not answered for so long is closed.", "GRPC_KEEPALIVE_TIMEOUT"),
    ] = timedelta(seconds=10)
    max_connection_age: Annotated[
        timedelta, Option(CONNECTIONS, "Connections are asked to reconnect after this; 0 for never.")
    ] = timedelta(minutes=30)
    max_connection_age_grace: Annotated[
        timedelta, Option(CONNECTIONS, "What an aged connection is given to finish.")
    ] = timedelta(seconds=10)
    max_receive_message_size: Annotated[
        int, Option(CONNECTIONS, "Largest request taken, in bytes.", "ISTIO_GPRC_MAXRECVMSGSIZE")
    ] = 32 * 1024 * 1024
    max_concurrent_streams: Annotated[
        int, Option(CONNECTIONS, "Most streams on one connection.", "ISTIO_GPRC_MAXSTREAMS")
    ] = 4_000
    new_streams_per_second: Annotated[
        float,
        Option(
            CONNECTIONS,
            "Most new streams in a second; 0 lets in as many as the program keeps up with.",
            "PILOT_MAX_REQUESTS_PER_SECOND",
        ),
    ] = 0.0
    sent_away_per_second: Annotated[
        float,
        Option(
            CONNECTIONS,
            "Most proxies in a second that are asked to connect anew where this replica has more than its share; 0 for"
            " none.",
        ),
    ] = 50.0
    peers: Annotated[
        str,
        Option(
            CONNECTIONS,
            "Monitoring ports (HOST:PORT) of the replicas that proxies are shared with, separated by commas; in a"
            " cluster by default those of the Service istiod, or istiod-REVISION.",
        ),
    ] = ""
    peer_interval: Annotated[
        timedelta, Option(CONNECTIONS, "Time between questions to these how many proxies each holds.")
    ] = timedelta(seconds=10)
    replica_weight: Annotated[
        float, Option(CONNECTIONS, "A replica of twice the weight holds twice as many proxies; they are told by it.")
    ] = 1.0
    drain_period: Annotated[
        timedelta, Option(CONNECTIONS, "When the control plane stops, its streams are ended one by one over this time.")
    ] = timedelta(seconds=10)

    log_level: Annotated[LogLevel, Option(LOGGING, "The least severe event that is logged.")] = LogLevel.INFO
    log_format: Annotated[
        LogFormat, Option(LOGGING, "auto is the console format on a terminal and JSON otherwise.")
    ] = LogFormat.AUTO

    def __post_init__(self) -> None:
        for name in ("xds_port", "secure_port", "webhook_port", "monitoring_port", "ready_port"):
            port = getattr(self, name)
            if port is not None and not 0 <= port < 1 << 16:
                raise ValueError(f"{flag(name)} must be a port number from 0 to 65535, not {port}")
        for setting in fields(self):
            value = getattr(self, setting.name)
            if isinstance(value, (int, float)) and value < 0:
                raise ValueError(f"{flag(setting.name)} must not be negative, and is {value}")
        for name in ("max_receive_message_size", "max_concurrent_streams", *(limit.name for limit in fields(Limits))):
            value = getattr(self, name)
            if isinstance(value, (int, float)) and value < 1:
                raise ValueError(f"{flag(name)} must be at least 1")
            if isinstance(value, timedelta) and value < timedelta(milliseconds=1):
                raise ValueError(f"{flag(name)} must be at least 1ms")
        for name in ("keepalive_interval", "keepalive_timeout", "peer_interval"):
            if getattr(self, name) < timedelta(milliseconds=1):
                raise ValueError(f"{flag(name)} must be at least 1ms")
        if self.holdoff > self.max_holdoff:
            raise ValueError(
                f"--holdoff ({format_duration(self.holdoff)}) must not be longer than"
                f" --max-holdoff ({format_duration(self.max_holdoff)})"
            )
        if self.config_dir is not None and not self.config_dir.is_dir():
            raise ValueError(f"--config-dir: {self.config_dir} is not a directory")
        self._check_ports()
        self._check_peers()
        self._check_kube_cluster()

    def _check_ports(self) -> None:
        if self.certificate_lifetime > self.max_certificate_lifetime:
            raise ValueError("--certificate-lifetime must not be longer than --max-certificate-lifetime")
        if self.config_dir is not None and self.secures and self.ca_dir is None and self.ca_server:
            raise ValueError("--secure-port and --webhook-port need --ca-dir where there is no cluster")
        if self.external_ca not in {"", KUBERNETES_API}:
            raise ValueError(f"--external-ca: {self.external_ca!r} is not known; there is {KUBERNETES_API}")
        if self.external_ca and (self.config_dir is not None or not self.ca_server):
            raise ValueError("--external-ca needs a cluster, and does not go with --no-ca-server")
        if self.external_ca and not self.csr_signer and not self.csr_signer_domain:
            raise ValueError("--external-ca needs --csr-signer or --csr-signer-domain: nobody would sign")
        if self.cert_provider != ISTIOD and not self.serving_signer:
            raise ValueError(
                f"--cert-provider: {self.cert_provider!r} is not known; there are {ISTIOD} and {SIGNER_PREFIX}SIGNER."
                " For files of somebody else's see --no-ca-server"
            )
        if self.serving_signer and not self.external_ca:
            raise ValueError(f"--cert-provider {self.cert_provider} needs --external-ca {KUBERNETES_API}")
        if self.ca_server and self.serving_dir is not None:
            raise ValueError("--serving-dir is of no use without --no-ca-server: the ports' certificate is signed here")
        if not self.plaintext and self.tls_port is None:
            raise ValueError("--no-plaintext leaves no port for proxies: --secure-port is needed too")

    def _check_peers(self) -> None:
        if not LIGHTEST <= self.replica_weight <= HEAVIEST:
            raise ValueError(f"--replica-weight must be from 0.000001 to 1000000, and is {self.replica_weight}")
        if not self.sent_away_per_second < math.inf:
            raise ValueError(f"--sent-away-per-second must be a number, and is {self.sent_away_per_second}")
        for address in self.peer_addresses:
            host, _, port = address.rpartition(":")
            if not host or not port.isascii() or not port.isdigit() or not 0 < int(port[:6]) < 1 << 16:
                raise ValueError(f"--peers: {address!r} is no HOST:PORT")

    def _check_kube_cluster(self) -> None:
        for name in ("kubeconfig", "context", "watch_namespaces", "untaint_nodes", "cni_namespace"):
            if self.config_dir is not None and getattr(self, name):
                raise ValueError(f"{flag(name)} is about a cluster, and --config-dir serves files instead of one")
        if _LABEL_VALUE.fullmatch(self.revision) is None:
            raise ValueError(f"--revision: {self.revision!r} cannot be the value of a label")
        for namespace in self.namespaces:
            if _NAMESPACE.fullmatch(namespace) is None:
                raise ValueError(f"--watch-namespaces: {namespace!r} cannot be the name of a namespace")

    @property
    def serving_signer(self) -> str:
        """The signer of Kubernetes that signs the certificate of the ports; empty if it is signed here."""
        return self.cert_provider.removeprefix(SIGNER_PREFIX) if self.cert_provider.startswith(SIGNER_PREFIX) else ""

    @property
    def tls_port(self) -> int | None:
        """The port of xDS over TLS, ``None`` where it is closed."""
        return self._port(self.secure_port, 15012)

    @property
    def https_port(self) -> int | None:
        """The port of the webhooks, ``None`` where it is closed."""
        return self._port(self.webhook_port, 15017)

    def _port(self, stated: int | None, in_cluster: int) -> int | None:
        return in_cluster if stated is None and self.config_dir is None else stated

    @property
    def secures(self) -> bool:
        """Whether any port needs a certificate."""
        return self.tls_port is not None or self.https_port is not None

    @property
    def namespaces(self) -> tuple[str, ...]:
        """The namespaces to read, sorted; all where there are none."""
        return _listed(self.watch_namespaces)

    @property
    def peer_addresses(self) -> tuple[str, ...]:
        """The monitoring ports in ``peers``, sorted."""
        return _listed(self.peers)

    @property
    def shares(self) -> bool:
        """Whether proxies are shared with other replicas, if there are any."""
        return self.sent_away_per_second > 0 and (self.config_dir is None or bool(self.peers))

    @property
    def xds_host(self) -> str:
        """The address that xDS listens on: ``xds_bind``, or the default for where configuration comes from."""
        if self.xds_bind:
            return self.xds_bind
        return "127.0.0.1" if self.config_dir is not None else "0.0.0.0"  # noqa: S104 - proxies are on other nodes

    @property
    def audiences(self) -> tuple[str, ...]:
        """The audiences of tokens that are accepted, sorted."""
        return _listed(self.token_audiences)

    @property
    def further_names(self) -> tuple[str, ...]:
        """Names of the serving certificate beside its own, sorted."""
        return _listed(self.serving_names)


def _listed(text: str) -> tuple[str, ...]:
    return tuple(sorted({part.strip() for part in text.split(",")} - {""}))
