"""TLS of a gateway's server: which certificate it shows, and what it asks of the caller."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from envoy.extensions.transport_sockets.tls.v3.common_pb2 import CertificateValidationContext, TlsParameters
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import SdsSecretConfig
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import CommonTlsContext, DownstreamTlsContext

from controlplane.apis.common import TLSProtocol
from controlplane.apis.mesh import TLSConfig
from controlplane.apis.mesh_providers import SdsProvider
from controlplane.apis.tls import ServerTLSMode, ServerTLSSettings
from controlplane.model.proxy_class import NO_FILES, FileCertificates
from controlplane.model.wanted_secrets import ASKS_CALLER, credentials
from controlplane.translate.secrets import authority_config, certificate_config
from controlplane.translate.tls_context import (
    FILE_CERTIFICATE,
    FILE_ROOT,
    PEER_EXCHANGE,
    ROOT_CERTIFICATE,
    WORKLOAD_CERTIFICATE,
    known_ciphers,
    known_curves,
    own_certificate,
    own_roots,
    sds_secret_config,
)

_ALPN = ("h2", "http/1.1")
_TLS_VERSIONS = {
    TLSProtocol.TLSV1_0: TlsParameters.TLSv1_0,
    TLSProtocol.TLSV1_1: TlsParameters.TLSv1_1,
    TLSProtocol.TLSV1_2: TlsParameters.TLSv1_2,
    TLSProtocol.TLSV1_3: TlsParameters.TLSv1_3,
}


@dataclass(frozen=True, slots=True)
class ServerDefaults:
    """What a server has beside its own settings.

    ``bounds`` are the mesh's ``tlsDefaults``, ``secrets`` is who has what ``sds://`` names. ``files`` are the proxy's
    own, in place of the mesh's certificates.
    """

    bounds: TLSConfig | None = None
    secrets: SdsProvider | None = None
    files: FileCertificates = NO_FILES


def server_tls_context(
    defaults: ServerDefaults, tls: ServerTLSSettings, *, http: bool, istio: bool
) -> DownstreamTlsContext:
    """Return how a server ends TLS. ``http``: what is inside is HTTP; only then is metadata not exchanged over TCP."""
    mutual = tls.mode in {ServerTLSMode.MUTUAL, ServerTLSMode.ISTIO_MUTUAL}
    context = DownstreamTlsContext()
    context.require_client_certificate.value = mutual
    common = context.common_tls_context
    exchanges = tls.mode is ServerTLSMode.ISTIO_MUTUAL and not http and istio
    common.alpn_protocols.extend((PEER_EXCHANGE, *_ALPN) if exchanges else _ALPN)
    if tls.mode is ServerTLSMode.ISTIO_MUTUAL:
        common.tls_certificate_sds_secret_configs.append(own_certificate(defaults.files))
        _combined(common, tls, own_roots(defaults.files))
        _revoke(common, tls)
        return context
    parameters = _parameters(defaults.bounds, tls)
    if parameters is not None:
        common.tls_params.CopyFrom(parameters)
    certificates = credentials(tls)
    if certificates:
        _credential_context(common, tls, certificates, defaults)
    else:
        _file_context(common, tls, apart=defaults.files.apart)
    return context


def _credential_context(
    common: CommonTlsContext, tls: ServerTLSSettings, names: Sequence[str], defaults: ServerDefaults
) -> None:
    """Use Secrets by name; the caller is checked against the first one's authority, or one named for it."""
    provider, at_proxy = defaults.secrets, defaults.files.credentials
    common.tls_certificate_sds_secret_configs.extend(
        certificate_config(name, provider, at_proxy=at_proxy) for name in names
    )
    if tls.mode in ASKS_CALLER:
        stated = tls.ca_cert_credential_name
        named = certificate_config if stated else authority_config
        roots = named(stated or names[0], provider, at_proxy=at_proxy)
        _combined(common, tls, roots)
    elif tls.subject_alt_names and (tls.verify_certificate_spki or tls.verify_certificate_hash):
        common.validation_context.CopyFrom(_validation(tls))  # without the names: Envoy refuses them without authority
        del common.validation_context.match_subject_alt_names[:]


def _file_context(common: CommonTlsContext, tls: ServerTLSSettings, *, apart: bool) -> None:
    """Use files at the proxy, which its agent reads; without any, the workload's own certificate."""
    files = [(each.server_certificate, each.private_key) for each in tls.tls_certificates]
    if tls.server_certificate:
        files.append((tls.server_certificate, tls.private_key))
    names = [f"{FILE_CERTIFICATE}{certificate}~{key}" for certificate, key in files]
    common.tls_certificate_sds_secret_configs.extend(
        sds_secret_config(name, apart=apart) for name in names or (WORKLOAD_CERTIFICATE,)
    )
    if tls.mode in ASKS_CALLER:
        root = f"{FILE_ROOT}{tls.ca_certificates}" if tls.ca_certificates else ROOT_CERTIFICATE
        _combined(common, tls, sds_secret_config(root, apart=apart))
        _revoke(common, tls)


def _revoke(common: CommonTlsContext, tls: ServerTLSSettings) -> None:
    """Check callers against a file of revoked certificates; with credentials the Secret has them."""
    if tls.ca_crl:
        common.combined_validation_context.default_validation_context.crl.filename = tls.ca_crl


def _combined(common: CommonTlsContext, tls: ServerTLSSettings, root: SdsSecretConfig) -> None:
    common.combined_validation_context.default_validation_context.CopyFrom(_validation(tls))
    common.combined_validation_context.validation_context_sds_secret_config.CopyFrom(root)


def _validation(tls: ServerTLSSettings) -> CertificateValidationContext:
    context = CertificateValidationContext(
        verify_certificate_spki=tls.verify_certificate_spki, verify_certificate_hash=tls.verify_certificate_hash
    )
    for name in tls.subject_alt_names:
        context.match_subject_alt_names.add(exact=name)
    if tls.insecure_skip_verify:
        context.trust_chain_verification = CertificateValidationContext.ACCEPT_UNTRUSTED
    return context


def _parameters(baseline: TLSConfig | None, tls: ServerTLSSettings) -> TlsParameters | None:
    """Return the bounds of the protocol, the server's over the mesh's ``tlsDefaults``; ``None`` without either."""
    lowest = tls.min_protocol_version
    ciphers, curves = known_ciphers(tls.cipher_suites), known_curves(tls.ecdh_curves)
    if baseline is not None:
        lowest = baseline.min_protocol_version if lowest is TLSProtocol.TLS_AUTO else lowest
        ciphers = ciphers or known_ciphers(baseline.cipher_suites)
        curves = curves or known_curves(baseline.ecdh_curves)
    parameters = TlsParameters(cipher_suites=ciphers, ecdh_curves=curves)
    if lowest in _TLS_VERSIONS:
        parameters.tls_minimum_protocol_version = _TLS_VERSIONS[lowest]
    if tls.max_protocol_version in _TLS_VERSIONS:
        parameters.tls_maximum_protocol_version = _TLS_VERSIONS[tls.max_protocol_version]
    return parameters if parameters.ByteSize() else None
