"""The ways in which a request to the API server fails, as values that callers match."""

from __future__ import annotations


class ConfigurationError(RuntimeError):
    """There is no usable way to the cluster; the message is a sentence for the user."""


class NoClusterError(ConfigurationError):
    """Nothing names a cluster: no kubeconfig, and no pod's service account."""


class UnreachableError(Exception):
    """No answer, or one that broke off: the network or the server. The message says how."""


class NonsenseError(UnreachableError):
    """An answer that no API server gives; the message says what it is."""

    def __init__(self, what: str) -> None:
        super().__init__(f"what answers is not an API server: {what}")


class RefusedError(Exception):
    """The server answered, and the answer is no.

    ``code`` is the HTTP status, ``retry_after_seconds`` what the server asks for (0 where it asks for nothing).
    """

    def __init__(self, code: int, message: str, retry_after_seconds: float = 0.0) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.retry_after_seconds = retry_after_seconds

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"
