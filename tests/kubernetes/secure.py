"""The program as a process with the rights of ``deploy/``, and clients of its secure port."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Self

import grpc
import pytest
from envoy.config.core.v3.base_pb2 import Node
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest, DiscoveryResponse

from controlplane.messages.istio_auth_pb2 import IstioCertificateRequest, IstioCertificateResponse
from controlplane.security.certificate_service import CREATE_CERTIFICATE
from tests.cluster.api_server import ApiServer
from tests.cluster.daemon import Daemon
from tests.feature.client import CDS
from tests.patience import PATIENCE_SECONDS

DEPLOY = Path(__file__).parents[2] / "deploy"
SYSTEM, ACCOUNT = "istio-system", "istiod"
SDS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
SOTW = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources"


def account_token(cluster: ApiServer, namespace: str, *options: str) -> str:
    """Return a token of a namespace's default account, for ``istio-ca`` unless the options say otherwise."""
    return cluster.kubectl(
        "-n", namespace, "create", "token", "default", *(options or ("--audience=istio-ca",))
    ).strip()


def roots_of(cluster: ApiServer, namespace: str) -> str:
    """Return the roots that a namespace's workloads trust (PEM); empty where there are none."""
    template = r"jsonpath={.data.root-cert\.pem}"
    return cluster.kubectl("-n", namespace, "get", "cm", "istio-ca-root-cert", "--ignore-not-found", "-o", template)


