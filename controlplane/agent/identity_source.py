"""Where the workload's certificate comes from: an authority, files that somebody mounts, or somebody else's socket."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path

from controlplane.agent.certificate_files import PairFiles, RootFile
from controlplane.agent.control_plane import authority
from controlplane.agent.environment import StartError
from controlplane.agent.envoy_configuration.places import Places
from controlplane.agent.keys import KeyPolicy
from controlplane.agent.options import Options
from controlplane.agent.workload_certificate import CertificateClient, RenewalPolicy, WorkloadCertificate

CRL = Path("./var/run/secrets/istio/crl/ca-crl.pem")
_FOLDERS = (Path("./etc/certs"), Path("./var/run/secrets/workload-spiffe-credentials"))
_NAMES = ("cert-chain.pem", "key.pem", "root-cert.pem")
_GKE_NAMES = ("certificates.pem", "private_key.pem", "ca_certificates.pem")
_CONNECT_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class FromFiles:
    """Files hold the certificate; ``None`` where every file is named by what needs it."""

    pair: PairFiles | None
    root: RootFile | None


@dataclass(frozen=True, slots=True)
class FromAuthority:
    """An authority signs it."""

    certificate: WorkloadCertificate


@dataclass(frozen=True, slots=True)
class FromSocket:
    """Somebody else, a SPIFFE agent for example, serves it on the workload's socket."""


Source = FromFiles | FromAuthority | FromSocket


def identity_source(options: Options, places: Places) -> Source:
    """Find out. Files win over the authority, and a socket that answers over both.

    Raises:
        StartError: a socket is asked for by name and nobody answers there, or the provider is none that there is.
    """
    environment = options.environment
    named = places.secrets.name != "socket"
    if is_live(places.secrets):
        return FromSocket()
    if places.secrets.is_socket():
        places.secrets.unlink(missing_ok=True)
    if named:
        raise StartError(f"nobody serves secrets on {places.secrets}, which WORKLOAD_IDENTITY_SOCKET_FILE names")
    if environment.flag("FILE_MOUNTED_CERTS"):
        return FromFiles(None, None)
    provider = environment.text("CA_PROVIDER", "Citadel")
    if provider not in {"Citadel", "GkeWorkloadCertificate"}:
        raise StartError(f"CA_PROVIDER: {provider!r} is not known; there are Citadel and GkeWorkloadCertificate")
    output = environment.text("OUTPUT_CERTS")
    names = _GKE_NAMES if provider == "GkeWorkloadCertificate" else _NAMES
    for folder in _FOLDERS:
        files = [folder / name for name in names]
        is_output = bool(output) and Path(output).resolve() == folder.resolve()
        if not is_output and all(file.exists() for file in files):
            return FromFiles(PairFiles(files[0], files[1]), RootFile(files[2]))
    policy = RenewalPolicy.of(environment)
    signer = environment.text("ISTIO_META_CERT_SIGNER")
    client = CertificateClient(
        authority(options), options.workload.spiffe_id, KeyPolicy.of(environment), policy.lifetime, signer=signer
    )
    return FromAuthority(WorkloadCertificate(client, policy))


def revoked(options: Options) -> Path | None:
    """Return the file that revoked certificates are in, where there are any, if it is to be used."""
    return CRL if options.environment.flag("PILOT_ENABLE_CA_CRL", default=True) else None


def is_live(path: Path) -> bool:
    """Whether somebody listens on a Unix socket."""
    if not path.is_socket():
        return False
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(_CONNECT_SECONDS)
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True
