"""How the agent reaches the control plane: address, trust, and what it shows to be let in.

Files are read anew for each connection, and the token for each call: the kubelet replaces them while the agent runs.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import grpc.aio

from controlplane.agent.addresses import TcpAddress
from controlplane.agent.environment import Environment, StartError
from controlplane.agent.options import Options
from controlplane.model.certificate_text import certified_key, first

TOKEN = Path("./var/run/secrets/tokens/istio-token")
SYSTEM = "SYSTEM"
PLAINTEXT_PORT = 15010
_CONNECT_MS = 5000
_MOUNTED_ROOT = Path("./etc/certs/root-cert.pem")
_CONFIG_MAP_ROOT = Path("./var/run/secrets/istio/root-cert.pem")
_PROVIDER = "PILOT_CERT_PROVIDER"
_LOCAL_NAME = "istiod.istio-system.svc"
_SYSTEM_ROOTS = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
    "/usr/local/etc/ssl/cert.pem",
)


class UnreachableError(Exception):
    """No connection can be made now: a file is missing or of no use. The text names it."""


@dataclass(frozen=True, slots=True)
class ClientPair:
    """The files of a client certificate."""

    chain: Path
    key: Path


@dataclass(frozen=True, slots=True)
class Peer:
    """One port of the control plane, and how it is spoken to.

    ``root`` is the file of roots that may vouch for it, ``None`` means plaintext. ``server_name`` is the name that its
    certificate must have. ``headers`` go with each call; the token only over TLS.
    """

    address: TcpAddress
    root: Path | None
    server_name: str
    client: ClientPair | None
    headers: tuple[tuple[str, str], ...]
    keepalive: timedelta
    keepalive_timeout: timedelta

    def channel(self) -> grpc.aio.Channel:
        """Return a new connection, which is made when something is called. Raises ``UnreachableError``."""
        options: list[tuple[str, int | str]] = [
            ("grpc.use_local_subchannel_pool", 1),  # its own connection, without another's back-off
            ("grpc.max_receive_message_length", -1),
            ("grpc.max_send_message_length", -1),
            ("grpc.keepalive_time_ms", int(self.keepalive.total_seconds() * 1000)),
            ("grpc.keepalive_timeout_ms", int(self.keepalive_timeout.total_seconds() * 1000)),
            ("grpc.http2.max_pings_without_data", 0),
            ("grpc.enable_http_proxy", 0),
            ("grpc.min_reconnect_backoff_ms", _CONNECT_MS),  # also how long one attempt to connect may take
        ]
        target = f"dns:///{self.address}"
        if self.root is None:
            return grpc.aio.insecure_channel(target, options)
        options.append(("grpc.ssl_target_name_override", self.server_name))
        key, chain = self._client_pair() or (None, None)
        return grpc.aio.secure_channel(target, grpc.ssl_channel_credentials(_read(self.root), key, chain), options)

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """Return what goes with a call: the headers, and the token there is now, unless a certificate is shown."""
        if self.root is None or self._client_pair() is not None:
            return self.headers
        try:
            token = TOKEN.read_text(encoding="utf-8").strip()
        except OSError:
            return self.headers
        return (*self.headers, ("authorization", f"Bearer {token}"))

    def _client_pair(self) -> tuple[bytes, bytes] | None:
        """Return key and chain of the client certificate; nothing where there is none that is valid and can be read."""
        if self.client is None:
            return None
        try:
            key, chain = self.client.key.read_bytes(), self.client.chain.read_bytes()
            certificate = first(chain)
            certified_key(certificate)
            if certificate.not_valid_after_utc <= datetime.now(UTC):
                return None
        except (OSError, ValueError):
            return None
        return key, chain


def _read(path: Path) -> bytes:
    """Return roots. Raises ``UnreachableError``."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UnreachableError(f"the roots in {path} cannot be read: {error.strerror}") from None
    if b"-----BEGIN CERTIFICATE-----" not in content:
        raise UnreachableError(f"{path} has no certificate")
    return content


def system_roots() -> Path:
    """Return the file of the roots that the operating system trusts. Raises ``StartError``."""
    for text in (ssl.get_default_verify_paths().cafile, *_SYSTEM_ROOTS):
        if text and Path(text).exists():
            return Path(text)
    raise StartError("the operating system has no file of trusted roots")


