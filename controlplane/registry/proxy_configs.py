"""Environment variables that ProxyConfig resources state for proxies; their other fields are for the injector.

Of several resources for all of a namespace, or for the same proxy, the oldest counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from controlplane.engine.recording import query
from controlplane.model.objects import Labels, Object
from controlplane.registry.mesh import root_namespace
from controlplane.registry.policies import selector
from controlplane.registry.store import View


class ProxyVariables(NamedTuple):
    """The variables of a namespace's proxies: of the root namespace, of their own, and by labels, the oldest first."""

    root: Mapping[str, str]
    own: Mapping[str, str]
    selecting: tuple[tuple[frozenset[tuple[str, str]], Mapping[str, str]], ...]

    def selected(self, labels: Labels) -> Mapping[str, str]:
        """Return those of the resource that selects a proxy with these labels."""
        held = labels.items()
        return next((variables for wanted, variables in self.selecting if wanted <= held), {})


@query
def proxy_variables(view: View, namespace: str) -> ProxyVariables:
    """Return the variables that are stated for proxies of a namespace."""
    root = root_namespace(view, ())
    held = _by_age(view, namespace)
    return ProxyVariables(
        root=_for_all(_by_age(view, root)) if root != namespace else {},
        own=_for_all(held),
        selecting=tuple(
            (frozenset(selector(obj).items()), obj.spec.environment_variables) for obj in held if selector(obj)
        ),
    )


def _by_age(view: View, namespace: str) -> list[Object]:
    held = [obj for key in view.index("proxy_configs_in", namespace) if (obj := view.get(key)) is not None]
    return sorted(held, key=lambda obj: obj.age_order)


def _for_all(held: list[Object]) -> Mapping[str, str]:
    found: Mapping[str, str] = next((obj.spec.environment_variables for obj in held if not selector(obj)), {})
    return found
