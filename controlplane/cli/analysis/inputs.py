"""What is analysed: objects of files and of a cluster, and the mesh configuration among them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from controlplane.analysis import raw
from controlplane.analysis.resources import Mesh, Resource, Resources, resource
from controlplane.apis.mesh import IngressControllerMode, InvalidMeshConfigError, MeshConfig
from controlplane.apis.mesh_fields import read
from controlplane.apis.mesh_networks import MeshNetworks
from controlplane.cli.manifests import documents
from controlplane.documents.limits import Unreadable
from controlplane.documents.pieces import Place, objects
from controlplane.model import kinds
from controlplane.model.kinds import GroupKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

_GATEWAY_PORTS = (80, 443, 31400, 15443)
_MESH_NETWORKS = GroupKind("MeshNetworks")


class Inputs:
    """Gathers objects; one of a file takes the place of the same one of the cluster."""

    def __init__(self, namespace: str, istio_namespace: str) -> None:
        """``namespace`` is that of objects that name none, ``istio_namespace`` that of the control plane."""
        self.unreadable: list[str] = []
        """What could not be read, with file and line."""
        self._namespace = namespace
        self._istio_namespace = istio_namespace
        self._objects: list[Resource] = []
        self._mesh_text: str | None = None
        self._forbidden: set[GroupKind] = set()

    def read_all(self, paths: Iterable[Path], mesh_config: Path | None = None) -> None:
        """Take the objects of files, directories, or with ``-`` of standard input, and a mesh configuration.

        Raises:
            typer.BadParameter: one of them cannot be read.
        """
        path = mesh_config
        try:
            for path in paths:
                self._read(path)
            if mesh_config is not None:
                path = mesh_config
                self._mesh_text = _mesh_text(path.read_text(encoding="utf-8-sig"))
        except InvalidMeshConfigError as error:
            raise typer.BadParameter(f"{path}: {error}") from error
        except (OSError, UnicodeDecodeError) as error:
            reason = (error.strerror if isinstance(error, OSError) else "") or str(error)
            raise typer.BadParameter(f"{path}: {reason}") from error

    def _read(self, path: Path) -> None:
        for document, piece in documents(path):
            if isinstance(document, Unreadable):
                self.unreadable.append(f"{piece.file}:{piece.first + document.line - 1}: {document.reason}")
                continue
            for within, obj in objects(document.value) if document.value is not None else ():
                made = (
                    resource(obj, Place(piece, document.line, within, obj), namespace=self._namespace)
                    if isinstance(obj, dict)
                    else None
                )
                if made is None:
                    line = piece.line(within)
                    self.unreadable.append(f"{piece.file}:{line}: is no object: kind and metadata.name are required")
                else:
                    self._objects.append(made)

    def add_cluster(self, objects: Iterable[Mapping[str, Any]], forbidden: Iterable[GroupKind], cluster: str) -> None:
        """Take the objects of a cluster, which is named where there are several; of some kinds none may be read."""
        made = (resource(each, None, namespace="", cluster=cluster) for each in objects)
        self._objects[:0] = [each for each in made if each is not None]
        self._forbidden |= set(forbidden)

    def add_default_gateway(self) -> None:
        """Add a pod and a Service of a usual ingress gateway, which manifests of users seldom hold."""
        mesh = self._mesh().config
        if mesh.ingress_controller_mode is IngressControllerMode.OFF:
            return
        labels = {"istio": "ingressgateway"}
        ports = [
            {"port": port, "targetPort": port, "protocol": "TCP", "name": f"tls-{port}"} for port in _GATEWAY_PORTS
        ]
        name = mesh.ingress_service
        service = {"kind": "Service", "spec": {"selector": labels, "ports": ports}}
        pod = {"kind": "Pod", "spec": {"containers": [{"name": "istio-proxy"}]}}
        for named, written in ((name, service), (f"{name}-pod", pod)):
            self._add({**written, "apiVersion": "v1", "metadata": {"name": named, "labels": labels}})

    def _add(self, written: Mapping[str, Any]) -> None:
        made = resource(written, None, namespace=self._istio_namespace)
        if made is not None:
            self._objects.insert(0, made)

    def resources(self) -> Resources:
        """Return all objects."""
        return Resources(self._objects, self._mesh(), unreadable=self._forbidden)

    def _mesh(self) -> Mesh:
        """Return the mesh configuration; its defaults where it cannot be read, of which the validation tells."""
        config_map = self._config_map()
        networks, stated = MeshNetworks(), None
        if config_map is not None:
            try:
                networks = read(MeshNetworks, raw.text(config_map.written, "data", "meshNetworks"))
            except InvalidMeshConfigError:
                networks = MeshNetworks()
            stated = Resource(
                _MESH_NETWORKS, self._istio_namespace, "meshnetworks", config_map.written, {}, {}, config_map.place
            )
        text = self._mesh_text
        if text is None:
            text = raw.text(config_map.written, "data", "mesh") if config_map is not None else ""
        try:
            return Mesh(MeshConfig.parse(text), networks, stated, stated=bool(text.strip()))
        except InvalidMeshConfigError:
            return Mesh(MeshConfig(), networks, stated)

    def _config_map(self) -> Resource | None:
        for each in reversed(self._objects):
            if (each.kind, each.namespace, each.name) == (kinds.CONFIG_MAP, self._istio_namespace, "istio"):
                return each
        return None


def _mesh_text(text: str) -> str:
    """Return the text of a mesh configuration.

    Raises:
        InvalidMeshConfigError: it is none.
    """
    MeshConfig.parse(text)
    return text
