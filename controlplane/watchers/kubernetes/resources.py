"""Which resources of the API are read, and how."""

from __future__ import annotations

from dataclasses import dataclass

from controlplane.apis.kinds import KINDS
from controlplane.model.kinds import GroupKind

_DISCOVERY = "discovery.k8s.io"
_NETWORKING = "networking.k8s.io"


@dataclass(frozen=True, slots=True)
class Resource:
    """One resource of the API server.

    ``versions`` are the API versions that are understood, the best first. ``metadata_only`` asks the server to leave
    out everything but ``metadata``. ``definition`` says that a CustomResourceDefinition makes it, so it may come and
    go. ``status`` says that something of ours writes its status, so what stands there is kept. ``selector`` is a field
    selector of those that are read. ``optional`` says that the program starts without it where it may not be read.
    ``page`` is how many objects are asked for at a time: a page is parsed at once, which stops the event loop.
    """

    kind: str
    group: str
    versions: tuple[str, ...]
    plural: str
    namespaced: bool = True
    metadata_only: bool = False
    definition: bool = False
    status: bool = False
    selector: str = ""
    optional: bool = False
    page: int = 250

    @property
    def group_kind(self) -> GroupKind:
        """The kind of its objects."""
        return GroupKind(self.kind, self.group)

    def __str__(self) -> str:
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def path(self, version: str, namespace: str = "") -> str:
        """Return the path of its list; of all namespaces where none is given."""
        root = f"/apis/{self.group}/{version}" if self.group else f"/api/{version}"
        return f"{root}/namespaces/{namespace}/{self.plural}" if namespace else f"{root}/{self.plural}"

    def api_version(self, version: str) -> str:
        """Return what an object's ``apiVersion`` says."""
        return f"{self.group}/{version}" if self.group else version


NAMESPACES = Resource("Namespace", "", ("v1",), "namespaces", namespaced=False, metadata_only=True)
CONFIG_MAPS = Resource("ConfigMap", "", ("v1",), "configmaps")
"""Only those are read that hold the mesh configuration or that of the injector, or that something names."""
SECRETS = Resource(
    "Secret",
    "",
    ("v1",),
    "secrets",
    metadata_only=True,
    selector="type!=helm.sh/release.v1,type!=kubernetes.io/service-account-token",
    optional=True,
)
"""The content is read of those alone that something names."""
CORE = (
    NAMESPACES,
    Resource("Node", "", ("v1",), "nodes", namespaced=False),
    Resource("Service", "", ("v1",), "services"),
    Resource("EndpointSlice", _DISCOVERY, ("v1",), "endpointslices"),
    Resource("Pod", "", ("v1",), "pods"),
    Resource("Ingress", _NETWORKING, ("v1",), "ingresses", status=True),
    Resource("IngressClass", _NETWORKING, ("v1",), "ingressclasses", namespaced=False),
)
"""Kubernetes' own resources that the registry reads, apart from the mesh configuration and what is read by name."""
ISTIO = tuple(
    Resource(kind.name, kind.group, kind.versions, kind.plural, definition=True, status=True) for kind in KINDS.values()
)
"""Istio's resources."""
