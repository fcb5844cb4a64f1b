"""A Kubernetes API without nodes: etcd, kube-apiserver and the controllers that need no node, as any user.

Several run at a time: each has a folder and ports of its own. ``node`` uses the same class inside a node's namespaces.
"""

from __future__ import annotations

import json
import ssl
import subprocess
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from samples.control_plane import free_port
from tests.cluster import build
from tests.cluster.daemon import Daemon
from tests.cluster.pki import write_pki

ADMIN_TOKEN = "admintoken"
NODE_TOKEN = "nodetoken"
ISSUER = "https://kubernetes.default.svc.cluster.local"
NAMES = (
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
    "localhost",
)

# Those that act on objects alone. The others would delete what tests put there in place of a node, such as Pods on it.
API_CONTROLLERS = (
    "clusterrole-aggregation-controller",
    "deployment-controller",
    "endpointslice-controller",
    "garbage-collector-controller",
    "namespace-controller",
    "replicaset-controller",
    "root-ca-certificate-publisher-controller",
    "serviceaccount-controller",
    "serviceaccount-token-controller",
)


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where one API server is. A port of 0 stands for a free one.

    ``api`` is the address that clients use, ``etcd`` that of its storage. ``services`` holds the cluster IPs; without a
    node they are loopback addresses, so that a call to one (of a webhook, say) is refused at once, not lost on a route.
    """

    api: str = "127.0.0.1"
    api_port: int = 0
    etcd: str = "127.0.0.1"
    etcd_port: int = 0
    etcd_peer_port: int = 0
    services: str = "127.96.0.0/16"

    @property
    def first_service(self) -> str:
        """The cluster IP of ``default/kubernetes``."""
        return self.services.partition("/")[0].rpartition(".")[0] + ".1"


@dataclass
class ApiServer:
    """One API server with its storage and controllers; everything it writes is in ``folder``, which must exist.

    ``wrapper`` runs each process, say inside a node. ``controllers`` names those that run: none runs without any, and
    none where the binaries of ``KUBEBUILDER_ASSETS`` lack them; Pods then need no service account.
    ``options`` are more flags of kube-apiserver.
    """

    folder: Path
    addresses: Addresses = field(default_factory=Addresses)
    controllers: Sequence[str] = API_CONTROLLERS
    wrapper: Sequence[str] = ()
    options: Sequence[str] = ()

    def __post_init__(self) -> None:
        self.addresses = _with_ports(self.addresses)
        self._context: ssl.SSLContext | None = None
        if not build.has("kube-controller-manager"):
            self.controllers = ()
        self.etcd = self._daemon("etcd", self._etcd_command())
        self.api = self._daemon("kube-apiserver", self._api_command())
        self.manager = self._daemon("kube-controller-manager", self._manager_command()) if self.controllers else None

    @property
    def url(self) -> str:
        """Where the API is."""
        return f"https://{self.addresses.api}:{self.addresses.api_port}"

    @property
    def authority(self) -> Path:
        """The PEM file of the certificate authority that vouches for ``url``."""
        return self.folder / "ca.crt"

    @property
    def kubeconfig(self) -> Path:
        """A kubeconfig file with every right."""
        return self.folder / "kubeconfig"

    def start(self) -> None:
        """Start everything and wait until the API is ready. Raises ``DaemonError``, ``MissingBinaryError``."""
        self._write_files()
        self.etcd.start()
        self.api.start()
        self.wait_ready()
        if self.manager is not None:
            self.manager.start()
            self.api.wait_until(self._has_default_account)

    def stop(self) -> None:
        """End everything at once; the folder stays."""
        for daemon in (self.manager, self.api, self.etcd):
            if daemon is not None:
                daemon.stop()

    def ready(self) -> bool:
        """Whether the API answers that it is ready."""
        return self._get("/readyz") is not None

    def wait_ready(self) -> None:
        """Wait until the API is ready, say after ``api.stop()`` and ``api.start()``. Raises ``DaemonError``."""
        self.api.wait_until(self.ready)

    def kubectl(self, *arguments: str, text: str | None = None, status: Sequence[int] = (0,)) -> str:
        """Run kubectl with every right, ``text`` on its standard input; return what it says.

        Raises ``RuntimeError`` with its complaint when it exits with none of ``status``.
        """
        command = [build.binary("kubectl"), "--kubeconfig", str(self.kubeconfig), *arguments]
        result = subprocess.run(command, input=text, capture_output=True, text=True, check=False, timeout=300)
        if result.returncode not in status:
            raise RuntimeError(f"kubectl {' '.join(arguments)}: {result.stderr.strip()}\n{result.stdout.strip()}")
        return result.stdout

    def write_kubeconfig(self, path: Path, token: str, namespace: str = "default") -> Path:
        """Write a kubeconfig for the holder of a token; return its path."""
        cluster = {"server": self.url, "certificate-authority": str(self.authority)}
        context = {"cluster": "tests", "user": "user", "namespace": namespace}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "tests", "cluster": cluster}],
            "users": [{"name": "user", "user": {"token": token}}],
            "contexts": [{"name": "tests", "context": context}],
            "current-context": "tests",
        }
        path.touch(mode=0o600)
        path.write_text(json.dumps(config, indent=1), encoding="utf-8")
        return path

    def _daemon(self, name: str, arguments: Sequence[str]) -> Daemon:
        return Daemon(name, (build.binary(name), *arguments), self.folder, wrapper=self.wrapper)

    def _write_files(self) -> None:
        """Write keys, tokens and kubeconfigs; those of an earlier start stay, as its clients know them."""
        if self.kubeconfig.exists():
            return
        addresses = self.addresses
        write_pki(self.folder, NAMES, {addresses.api, "127.0.0.1", addresses.first_service})
        tokens = [(ADMIN_TOKEN, "admin", "system:masters"), (NODE_TOKEN, "system:node:node1", "system:nodes")]
        (self.folder / "tokens.csv").write_text("".join(f'{t},{u},{u},"{g}"\n' for t, u, g in tokens))
        self.write_kubeconfig(self.kubeconfig, ADMIN_TOKEN)

    def _etcd_command(self) -> list[str]:
        client = f"http://{self.addresses.etcd}:{self.addresses.etcd_port}"
        peer = f"http://{self.addresses.etcd}:{self.addresses.etcd_peer_port}"
        return [
            f"--data-dir={self.folder / 'etcd'}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            "--unsafe-no-fsync",  # a crash of the machine may lose the tests' objects
        ]

    def _api_command(self) -> list[str]:
        where = self.addresses
        loopback = where.api.startswith("127.")
        return [
            f"--etcd-servers=http://{where.etcd}:{where.etcd_port}",
            f"--secure-port={where.api_port}",
            f"--bind-address={where.api}" if loopback else "--bind-address=0.0.0.0",
            f"--advertise-address={where.api}",
            *(["--endpoint-reconciler-type=none"] if loopback else []),  # Endpoints must not name loopback
            f"--tls-cert-file={self.folder}/api.crt",
            f"--tls-private-key-file={self.folder}/api.key",
            f"--cert-dir={self.folder}",
            f"--client-ca-file={self.folder}/ca.crt",
            f"--token-auth-file={self.folder}/tokens.csv",
            f"--service-cluster-ip-range={where.services}",
            f"--service-account-issuer={ISSUER}",
            f"--service-account-key-file={self.folder}/sa.pub",
            f"--service-account-signing-key-file={self.folder}/sa.key",
            "--authorization-mode=Node,RBAC",
            "--allow-privileged=true",
            "--kubelet-preferred-address-types=InternalIP",
            *([] if self.controllers else ["--disable-admission-plugins=ServiceAccount"]),
            *self.options,
        ]

    def _manager_command(self) -> list[str]:
        return [
            *(f"--{prefix}kubeconfig={self.kubeconfig}" for prefix in ("", "authentication-", "authorization-")),
            f"--controllers={','.join(self.controllers)}",
            f"--service-account-private-key-file={self.folder}/sa.key",
            f"--root-ca-file={self.folder}/ca.crt",
            f"--cluster-signing-cert-file={self.folder}/ca.crt",
            f"--cluster-signing-key-file={self.folder}/ca.key",
            "--use-service-account-credentials=true",
            "--leader-elect=false",
            "--secure-port=0",
        ]

    def _has_default_account(self) -> bool:
        return self._get("/api/v1/namespaces/default/serviceaccounts/default") is not None

    def _get(self, path: str) -> bytes | None:
        """Ask the API; no good answer is ``None``."""
        if self._context is None:
            self._context = ssl.create_default_context(cafile=self.authority)
        request = urllib.request.Request(f"{self.url}{path}", headers={"Authorization": f"Bearer {ADMIN_TOKEN}"})
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=self._context)
        )
        try:
            with opener.open(request, timeout=5) as answer:
                return bytes(answer.read())
        except (urllib.error.URLError, OSError):
            return None


def _with_ports(addresses: Addresses) -> Addresses:
    """Give each port of 0 a free number."""
    return Addresses(
        addresses.api,
        addresses.api_port or free_port(),
        addresses.etcd,
        addresses.etcd_port or free_port(),
        addresses.etcd_peer_port or free_port(),
        addresses.services,
    )
