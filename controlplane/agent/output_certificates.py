"""Writes the workload's certificate to files, where ``OUTPUT_CERTS`` asks for that: the only way a key meets a disk."""

from __future__ import annotations

import os
from pathlib import Path

import structlog

from controlplane.agent.environment import Environment
from controlplane.agent.secrets import CERTIFICATE, ROOT, Secrets

NAMES = ("cert-chain.pem", "key.pem", "root-cert.pem")

log = structlog.get_logger(__name__)


class OutputCertificates:
    """Three files in a folder, each replaced in one moment when it changes."""

    def __init__(self, folder: Path, mode: int, secrets: Secrets) -> None:
        self._folder = folder
        self._mode = mode
        self._secrets = secrets

    @classmethod
    def of(cls, environment: Environment, secrets: Secrets) -> OutputCertificates | None:
        """Return it where it is asked for. In a pod others may read the files: they share a volume with the proxy."""
        folder = environment.text("OUTPUT_CERTS")
        mode = 0o644 if environment.text("KUBERNETES_SERVICE_HOST") else 0o600
        return cls(Path(folder), mode, secrets) if folder else None

    def write(self) -> None:
        """Write what there is and has changed; what cannot be written is logged, and tried again at the next change."""
        certificate, root = self._secrets.find(CERTIFICATE), self._secrets.find(ROOT)
        if certificate is None or root is None:
            return
        pair = certificate.tls_certificate
        contents = (
            pair.certificate_chain.inline_bytes,
            pair.private_key.inline_bytes,
            root.validation_context.trusted_ca.inline_bytes,
        )
        for name, content in zip(NAMES, contents, strict=True):
            path = self._folder / name
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
                if not path.exists() or path.read_bytes() != content:
                    self._replace(path, content)
            except OSError as error:
                log.warning("agent.certificate_not_written", path=str(path), reason=str(error))

    def _replace(self, path: Path, content: bytes) -> None:
        unfinished = path.with_suffix(".unfinished")
        unfinished.unlink(missing_ok=True)
        with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, self._mode), "wb") as file:
            os.fchmod(file.fileno(), self._mode)  # whatever the umask
            file.write(content)
        unfinished.replace(path)
