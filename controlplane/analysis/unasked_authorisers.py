"""Policies with the action CUSTOM whose authoriser is not asked: what they match is denied."""

from __future__ import annotations

from collections.abc import Sequence

from controlplane.apis.authorization_policy import AuthorizationPolicy
from controlplane.apis.mesh_providers import ExtensionProvider
from controlplane.engine.recording import query
from controlplane.model.objects import Object, ObjectKey
from controlplane.registry.environment import SEVERAL_AUTHORISERS, enabled
from controlplane.registry.mesh import mesh_config
from controlplane.registry.policies import selector, targets
from controlplane.registry.providers import authorisers
from controlplane.registry.store import View

PATH = "spec.provider.name"


@query
def unasked_authoriser(view: View, key: ObjectKey) -> str:
    """Return why the authoriser of a policy is not asked, empty where it is. What the policy matches is denied then."""
    obj = view.get(key)
    if obj is None:
        return ""
    spec: AuthorizationPolicy = obj.spec
    name = spec.provider.name if spec.provider is not None else ""
    if reason := no_authoriser(name, mesh_config(view).extension_providers):
        return reason
    if name not in authorisers(view, ()):
        return f"the service of the extension provider {name!r} is unknown, or in several namespaces"
    other = _other(view, obj, name)
    if other is not None and not enabled(view, SEVERAL_AUTHORISERS):
        return f"{other} asks another provider about the same workloads, so neither is asked"
    return ""


def no_authoriser(name: str, providers: Sequence[ExtensionProvider]) -> str:
    """Return why no provider of the mesh configuration can be asked by a name, empty where one may be."""
    stated = [each for each in providers if each.name == name]
    if not stated:
        return f"the mesh configuration has no extension provider {name!r}"
    if len(stated) > 1:
        return f"the mesh configuration has several extension providers {name!r}"
    if stated[0].envoy_ext_authz_http is None and stated[0].envoy_ext_authz_grpc is None:
        return f"the extension provider {name!r} is neither envoyExtAuthzHttp nor envoyExtAuthzGrpc"
    return ""


def _other(view: View, own: Object, name: str) -> ObjectKey | None:
    """Return a policy that asks another provider about all workloads that this one is for, if it is plain to see."""
    for key in view.index("policies_that_ask", ()):
        obj = view.get(key)
        if obj is None or key == own.key or (obj.spec.provider is not None and obj.spec.provider.name == name):
            continue
        wide = not selector(obj) and not targets(obj.spec)
        if key.namespace == own.key.namespace:
            if wide or (selector(obj) == selector(own) and targets(obj.spec) == targets(own.spec)):
                return key
        elif wide and key.namespace == mesh_config(view).root_namespace:
            return key
    return None
