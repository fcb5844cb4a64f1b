"""Asks the API server, as a pod does: with the token and the authority that are mounted into it."""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from controlplane.documents.json_reader import json_value
from controlplane.documents.limits import UnreadableError

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_TIMEOUT_SECONDS = 10
_LARGEST = 64 << 20
Json = dict[str, Any]


class ApiError(Exception):
    """The API server gave no answer, or refused; ``status`` is 0 where there was none."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Api:
    """An API server; ``account`` is the folder of a token and an authority. Usable by several threads."""

    host: str
    port: int
    account: Path = ACCOUNT

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Api:
        """Return the one of the cluster that this runs in.

        Raises:
            ApiError: this is no pod.
        """
        try:
            return cls(environment["KUBERNETES_SERVICE_HOST"], int(environment["KUBERNETES_SERVICE_PORT"]))
        except (KeyError, ValueError) as error:
            raise ApiError(f"this is no pod of Kubernetes: {error}") from error

    def pod(self, namespace: str, name: str) -> Json:
        """Return a pod. Raises ``ApiError``."""
        return self._ask("GET", _pod(namespace, name))

    def pods_of(self, node: str) -> list[Json]:
        """Return all pods of a node, as the API server remembers them. Raises ``ApiError``."""
        query = urlencode({"fieldSelector": f"spec.nodeName={node}", "resourceVersion": "0"})
        items: list[Json] = self._ask("GET", f"/api/v1/pods?{query}").get("items") or []
        return items

    def delete(self, namespace: str, name: str, uid: str) -> None:
        """Delete a pod, if it is still this one. Raises ``ApiError``."""
        self._ask("DELETE", _pod(namespace, name), {"preconditions": {"uid": uid}})

    def label(self, namespace: str, name: str, labels: Mapping[str, str]) -> None:
        """Put labels on a pod. Raises ``ApiError``."""
        self._ask("PATCH", _pod(namespace, name), {"metadata": {"labels": dict(labels)}})

    def create_event(self, namespace: str, event: Json) -> None:
        """Record an event. Raises ``ApiError``."""
        self._ask("POST", f"/api/v1/namespaces/{quote(namespace)}/events", event)

    def _ask(self, method: str, path: str, body: Json | None = None) -> Json:
        try:
            status, text = self._answer(method, path, body)
            answer = json_value(text, limit=_LARGEST)
        except (OSError, http.client.HTTPException, UnreadableError) as error:
            raise ApiError(f"{method} {path}: {error}") from error
        if status >= HTTPStatus.BAD_REQUEST or not isinstance(answer, dict):
            said = answer.get("message") if isinstance(answer, dict) else ""
            raise ApiError(f"{method} {path}: {status} {said or ''}".rstrip(), status)
        return answer

    def _answer(self, method: str, path: str, body: Json | None) -> tuple[int, bytes]:
        context = ssl.create_default_context(cafile=str(self.account / "ca.crt"))
        token = (self.account / "token").read_text(encoding="utf-8").strip()  # anew each time: it is renewed
        headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
        if body is not None:
            kind = "application/strategic-merge-patch+json" if method == "PATCH" else "application/json"
            headers["Content-Type"] = kind
        connection = http.client.HTTPSConnection(self.host, self.port, timeout=_TIMEOUT_SECONDS, context=context)
        try:
            connection.request(method, path, json.dumps(body) if body is not None else None, headers)
            answer = connection.getresponse()
            return answer.status, answer.read(_LARGEST)
        finally:
            connection.close()


def _pod(namespace: str, name: str) -> str:
    return f"/api/v1/namespaces/{quote(namespace)}/pods/{quote(name)}"
