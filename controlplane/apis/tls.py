"""TLS as a server: what Gateway servers and Sidecar ingress listeners share."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from controlplane.apis.common import ApiModel, Bool, TLSProtocol, at_most_one


class ServerTLSMode(StrEnum):
    """TLS of a server; the passthrough modes leave it to the service."""

    PASSTHROUGH = "PASSTHROUGH"
    SIMPLE = "SIMPLE"
    MUTUAL = "MUTUAL"
    AUTO_PASSTHROUGH = "AUTO_PASSTHROUGH"
    ISTIO_MUTUAL = "ISTIO_MUTUAL"
    OPTIONAL_MUTUAL = "OPTIONAL_MUTUAL"


class TLSCertificate(ApiModel):
    """One certificate with its key, as paths at the proxy."""

    server_certificate: str = ""
    private_key: str = ""
    ca_certificates: str = ""


class ServerTLSSettings(ApiModel):
    """TLS of a server; files are paths at the proxy, credential names are Secrets."""

    https_redirect: Bool = False
    mode: ServerTLSMode = ServerTLSMode.PASSTHROUGH
    server_certificate: str = ""
    private_key: str = ""
    ca_certificates: str = ""
    ca_crl: str = ""
    credential_name: str = ""
    credential_names: Annotated[tuple[str, ...], Field(min_length=1, max_length=2)] = ()
    ca_cert_credential_name: str = ""
    tls_certificates: Annotated[tuple[TLSCertificate, ...], Field(min_length=1, max_length=2)] = ()
    subject_alt_names: tuple[str, ...] = ()
    verify_certificate_spki: tuple[str, ...] = ()
    verify_certificate_hash: tuple[str, ...] = ()
    min_protocol_version: TLSProtocol = TLSProtocol.TLS_AUTO
    max_protocol_version: TLSProtocol = TLSProtocol.TLS_AUTO
    cipher_suites: tuple[str, ...] = ()
    ecdh_curves: tuple[str, ...] = ()
    insecure_skip_verify: Bool | None = None

    _names_or_files = at_most_one(
        "tls_certificates", "credential_names", reason="only one of credentialNames or tlsCertificates can be set"
    )
    _one_name = at_most_one(
        "credential_name", "credential_names", reason="only one of credentialName or credentialNames can be set"
    )