def discovery(options: Options) -> Peer:
    """Return where configuration comes from. Raises ``StartError`` where its root is missing."""
    config, environment = options.config, options.environment
    address = config.discovery_address
    root = None if config.plaintext else _root(environment, "XDS_ROOT_CA", _roots_of_configuration(options))
    return _peer(options, address, root, environment.text("ISTIOD_SAN"), "XDS_HEADER_")


def authority(options: Options) -> Peer:
    """Return who signs certificates; port 15010 is plaintext. Raises ``StartError`` where its root is missing."""
    environment = options.environment
    text = environment.text("CA_ADDR")
    try:
        address = TcpAddress.parse(text) if text else options.config.discovery_address
    except ValueError as error:
        raise StartError(f"CA_ADDR: {error}") from None
    name = "" if text else environment.text("ISTIOD_SAN")
    plaintext = address.port == PLAINTEXT_PORT
    root = None if plaintext else _root(environment, "CA_ROOT_CA", _roots_of_authority(environment))
    return _peer(options, address, root, name, "CA_HEADER_")


def _peer(options: Options, address: TcpAddress, root: Path | None, name: str, prefix: str) -> Peer:
    environment = options.environment
    if (fetcher := environment.text("CREDENTIAL_FETCHER_TYPE", "JWT")) != "JWT":
        raise StartError(f"CREDENTIAL_FETCHER_TYPE: {fetcher!r} is not known; there is JWT, the token in {TOKEN}")
    local = "localhost" in address.host
    headers = [(header.lower(), value) for header, value in environment.starting(prefix)]
    if cluster := environment.text("ISTIO_META_CLUSTER_ID") or options.config.metadata.get("ISTIO_META_CLUSTER_ID"):
        headers.append(("clusterid", cluster))
    return Peer(
        address=address,
        root=root,
        server_name=name or (_LOCAL_NAME if local else address.host),
        client=_client(options),
        headers=tuple(headers),
        keepalive=environment.duration("GRPC_KEEPALIVE_INTERVAL", timedelta(seconds=30)),
        keepalive_timeout=environment.duration("GRPC_KEEPALIVE_TIMEOUT", timedelta(seconds=10)),
    )


def _client(options: Options) -> ClientPair | None:
    """Return the certificate that is shown instead of a token, if there is to be one. Raises ``StartError``."""
    if options.environment.text("PROV_CERT") and options.environment.flag("FILE_MOUNTED_CERTS"):
        raise StartError("PROV_CERT and FILE_MOUNTED_CERTS name two certificates to show; only one of them can be set")
    if folder := options.environment.text("PROV_CERT"):
        return ClientPair(Path(folder, "cert-chain.pem"), Path(folder, "key.pem"))
    if options.environment.flag("FILE_MOUNTED_CERTS"):
        said = options.config.metadata
        chain, key = said.get("ISTIO_META_TLS_CLIENT_CERT_CHAIN"), said.get("ISTIO_META_TLS_CLIENT_KEY")
        return ClientPair(Path(chain), Path(key)) if chain and key else None
    return None


def _file_mounted_root(options: Options) -> Path | None:
    if not options.environment.flag("FILE_MOUNTED_CERTS"):
        return None
    said = options.config.metadata.get("ISTIO_META_TLS_CLIENT_ROOT_CERT")
    return Path(said) if said else None


def _roots_of_configuration(options: Options) -> Iterator[Path]:
    """Yield the files that may hold the roots of who serves configuration, the preferred first."""
    if (named := _file_mounted_root(options)) is not None:
        yield named
    yield _MOUNTED_ROOT
    yield from _given_roots(options.environment)


def _roots_of_authority(environment: Environment) -> Iterator[Path]:
    """Yield the files that may hold the roots of who signs, the preferred first."""
    if environment.text(_PROVIDER) != "custom":
        yield from _given_roots(environment)
    yield _MOUNTED_ROOT


def _given_roots(environment: Environment) -> Iterator[Path]:
    if folder := environment.text("PROV_CERT"):
        yield Path(folder, "root-cert.pem")
    if environment.text(_PROVIDER) != "none":  # whoever signs for the control plane, its roots are given out there
        yield _CONFIG_MAP_ROOT


def _root(environment: Environment, variable: str, usual: Iterator[Path]) -> Path:
    """Return the file of roots. Raises ``StartError``: without it nobody could be trusted."""
    said = environment.text(variable)
    if said == SYSTEM:
        return system_roots()
    paths = [Path(said)] if said else list(usual)
    for path in paths:
        if path.exists():
            return path
    looked = ", ".join(map(str, paths))
    raise StartError(f"no root certificate of the control plane is at {looked}; name one with {variable}")