class ControlPlane:
    """The program, with the token of its service account in ``deploy/``."""

    def __init__(
        self, cluster: ApiServer, folder: Path, *options: str, environment: Mapping[str, str] | None = None
    ) -> None:
        """Prepare it; ``options`` are of ``serve``, and ``environment`` adds to what it finds there."""
        token = cluster.kubectl("-n", SYSTEM, "create", "token", ACCOUNT).strip()
        kubeconfig = cluster.write_kubeconfig(folder / "control-plane.kubeconfig", token)
        command = [sys.executable, "-m", "controlplane", "serve", "--kubeconfig", str(kubeconfig)]
        command += ["--xds-port=0", "--secure-port=0", "--webhook-port=0", "--monitoring-port=0", *options]
        variables = {"PYTHONPATH": str(DEPLOY.parent), "PATH": "/usr/bin:/bin", "POD_NAME": "istiod-7d4f"}
        self._process = Daemon("controlplane", command, folder, environment=variables | dict(environment or {}))

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run it; stopped politely, it lets go of what it holds."""
        self._process.start()
        try:
            self.until(lambda: "app.serving" in self.said)
            yield
        finally:
            self._process.stop(grace_seconds=20)

    @property
    def said(self) -> Mapping[str, dict[str, Any]]:
        """The last of each event in its log."""
        lines = self._process.log_path.read_text().splitlines()
        return {event["event"]: event for event in map(json.loads, lines)}

    def until(self, holds: Callable[[], bool]) -> None:
        self._process.wait_until(holds)

    @property
    def serving_since(self) -> datetime:
        """When it was ready, by its own clock."""
        return datetime.fromisoformat(self.said["app.serving"]["timestamp"])

    @property
    def secure(self) -> str:
        """The address of the secure port."""
        port: str = self.said["app.serving"]["secure"].rpartition(":")[2]
        return f"127.0.0.1:{port}"


class Secrets:
    """What a gateway that asks for secrets was given; each response is acknowledged."""

    def __init__(self, names: tuple[str, ...], answers: Any, requests: SimpleQueue[bytes | None]) -> None:
        self._names = names
        self._answers = answers
        self._requests = requests
        self.held: dict[str, Secret] = {}

    def until(self, holds: Callable[[Mapping[str, Secret]], bool]) -> None:
        """Take responses until something holds of what is held."""
        while not holds(self.held):
            answer = next(self._answers)
            self.held |= {found.name: found for found in (Secret.FromString(each.value) for each in answer.resources)}
            request = DiscoveryRequest(type_url=SDS, resource_names=self._names, response_nonce=answer.nonce)
            self._requests.put(request.SerializeToString())


class Tool:
    """A client of the secure port that shows a token and trusts what its namespace says, as proxies and tools do."""

    def __init__(self, cluster: ApiServer, address: str, namespace: str, token: str | None = None) -> None:
        """Prepare it; ``token`` is that of the namespace's default account for ``istio-ca``, or another, or empty."""
        if token is None:
            token = account_token(cluster, namespace)
        options = [("grpc.ssl_target_name_override", f"istiod.{SYSTEM}.svc")]
        credentials = grpc.ssl_channel_credentials(roots_of(cluster, namespace).encode())
        self._namespace = namespace
        self._channel = grpc.secure_channel(address, credentials, options)
        self._metadata = (("authorization", f"Bearer {token}"),) if token else ()
        self._node = Node(id=f"sidecar~10.0.0.9~app.{namespace}~{namespace}.svc.cluster.local")
        self._node.metadata.update({"NAMESPACE": namespace, "SERVICE_ACCOUNT": "default"})

    def certificate(self, csr: str) -> list[str]:
        """Return the chain that is signed for a request (PEM)."""
        method = self._channel.unary_unary(
            CREATE_CERTIFICATE, IstioCertificateRequest.SerializeToString, IstioCertificateResponse.FromString
        )
        return list(
            method(IstioCertificateRequest(csr=csr), metadata=self._metadata, timeout=PATIENCE_SECONDS).cert_chain
        )

    @contextmanager
    def asking(self, type_url: str, **metadata: str) -> Iterator[DiscoveryResponse]:
        """Subscribe and acknowledge; the stream lives for as long as the context."""
        self._node.metadata.update(metadata)
        requests: SimpleQueue[bytes | None] = SimpleQueue()
        method = self._channel.stream_stream(SOTW, bytes, DiscoveryResponse.FromString)
        answers: Any = method(iter(requests.get, None), metadata=self._metadata, timeout=PATIENCE_SECONDS)
        requests.put(DiscoveryRequest(type_url=type_url, node=self._node).SerializeToString())
        try:
            answer = next(answers)
            requests.put(DiscoveryRequest(type_url=type_url, response_nonce=answer.nonce).SerializeToString())
            yield answer
        finally:
            requests.put(None)
            answers.cancel()

    @contextmanager
    def secrets(self, *names: str) -> Iterator[Secrets]:
        """Ask for secrets as a gateway does; the stream lives for as long as the context."""
        requests: SimpleQueue[bytes | None] = SimpleQueue()
        method = self._channel.stream_stream(SOTW, bytes, DiscoveryResponse.FromString)
        answers: Any = method(iter(requests.get, None), metadata=self._metadata, timeout=PATIENCE_SECONDS)
        node = Node(id=f"router~10.0.0.9~edge.{self._namespace}~{self._namespace}.svc.cluster.local")
        node.metadata.update({"NAMESPACE": self._namespace, "SERVICE_ACCOUNT": "default"})
        requests.put(DiscoveryRequest(type_url=SDS, node=node, resource_names=names).SerializeToString())
        try:
            yield Secrets(names, answers, requests)
        finally:
            requests.put(None)
            answers.cancel()

    def debug(self, type_url: str, *names: str) -> DiscoveryResponse:
        """Ask once, as `istioctl` does: its own node, and a nonce that nobody sent in the first request already."""
        node = Node(id=f"sidecar~10.0.0.8~test-1.{SYSTEM}~{SYSTEM}.svc.cluster.local")
        claims = {"GENERATOR": "event", "ISTIO_VERSION": "65536.65536.65536"}
        node.metadata.update(claims | {"NAMESPACE": SYSTEM, "SERVICE_ACCOUNT": "default"})
        now = datetime.now(UTC).isoformat()
        request = DiscoveryRequest(type_url=type_url, resource_names=names, node=node, response_nonce=now)
        method = self._channel.stream_stream(SOTW, DiscoveryRequest.SerializeToString, DiscoveryResponse.FromString)
        requests: SimpleQueue[DiscoveryRequest | None] = SimpleQueue()
        answers: Any = method(iter(requests.get, None), metadata=self._metadata, timeout=PATIENCE_SECONDS)
        requests.put(request)
        try:
            return next(answers)
        finally:
            requests.put(None)
            answers.cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.close()


def refusal(tool: Tool, **claims: str) -> tuple[str, str]:
    """Return how a stream ends that is refused: the name of its status, and the reason."""
    with pytest.raises(grpc.RpcError) as refused, tool.asking(CDS, **claims):
        pass
    error: Any = refused.value  # both an RpcError and a Call
    return error.code().name, str(error.details())
