"""Where Envoy gets keys and certificates, and what it asks of a caller: shared TLS pieces.

Secrets of the workload itself (``default``, ``ROOTCA``, files on its disk) come from the agent beside the proxy, over
the static cluster ``sds-grpc``; secrets named by ``credentialName`` come from us, over ADS, or from a provider. Where
another program has the workload's certificates, the agent only reads files, over the static cluster ``sds-files-grpc``.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from envoy.config.core.v3.base_pb2 import TransportSocket
from envoy.config.core.v3.config_source_pb2 import ApiConfigSource, ApiVersion, ConfigSource
from envoy.extensions.transport_sockets.tls.v3.common_pb2 import TlsParameters
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import SdsSecretConfig
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import CommonTlsContext, DownstreamTlsContext
from google.protobuf.any_pb2 import Any
from google.protobuf.message import Message

from controlplane.model.proxy_class import NO_FILES, FileCertificates
from controlplane.registry.mesh import PeerTls

WORKLOAD_CERTIFICATE = "default"
ROOT_CERTIFICATE = "ROOTCA"
FILE_CERTIFICATE = "file-cert:"
FILE_ROOT = "file-root:"
AGENT_CLUSTER = "sds-grpc"
FILES_CLUSTER = "sds-files-grpc"
PEER_EXCHANGE = "istio-peer-exchange"
MESH_CIPHERS = (
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "AES256-GCM-SHA384",
    "AES128-GCM-SHA256",
)

_CIPHERS = frozenset(
    {f"ECDHE-{key}-AES{bits}-SHA" for key in ("ECDSA", "RSA") for bits in (128, 256)}
    | {f"ECDHE-{key}-CHACHA20-POLY1305" for key in ("ECDSA", "RSA")}
    | {f"ECDHE-{key}-{cipher}" for key in ("ECDSA", "RSA") for cipher in ("AES128-GCM-SHA256", "AES256-GCM-SHA384")}
    | {"AES128-GCM-SHA256", "AES256-GCM-SHA384", "AES128-SHA", "AES256-SHA", "DES-CBC3-SHA"}
)
_CURVES = {name: name for name in ("P-256", "P-384", "P-521", "X25519", "X25519MLKEM768", "MLKEM1024")} | {
    "prime256v1": "P-256",
    "secp384r1": "P-384",
    "secp521r1": "P-521",
    "x25519": "X25519",
}
"""The curves that Envoy knows, by each of their names."""


def typed(message: Message) -> Any:
    """Pack a message, always to the same bytes."""
    return Any(
        type_url=f"type.googleapis.com/{message.DESCRIPTOR.full_name}",
        value=message.SerializeToString(deterministic=True),
    )


@lru_cache(maxsize=1024)
def sds_secret_config(name: str, *, apart: bool = False) -> SdsSecretConfig:
    """Say where the agent's secret of this name comes from; the message is shared, to be copied from.

    ``default`` and ``ROOTCA`` are waited for without end: a proxy without its identity must not start half-way.
    Files may be missing, and Envoy gives up on those after its own default. ``apart`` is as in ``FileCertificates``.
    """
    if name.startswith((FILE_CERTIFICATE, FILE_ROOT)):
        return grpc_secret_config(name, FILES_CLUSTER if apart else AGENT_CLUSTER)
    config = grpc_secret_config(name, AGENT_CLUSTER)
    config.sds_config.initial_fetch_timeout.SetInParent()
    return config


def own_certificate(files: FileCertificates) -> SdsSecretConfig:
    """Say where a server's certificate comes from: its files, if it has both, else it is the mesh's."""
    stated = f"{FILE_CERTIFICATE}{files.chain}~{files.key}" if files.chain and files.key else WORKLOAD_CERTIFICATE
    return sds_secret_config(stated, apart=files.apart)


def own_roots(files: FileCertificates) -> SdsSecretConfig:
    """Say where the roots come from that a server checks its callers against."""
    return sds_secret_config(f"{FILE_ROOT}{files.root}" if files.root else ROOT_CERTIFICATE, apart=files.apart)


def grpc_secret_config(name: str, cluster: str, authority: str = "") -> SdsSecretConfig:
    """Say that the secret of this name comes from the SDS server behind a cluster."""
    source = ConfigSource(
        api_config_source=ApiConfigSource(
            api_type=ApiConfigSource.GRPC,
            set_node_on_first_message_only=True,
            transport_api_version=ApiVersion.V3,
        ),
        resource_api_version=ApiVersion.V3,
    )
    service = source.api_config_source.grpc_services.add().envoy_grpc
    service.cluster_name, service.authority = cluster, authority
    return SdsSecretConfig(name=name, sds_config=source)


def ads_secret_config(name: str) -> SdsSecretConfig:
    """Say that the secret of this name comes over ADS, from us."""
    source = ConfigSource(resource_api_version=ApiVersion.V3)
    source.ads.SetInParent()
    return SdsSecretConfig(name=name, sds_config=source)


def mesh_downstream_context(
    tls: PeerTls, alpn: Iterable[str], files: FileCertificates = NO_FILES
) -> DownstreamTlsContext:
    """Ask a caller for a certificate of the mesh: signed by its root, of one of its trust domains.

    The cipher list and the lower bound are the mesh's ``meshMTLS``. Reference: MeshConfig.meshMTLS.
    """
    common = CommonTlsContext(alpn_protocols=list(alpn))
    settings = tls.bounds
    lowest = str(settings.min_protocol_version) if settings is not None else "TLS_AUTO"
    common.tls_params.CopyFrom(
        TlsParameters(
            tls_minimum_protocol_version=TlsParameters.TLSv1_3 if lowest == "TLSV1_3" else TlsParameters.TLSv1_2,
            tls_maximum_protocol_version=TlsParameters.TLSv1_3,
            cipher_suites=known_ciphers(settings.cipher_suites if settings is not None else ()) or MESH_CIPHERS,
        )
    )
    common.tls_certificate_sds_secret_configs.append(own_certificate(files))
    combined = common.combined_validation_context
    combined.default_validation_context.SetInParent()
    for domain in tls.domains:
        combined.default_validation_context.match_subject_alt_names.add(prefix=f"spiffe://{domain}/")
    combined.validation_context_sds_secret_config.CopyFrom(own_roots(files))
    context = DownstreamTlsContext(common_tls_context=common)
    context.require_client_certificate.value = True
    return context


def tls_socket(context: Message) -> TransportSocket:
    """Return the TLS transport socket with this context."""
    return TransportSocket(name="envoy.transport_sockets.tls", typed_config=typed(context))


def known_ciphers(stated: Iterable[str]) -> tuple[str, ...]:
    """Drop ciphers that Envoy would refuse the whole resource for, and repetitions.

    A name may have an operator before it (``-``, ``!``, ``+``), and names of equal rank may stand in brackets
    (``[A|B]``). A list that leaves nothing to choose from is empty.
    """
    known = tuple(dict.fromkeys(name for name in stated if _is_known(name)))
    removed = {name[1:] for name in known if name.startswith(("-", "!"))}
    left = {name for name in known if name and name[0] not in "-!+"} - removed
    return known if left and "ALL" not in removed else ()


def _is_known(cipher: str) -> bool:
    if cipher.startswith("[") and cipher.endswith("]"):
        return all(name in _CIPHERS for name in cipher[1:-1].split("|"))
    return cipher.lstrip("-!+") in _CIPHERS | {"", "ALL"}


def known_curves(stated: Iterable[str]) -> tuple[str, ...]:
    """Drop curves that Envoy would refuse the whole resource for, and repetitions, by whatever name."""
    return tuple({_CURVES[name]: name for name in reversed(tuple(stated)) if name in _CURVES}.values())[::-1]
