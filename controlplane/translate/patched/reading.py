"""The patches of EnvoyFilters as values that can be applied, each read once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from controlplane.apis.envoy_filter import (
    ApplyTo,
    EnvoyConfigObjectMatch,
    EnvoyConfigObjectPatch,
    PatchContext,
    PatchOperation,
)
from controlplane.engine.recording import Query, query
from controlplane.model.left_out import LeftOut
from controlplane.model.patches import PatchRef, PatchRefs
from controlplane.patches.patch import Patch, PatchError, patch
from controlplane.registry.store import View

NOT_APPLICABLE = "it cannot be applied"


class Held(NamedTuple):
    """A patch, and where it stands."""

    ref: PatchRef
    patch: Patch


@dataclass(frozen=True, slots=True)
class Aim:
    """What a patch is for, and what it makes there: all of it but the value.

    ``name`` is what that calls it, ``moves_to`` the address and port it gives a listener, empty and 0 for none.
    """

    apply_to: ApplyTo
    operation: PatchOperation
    match: EnvoyConfigObjectMatch
    name: str
    moves_to: tuple[str, int] = ("", 0)

    @property
    def names_context(self) -> bool:
        """Whether it says in which context it is for."""
        return self.match.context is not PatchContext.ANY


def _stated(view: View, ref: PatchRef) -> EnvoyConfigObjectPatch | None:
    obj = view.get(ref.filter)
    if obj is None or ref.position >= len(obj.spec.config_patches):
        return None
    stated: EnvoyConfigObjectPatch = obj.spec.config_patches[ref.position]
    return stated


def _read(view: View, ref: PatchRef) -> Patch | None:
    stated = _stated(view, ref)
    if stated is None:
        return None
    try:
        return patch(stated)
    except PatchError as error:
        operation = stated.patch.operation if stated.patch is not None else ""
        element = f"{ref.path} ({' '.join(filter(None, (stated.apply_to, operation)))})"
        view.note(LeftOut(element, str(error), (ref.filter,), NOT_APPLICABLE))
        return None


_patch: Query[PatchRef, Patch | None] = Query(_read, isolated=True)
_patch.name = "patch"


def read_patch(view: View, ref: PatchRef) -> Patch | None:
    """Return one patch; ``None`` where it is not there, or cannot be read, which is noted or, our bug, logged."""
    found: Patch | None = _patch.outcome(view, ref).value
    return found


@query
def aim(view: View, ref: PatchRef) -> Aim | None:
    """Return what a patch is for; ``None`` as ``read_patch``. It stays the same when only the value changes."""
    found = read_patch(view, ref)
    if found is None:
        return None
    return Aim(found.apply_to, found.operation, found.match, _name(found), _moves_to(found))


def _moves_to(held: Patch) -> tuple[str, int]:
    value: Any = held.value
    if held.apply_to is not ApplyTo.LISTENER:
        return ("", 0)
    return (value.address.socket_address.address, value.address.socket_address.port_value)


def _name(held: Patch) -> str:
    """Return what a patch calls what it makes; one of a transport socket changes nothing else."""
    value: Any = held.value
    if held.apply_to is ApplyTo.CLUSTER and held.merges and value.HasField("transport_socket"):
        return ""
    return str(getattr(value, "name", ""))


def held(view: View, refs: PatchRefs) -> tuple[Held, ...]:
    """Return the patches that can be read, in their order."""
    found = ((ref, read_patch(view, ref)) for ref in refs)
    return tuple(Held(ref, each) for ref, each in found if each is not None)
