"""A synthetic mesh as a directory of YAML, and the changes that are measured on it.

Services ``svc-<n>`` are spread evenly over namespaces ``ns-<n>``; each has one HTTP port and one EndpointSlice. What a
change writes holds a text of its own (``Mark``), by which the load client knows that a proxy has it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

CLUSTER = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
LISTENER = "type.googleapis.com/envoy.config.listener.v3.Listener"
ENDPOINT = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
ROUTE = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
VIRTUAL_HOST = "type.googleapis.com/envoy.config.route.v3.VirtualHost"
BURST = 200  # endpoint changes in one burst

SERVICE = """\
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  clusterIP: {cluster_ip}
  selector: {{app: {name}}}
  ports: [{{name: http, port: 80, targetPort: 8080, protocol: TCP}}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: {name}-1, namespace: {namespace}, labels: {{kubernetes.io/service-name: {name}}}}}
addressType: IPv4
ports: [{{name: http, port: 8080, protocol: TCP}}]
endpoints:
{endpoints}"""

ENDPOINT_LINE = "- {{addresses: [{address}], conditions: {{ready: true, serving: true}}}}\n"

HEADLESS = """\
apiVersion: v1
kind: Service
metadata: {{name: db, namespace: ns-0}}
spec:
  clusterIP: None
  ports: [{{name: tcp-db, port: 5432, protocol: TCP}}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: db-1, namespace: ns-0, labels: {{kubernetes.io/service-name: db}}}}
addressType: IPv4
ports: [{{name: tcp-db, port: 5432, protocol: TCP}}]
endpoints:
{endpoints}"""

VIRTUAL_SERVICE = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  hosts: [{host}]
  http:
  - match: [{{headers: {{x-mark: {{exact: {mark}}}}}}}]
    route: [{{destination: {{host: {host}}}}}]
  - route: [{{destination: {{host: {host}}}}}]
"""


@dataclass(frozen=True, slots=True)
class Mark:
    """A text that the changed resource holds, and the resource's type URL."""

    type_url: str
    text: str


@dataclass(frozen=True, slots=True)
class Mesh:
    """The mesh in ``directory``, one file a service. Counts are at least 1.

    With ``headless`` there is a headless TCP service ``db`` beside them: each of its endpoints has a listener.
    """

    directory: Path
    services: int
    endpoints: int
    namespaces: int
    headless: bool = False

    def write(self) -> None:
        """Write all services."""
        for number in range(self.services):
            self._write_service(number)
        if self.headless:
            self._write_headless(0)

    def change(self, kind: str, number: int) -> None:
        """Make the ``number``-th change of a kind.

        Kinds are ``endpoint``, ``burst``, ``virtual-service``, ``new-service`` and ``headless``.
        """
        mark = self.mark(kind, number).text
        if kind == "endpoint":
            self._write_service(number * 7 % self.services, mark)
        elif kind == "burst":
            for step in range(BURST - 1):
                self._write_service((step * 3 + 1) % self.services, address(15, number * BURST + step))
            self._write_service(5 % self.services, mark)
        elif kind == "virtual-service":
            service = number * 11 % self.services
            text = VIRTUAL_SERVICE.format(
                name=f"svc-{service}", namespace=self.namespace(service), host=self.host(service), mark=mark
            )
            self._replace(f"vs-{service}.yaml", text)
        elif kind == "new-service":
            self._write_service(self.services + number)
        elif kind == "headless":
            self._write_headless(number + 1)
        else:
            raise ValueError(kind)

    def mark(self, kind: str, number: int) -> Mark:
        """Return what the ``number``-th change of a kind is known by."""
        if kind == "endpoint":
            return Mark(ENDPOINT, address(13, number + 1))
        if kind == "burst":
            return Mark(ENDPOINT, address(14, number + 1))
        if kind == "virtual-service":
            return Mark(ROUTE, f"mark-{number}-end")
        if kind == "headless":
            return Mark(LISTENER, address(16, number + 1))
        return Mark(CLUSTER, f"outbound|80||{self.host(self.services + number)}")

    def namespace(self, number: int) -> str:
        """Return the namespace of a service."""
        return f"ns-{number % self.namespaces}"

    def host(self, number: int) -> str:
        """Return the full host name of a service."""
        return f"svc-{number}.{self.namespace(number)}.svc.cluster.local"

    def _write_service(self, number: int, *extra: str) -> None:
        first = number * self.endpoints + 1
        addresses = [address(11, first + index) for index in range(self.endpoints)] + list(extra)
        text = SERVICE.format(
            name=f"svc-{number}",
            namespace=self.namespace(number),
            cluster_ip=f"10.96.{(number + 256) >> 8}.{(number + 256) & 255}",
            endpoints="".join(ENDPOINT_LINE.format(address=each) for each in addresses),
        )
        self._replace(f"svc-{number}.yaml", text)

    def _write_headless(self, last: int) -> None:
        lines = "".join(ENDPOINT_LINE.format(address=address(16, number)) for number in range(last + 1))
        self._replace("db.yaml", HEADLESS.format(endpoints=lines))

    def _replace(self, name: str, text: str) -> None:
        """Write a file so that no reader sees half of it."""
        partial = self.directory / f".{name}.tmp"
        partial.write_text(text)
        partial.replace(self.directory / name)


def address(first: int, number: int) -> str:
    """Return the ``number``-th address of the network ``<first>.0.0.0/8``, with a last byte of 100 or more.

    Three digits at the end, so that no address is the beginning of another one: marks are found by their text.
    """
    high, low = divmod(number, 100)
    return f"{first}.{high >> 8}.{high & 255}.{100 + low}"
