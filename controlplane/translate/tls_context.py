"""Where Envoy gets keys and certificates, and what it asks of a caller: shared TLS pieces.

Secrets of the workload itself (``default``, ``ROOTCA``, files on its disk) come from the agent beside the proxy, over
the static cluster ``sds-grpc``; secrets named by ``credentialName`` come from us, over ADS.
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

from controlplane.apis.mesh import MeshConfig

WORKLOAD_CERTIFICATE = "default"
ROOT_CERTIFICATE = "ROOTCA"
FILE_CERTIFICATE = "file-cert:"
FILE_ROOT = "file-root:"
AGENT_CLUSTER = "sds-grpc"
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


def typed(message: Message) -> Any:
    """Pack a message, always to the same bytes."""
    return Any(
        type_url=f"type.googleapis.com/{message.DESCRIPTOR.full_name}",
        value=message.SerializeToString(deterministic=True),
    )


@lru_cache(maxsize=1024)
def sds_secret_config(name: str) -> SdsSecretConfig:
    """Say where the agent's secret of this name comes from; the message is shared, to be copied from.

    ``default`` and ``ROOTCA`` are waited for without end: a proxy without its identity must not start half-way.
    Files may be missing, and Envoy gives up on those after its own default.
    """
    source = ConfigSource(
        api_config_source=ApiConfigSource(
            api_type=ApiConfigSource.GRPC,
            set_node_on_first_message_only=True,
            transport_api_version=ApiVersion.V3,
        ),
        resource_api_version=ApiVersion.V3,
    )
    source.api_config_source.grpc_services.add().envoy_grpc.cluster_name = AGENT_CLUSTER
    if not name.startswith((FILE_CERTIFICATE, FILE_ROOT)):
        source.initial_fetch_timeout.SetInParent()
    return SdsSecretConfig(name=name, sds_config=source)


def ads_secret_config(name: str) -> SdsSecretConfig:
    """Say that the secret of this name comes over ADS, from us."""
    source = ConfigSource(resource_api_version=ApiVersion.V3)
    source.ads.SetInParent()
    return SdsSecretConfig(name=name, sds_config=source)


def mesh_downstream_context(mesh: MeshConfig, alpn: Iterable[str]) -> DownstreamTlsContext:
    """Ask a caller for a certificate of the mesh: signed by its root, of one of its trust domains.

    The cipher list and the lower bound are the mesh's ``meshMTLS``. Reference: MeshConfig.meshMTLS.
    """
    common = CommonTlsContext(alpn_protocols=list(alpn))
    settings = mesh.mesh_mtls
    lowest = str(settings.min_protocol_version) if settings is not None else "TLS_AUTO"
    common.tls_params.CopyFrom(
        TlsParameters(
            tls_minimum_protocol_version=TlsParameters.TLSv1_3 if lowest == "TLSV1_3" else TlsParameters.TLSv1_2,
            tls_maximum_protocol_version=TlsParameters.TLSv1_3,
            cipher_suites=(settings.cipher_suites if settings is not None else ()) or MESH_CIPHERS,
        )
    )
    common.tls_certificate_sds_secret_configs.append(sds_secret_config(WORKLOAD_CERTIFICATE))
    combined = common.combined_validation_context
    combined.default_validation_context.SetInParent()
    for domain in trust_domains(mesh):
        combined.default_validation_context.match_subject_alt_names.add(prefix=f"spiffe://{domain}/")
    combined.validation_context_sds_secret_config.CopyFrom(sds_secret_config(ROOT_CERTIFICATE))
    context = DownstreamTlsContext(common_tls_context=common)
    context.require_client_certificate.value = True
    return context


def trust_domains(mesh: MeshConfig) -> tuple[str, ...]:
    """Return the trust domain, its aliases and those of further root certificates, each once."""
    further = (domain for each in mesh.ca_certificates for domain in each.trust_domains)
    return tuple(dict.fromkeys((mesh.trust_domain, *mesh.trust_domain_aliases, *further)))


def known_ciphers(stated: Iterable[str]) -> tuple[str, ...]:
    """Drop ciphers that Envoy would refuse the listener for, and repetitions."""
    return tuple(
        dict.fromkeys(name for name in stated if name in _CIPHERS or name in {"", "ALL"} or not name[:1].isalnum())
    )


def tls_socket(context: Message) -> TransportSocket:
    """Return the TLS transport socket with this context."""
    return TransportSocket(name="envoy.transport_sockets.tls", typed_config=typed(context))
