"""Upstream TLS: what the DestinationRule says, or mutual TLS where both ends can."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, lru_cache

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3 import base_pb2
from envoy.extensions.transport_sockets.raw_buffer.v3 import raw_buffer_pb2
from envoy.extensions.transport_sockets.tls.v3 import common_pb2, tls_pb2
from envoy.extensions.upstreams.http.v3.http_protocol_options_pb2 import HttpProtocolOptions as HttpOptions
from envoy.type.matcher.v3 import string_pb2

from controlplane.apis.destination_rule import ClientTLSMode, ClientTLSSettings
from controlplane.apis.mesh import MeshConfig
from controlplane.model.cluster_names import sni as auto_sni
from controlplane.model.proxy_class import NO_FILES, FileCertificates
from controlplane.model.service import Service, ServicePort
from controlplane.registry.destination_rules import Policy
from controlplane.translate.secrets import authority_config, certificate_config
from controlplane.translate.tls_context import (
    FILE_CERTIFICATE,
    FILE_ROOT,
    known_ciphers,
    known_curves,
    sds_secret_config,
    tls_socket,
)

RAW_BUFFER = "envoy.transport_sockets.raw_buffer"


@dataclass(frozen=True, slots=True)
class UpstreamTls:
    """The decision for one cluster: in plain text, or with the mutual TLS of the mesh, or as ``stated``.

    ``accounts`` are whom mutual TLS may lead to; ``auto`` marks mutual TLS that nobody asked for.
    """

    mutual: bool = False
    auto: bool = False
    sni: str = ""
    accounts: tuple[str, ...] = ()
    stated: ClientTLSSettings | None = None


def decide(  # noqa: PLR0913 - the inputs of one decision
    mesh: MeshConfig,
    service: Service,
    port: ServicePort,
    subset: str,
    policy: Policy,
    *,
    peers_disabled: bool,
    accounts: tuple[str, ...],
    files: FileCertificates = NO_FILES,
) -> UpstreamTls:
    """Return how to speak to this cluster. ``peers_disabled``: the servers are known not to accept mutual TLS.

    A client with ``files`` of its own uses them, whatever files a rule names.
    """
    name = auto_sni(port.number, subset, service.hostname)
    if policy.tls is not None:
        return _as_ruled(policy.tls, name, accounts, files)
    if service.mesh_external or not mesh.enable_auto_mtls or peers_disabled:
        return UpstreamTls()
    if files.chain:
        return UpstreamTls(stated=_by_own_files(files, name, accounts))
    return UpstreamTls(mutual=True, auto=True, sni=name, accounts=accounts)


def _as_ruled(
    settings: ClientTLSSettings, name: str, accounts: tuple[str, ...], files: FileCertificates
) -> UpstreamTls:
    if settings.mode is ClientTLSMode.DISABLE:
        return UpstreamTls()
    if files.chain and settings.mode is not ClientTLSMode.SIMPLE:
        return UpstreamTls(stated=_by_own_files(files, settings.sni, settings.subject_alt_names))
    if settings.mode is ClientTLSMode.ISTIO_MUTUAL:
        return UpstreamTls(mutual=True, sni=settings.sni or name, accounts=settings.subject_alt_names or accounts)
    return UpstreamTls(stated=settings)


def _by_own_files(files: FileCertificates, sni: str, names: tuple[str, ...]) -> ClientTLSSettings:
    return ClientTLSSettings(
        mode=ClientTLSMode.MUTUAL,
        client_certificate=files.chain,
        private_key=files.key,
        ca_certificates=files.root,
        subject_alt_names=names,
        sni=sni,
    )


def istio_mutual(decision: UpstreamTls, *, http2: bool, istio: bool) -> base_pb2.TransportSocket:
    """Return the mutual TLS socket of the mesh.

    A stock Envoy has no metadata exchange filter, so it must not offer ``istio-peer-exchange``: an istio-proxy
    server would answer with a preamble that nobody strips.
    """
    alpn = ["istio-peer-exchange", "istio"] if istio else ["istio"]
    common = _mesh_context((*alpn, "h2") if http2 else tuple(alpn), tuple(sorted(set(decision.accounts))))
    return tls_socket(tls_pb2.UpstreamTlsContext(sni=decision.sni, common_tls_context=common))


@lru_cache(maxsize=1024)
def _mesh_context(alpn: tuple[str, ...], accounts: tuple[str, ...]) -> tls_pb2.CommonTlsContext:
    """Return the part of a mutual TLS context that clusters of the same servers share, to be copied from."""
    common = tls_pb2.CommonTlsContext(alpn_protocols=alpn)
    _versions(common)
    common.tls_certificate_sds_secret_configs.append(sds_secret_config("default"))
    validation = common.combined_validation_context
    validation.default_validation_context.SetInParent()
    validation.default_validation_context.match_subject_alt_names.extend(exact_names(accounts))
    validation.validation_context_sds_secret_config.CopyFrom(sds_secret_config("ROOTCA"))
    return common


def exact_names(names: Iterable[str]) -> list[string_pb2.StringMatcher]:
    """Match server names of any type. Reference: CertificateValidationContext.match_subject_alt_names."""
    return [string_pb2.StringMatcher(exact=name) for name in names]


@cache
def raw_buffer() -> base_pb2.TransportSocket:
    """Return the plaintext socket; one message for all, to be copied from."""
    socket = base_pb2.TransportSocket(name=RAW_BUFFER)
    socket.typed_config.Pack(raw_buffer_pb2.RawBuffer())
    return socket


def _versions(common: tls_pb2.CommonTlsContext) -> None:
    common.tls_params.tls_minimum_protocol_version = common_pb2.TlsParameters.TLSv1_2
    common.tls_params.tls_maximum_protocol_version = common_pb2.TlsParameters.TLSv1_3


def stated_tls(  # noqa: PLR0913 - the inputs of one decision
    mesh: MeshConfig,
    settings: ClientTLSSettings,
    service: Service,
    options: HttpOptions | None,
    *,
    http2: bool,
    selected: bool,
    files: FileCertificates = NO_FILES,
) -> tuple[base_pb2.TransportSocket | None, HttpOptions | None]:
    """Return the socket for modes SIMPLE and MUTUAL, and the HTTP options with what SNI needs of them.

    ``selected``: the rule selects workloads; only then (or for a ConfigMap) does a sidecar honour ``credentialName``,
    else the cluster stays plaintext, as a certificate file that is missing leaves it. Ciphers and curves are those of
    the mesh's ``tlsDefaults``. ``files`` are the client's.
    """
    mode = str(settings.mode)
    credential = settings.credential_name or ""
    if credential and not (selected or credential.startswith("configmap://")):
        return None, options
    context = tls_pb2.UpstreamTlsContext(sni=settings.sni or "")
    common = context.common_tls_context
    _versions(common)
    if mesh.tls_defaults is not None:
        common.tls_params.cipher_suites.extend(known_ciphers(mesh.tls_defaults.cipher_suites))
        common.tls_params.ecdh_curves.extend(known_curves(mesh.tls_defaults.ecdh_curves))
    if http2:
        common.alpn_protocols.append("h2")
    stated = tuple(settings.subject_alt_names or ())
    insecure = bool(settings.insecure_skip_verify)
    if not settings.sni:
        options = options or HttpOptions()
        options.upstream_http_protocol_options.auto_sni = True
        if not stated and not insecure:
            options.upstream_http_protocol_options.auto_san_validation = True
    names = stated or (service.accounts if not service.kubernetes else ())
    if credential:
        _by_credential(common, credential, mode, names, insecure=insecure, at_proxy=files.credentials)
    elif not _by_files(common, settings, names, insecure=insecure, apart=files.apart):
        return None, options
    return tls_socket(context), options


def _by_credential(  # noqa: PLR0913 - the inputs of one decision
    common: tls_pb2.CommonTlsContext,
    credential: str,
    mode: str,
    names: tuple[str, ...],
    *,
    insecure: bool,
    at_proxy: bool,
) -> None:
    if mode == "MUTUAL":
        common.tls_certificate_sds_secret_configs.append(certificate_config(credential, at_proxy=at_proxy))
    if insecure:
        return
    validation = common.combined_validation_context
    validation.default_validation_context.SetInParent()
    validation.default_validation_context.match_subject_alt_names.extend(exact_names(names))
    validation.validation_context_sds_secret_config.CopyFrom(authority_config(credential, at_proxy=at_proxy))


def _by_files(
    common: tls_pb2.CommonTlsContext,
    settings: ClientTLSSettings,
    names: tuple[str, ...],
    *,
    insecure: bool,
    apart: bool,
) -> bool:
    if settings.mode is ClientTLSMode.MUTUAL:
        if not settings.client_certificate or not settings.private_key:
            return False
        name = f"{FILE_CERTIFICATE}{settings.client_certificate}~{settings.private_key}"
        common.tls_certificate_sds_secret_configs.append(sds_secret_config(name, apart=apart))
    if insecure:
        common.validation_context.SetInParent()
        return True
    validation = common.combined_validation_context
    validation.default_validation_context.SetInParent()
    validation.default_validation_context.match_subject_alt_names.extend(exact_names(names))
    if settings.ca_crl:
        validation.default_validation_context.crl.filename = settings.ca_crl
    root = settings.ca_certificates or "system"
    roots = sds_secret_config(f"{FILE_ROOT}{root}", apart=apart)
    validation.validation_context_sds_secret_config.CopyFrom(roots)
    return True


def put_auto_mutual(cluster: Cluster, socket: base_pb2.TransportSocket) -> None:
    """Offer mutual TLS to endpoints that carry ``tlsMode: istio``, plaintext to the others."""
    match = cluster.transport_socket_matches.add(name="tlsMode-istio")
    match.match.fields["tlsMode"].string_value = "istio"
    match.transport_socket.CopyFrom(socket)
    match = cluster.transport_socket_matches.add(name="tlsMode-disabled")
    match.match.SetInParent()
    match.transport_socket.CopyFrom(raw_buffer())
