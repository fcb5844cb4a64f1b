"""Which of a cluster's objects count here: by namespace, and by revision."""

from __future__ import annotations

from typing import TYPE_CHECKING

from controlplane.apis.mesh import MeshConfig
from controlplane.model.label_selector import any_matches

if TYPE_CHECKING:
    from collections.abc import Mapping

    from controlplane.apis.mesh import LabelSelector
    from controlplane.model.objects import Labels, Object

REVISION_LABEL = "istio.io/rev"


class Selection:
    """The namespaces that ``discoverySelectors`` of the mesh configuration select; all while there are none.

    Objects without a namespace always count. Source: ``discoverySelectors`` of MeshConfig; the namespace of the control
    plane has to match like any other.
    """

    def __init__(self) -> None:
        self._mesh: Object | None = None
        self._selectors: tuple[LabelSelector, ...] = ()
        self._selected: frozenset[str] = frozenset()

    def admits(self, namespace: str) -> bool:
        """Whether the objects of a namespace count now."""
        return not self._selectors or not namespace or namespace in self._selected

    @property
    def admitted(self) -> frozenset[str] | None:
        """The namespaces whose objects count now; ``None`` for all."""
        return self._selected if self._selectors else None

    def update(self, mesh: Object | None, namespaces: Mapping[str, Labels]) -> bool:
        """Take the mesh configuration and the labels of all namespaces; return whether ``admits`` answers anew.

        A mesh configuration that cannot be read leaves the selectors as they are.
        """
        selectors = self._selectors if mesh is self._mesh else _selectors(mesh, self._selectors)
        selected = frozenset(
            name for name, labels in namespaces.items() if selectors and any_matches(selectors, labels)
        )
        changed = (bool(selectors), selected) != (bool(self._selectors), self._selected)
        self._mesh, self._selectors, self._selected = mesh, selectors, selected
        return changed


def _selectors(mesh: Object | None, before: tuple[LabelSelector, ...]) -> tuple[LabelSelector, ...]:
    if mesh is None:
        return ()
    try:
        return MeshConfig.parse(mesh.spec.data.get("mesh", "")).discovery_selectors
    except Exception:  # noqa: BLE001 - whatever it is, nothing may end the reading of a cluster
        return before  # reported by whoever puts the mesh configuration in force


def in_revision(labels: object, revision: str) -> bool:
    """Whether an Istio object with these labels is for this revision; one without the label is for all.

    ``labels`` are as the API server gave them.
    """
    return not isinstance(labels, dict) or labels.get(REVISION_LABEL, revision) == revision
