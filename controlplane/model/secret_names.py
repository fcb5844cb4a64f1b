"""Names under which proxies ask for secrets over ADS, and what they stand for.

``kubernetes://[namespace/]name``: a Secret, of the proxy's own namespace. ``kubernetes-gateway://namespace/name``: one
that a Gateway made from the Gateway API names. ``configmap://namespace/name``: certificates that anybody may have, in a
ConfigMap. With ``-cacert`` behind the name it is about root certificates only.
"""

from __future__ import annotations

from typing import NamedTuple

from controlplane.model import kinds
from controlplane.model.kinds import GroupKind
from controlplane.model.objects import ObjectKey

BUILTIN = "builtin://"
INVALID = "invalid://"
KUBERNETES = "kubernetes://"
KUBERNETES_GATEWAY = "kubernetes-gateway://"
CONFIG_MAP = "configmap://"
SDS = "sds://"
CA_SUFFIX = "-cacert"
_VERBATIM = (KUBERNETES, KUBERNETES_GATEWAY, CONFIG_MAP)
_TOLD_BY_NAMESPACE = (KUBERNETES_GATEWAY, CONFIG_MAP)


def secret_name(credential: str) -> str:
    """Return how a credential is asked for: ``kubernetes://name`` unless it says where it is itself."""
    return credential if credential.startswith(_VERBATIM) else f"{KUBERNETES}{credential.removeprefix(SDS)}"


def is_private(name: str) -> bool:
    """Whether a resource of this name may hold a private key, so that the right to read Secrets is asked for."""
    found = SecretName.parse(name)
    return found is None or not found.authority


class SecretName(NamedTuple):
    """What a name stands for.

    ``scheme`` is one of this module's, ``namespace`` is empty for that of the proxy. ``name`` is without ``-cacert``,
    ``authority`` says that roots are meant.
    """

    scheme: str
    namespace: str
    name: str
    authority: bool

    @classmethod
    def parse(cls, text: str) -> SecretName | None:
        """Return what a name stands for, ``None`` where it stands for nothing that is served over ADS."""
        scheme = next((each for each in _VERBATIM if text.startswith(each)), "")
        if not scheme:
            return None
        parts = text.removeprefix(scheme).split("/")
        namespace, name = parts[:2] if len(parts) > 1 else ("", parts[0])
        stem = name.removesuffix(CA_SUFFIX)
        if not stem or (not namespace and (scheme in _TOLD_BY_NAMESPACE or len(parts) > 1)):
            return None
        return cls(scheme, namespace, stem, stem != name or scheme == CONFIG_MAP)

    @property
    def kind(self) -> GroupKind:
        """The kind of the objects that hold it."""
        return kinds.CONFIG_MAP if self.scheme == CONFIG_MAP else kinds.SECRET

    def places(self, namespace: str) -> tuple[ObjectKey, ...]:
        """Return the objects that may hold it for a proxy of this namespace; the first that exists does.

        There is none where it is another namespace's Secret.
        """
        home = self.namespace or namespace
        if self.scheme != CONFIG_MAP and home != namespace:
            return ()
        names = (f"{self.name}{CA_SUFFIX}", self.name) if self.authority and self.kind is kinds.SECRET else (self.name,)
        return tuple(ObjectKey(self.kind, home, name) for name in names)
