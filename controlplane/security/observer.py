"""What somebody who counts may want to hear of, as it happens."""

from __future__ import annotations


class SecurityObserver:
    """Is told of requests for certificates; this one ignores them all. Calls must not fail or wait."""

    def requested(self) -> None:
        """A request came (istiod's ``citadel_server_csr_count``)."""

    def unauthenticated(self) -> None:
        """Its caller was not identified (``citadel_server_authentication_failure_count``)."""

    def not_signed(self, error: str) -> None:
        """It was refused: ``CSR_ERROR``, ``TTL_ERROR``, ``CERT_GEN_ERROR`` (``citadel_server_csr_sign_err_count``)."""

    def not_read(self) -> None:
        """It was none, or of no use (``citadel_server_csr_parsing_err_count``)."""

    def not_its_own(self) -> None:
        """Its sender asked for somebody else's names (``citadel_server_id_extraction_err_count``)."""

    def signed(self) -> None:
        """It was answered with a certificate (``citadel_server_success_cert_issuance_count``)."""
