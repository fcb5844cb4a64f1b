"""Secrets that are served over ADS, and how listeners and clusters ask for them by a credential's name."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from envoy.config.core.v3.base_pb2 import TransportSocket
from envoy.extensions.transport_sockets.proxy_protocol.v3.upstream_proxy_protocol_pb2 import (
    ProxyProtocolUpstreamTransport,
)
from envoy.extensions.transport_sockets.quic.v3.quic_transport_pb2 import QuicDownstreamTransport
from envoy.extensions.transport_sockets.tls.v3 import secret_pb2, tls_pb2
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import SdsSecretConfig

from controlplane.apis.mesh_providers import SdsProvider
from controlplane.engine.recording import Query
from controlplane.model.cluster_names import CREDENTIALS, outbound_name
from controlplane.model.credentials import KeyPair, TrustedRoots
from controlplane.model.secret_names import BUILTIN, CA_SUFFIX, INVALID, SDS, secret_name
from controlplane.registry.credentials import SecretKey, key_pair_of, roots_of
from controlplane.registry.store import View
from controlplane.snapshots import Resource, ResourceType
from controlplane.translate.tls_context import (
    AGENT_CLUSTER,
    FILES_CLUSTER,
    ROOT_CERTIFICATE,
    WORKLOAD_CERTIFICATE,
    ads_secret_config,
    grpc_secret_config,
    sds_secret_config,
)

_OF_THE_PROXY = frozenset({AGENT_CLUSTER, FILES_CLUSTER, ""})
"""Clusters that the proxy starts with."""
_CONTEXTS = (tls_pb2.DownstreamTlsContext, tls_pb2.UpstreamTlsContext)


def _secret(view: View, key: SecretKey) -> Resource | None:
    text = key.wanted.text
    if key.wanted.authority:
        roots = roots_of(view, key)
        message = _validation_context(text, roots) if roots is not None else None
    else:
        pair = key_pair_of(view, key)
        message = _tls_certificate(text, pair) if pair is not None else None
    if message is None:
        return None
    return Resource.of(ResourceType.SECRET, text, message.SerializeToString(deterministic=True))


secret: Query[SecretKey, Resource | None] = Query(_secret, isolated=True)
"""One secret, as it is in force; ``None`` where there is none that can be used."""
secret.name = "secret"


def _tls_certificate(name: str, pair: KeyPair) -> secret_pb2.Secret:
    """Return a key pair. Reference: envoy.extensions.transport_sockets.tls.v3.TlsCertificate."""
    message = secret_pb2.Secret(name=name)
    message.tls_certificate.certificate_chain.inline_bytes = pair.certificate_chain
    message.tls_certificate.private_key.inline_bytes = pair.private_key
    if pair.ocsp_staple:
        message.tls_certificate.ocsp_staple.inline_bytes = pair.ocsp_staple
    return message


def _validation_context(name: str, roots: TrustedRoots) -> secret_pb2.Secret:
    """Return what others are checked against; the names to be found there are the listener's or cluster's."""
    message = secret_pb2.Secret(name=name)
    message.validation_context.trusted_ca.inline_bytes = roots.certificates
    if roots.revoked is not None:
        message.validation_context.crl.inline_bytes = roots.revoked
    return message


def certificate_config(name: str, provider: SdsProvider | None = None, *, at_proxy: bool = False) -> SdsSecretConfig:
    """Say where the key pair of a credential comes from; ``provider`` is the mesh's server of secrets, if it counts.

    ``at_proxy``: a server of secrets beside the proxy is asked for those of ``sds://``, before any other.
    """
    if name.startswith(BUILTIN):
        return sds_secret_config(WORKLOAD_CERTIFICATE)
    return _named(name, "", provider, at_proxy=at_proxy)


def authority_config(name: str, provider: SdsProvider | None = None, *, at_proxy: bool = False) -> SdsSecretConfig:
    """Say where the roots that belong to a credential come from."""
    if name.startswith(BUILTIN):
        return sds_secret_config(ROOT_CERTIFICATE)
    return _named(name, CA_SUFFIX, provider, at_proxy=at_proxy)


def _named(name: str, suffix: str, provider: SdsProvider | None, *, at_proxy: bool) -> SdsSecretConfig:
    """Return where a secret comes from: one of ``sds://`` from the proxy's or the mesh's server of secrets, if any.

    The proxy's own is asked for the whole name, the mesh's for what is behind the scheme.
    """
    if name.startswith(INVALID):
        return ads_secret_config(INVALID)
    if name.startswith(SDS) and at_proxy:
        return grpc_secret_config(name + suffix, CREDENTIALS)
    if name.startswith(SDS) and provider is not None:
        cluster = outbound_name(provider.port, "", provider.service)
        return grpc_secret_config(f"{name.removeprefix(SDS)}{suffix}", cluster, provider.service)
    return ads_secret_config(secret_name(name) + suffix)


def referenced(sockets: Iterable[TransportSocket]) -> Mapping[ResourceType, frozenset[str]]:
    """Return what transport sockets refer to: secrets that come over ADS, and clusters of providers of secrets."""
    found: defaultdict[ResourceType, set[str]] = defaultdict(set)
    for socket in sockets:
        for config in _secret_configs(socket):
            source = config.sds_config
            if source.HasField("ads"):
                found[ResourceType.SECRET].add(config.name)
            for service in source.api_config_source.grpc_services:
                if (cluster := service.envoy_grpc.cluster_name) not in _OF_THE_PROXY:
                    found[ResourceType.CLUSTER].add(cluster)
    return {type_: frozenset(names) for type_, names in found.items()}


def _secret_configs(socket: TransportSocket) -> Iterable[SdsSecretConfig]:
    if socket.typed_config.Is(ProxyProtocolUpstreamTransport.DESCRIPTOR):
        outer = ProxyProtocolUpstreamTransport()
        socket.typed_config.Unpack(outer)
        return _secret_configs(outer.transport_socket)
    if socket.typed_config.Is(QuicDownstreamTransport.DESCRIPTOR):
        quic = QuicDownstreamTransport()
        socket.typed_config.Unpack(quic)
        return _asked_for(quic.downstream_tls_context.common_tls_context)
    context = next((each() for each in _CONTEXTS if socket.typed_config.Is(each.DESCRIPTOR)), None)
    if context is None:
        return ()
    socket.typed_config.Unpack(context)
    return _asked_for(context.common_tls_context)


def _asked_for(common: tls_pb2.CommonTlsContext) -> Iterable[SdsSecretConfig]:
    roots = (
        common.combined_validation_context.validation_context_sds_secret_config,
        common.validation_context_sds_secret_config,
    )
    return (*common.tls_certificate_sds_secret_configs, *(each for each in roots if each.name))
