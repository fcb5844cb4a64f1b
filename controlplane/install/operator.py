"""What a user asks for: a profile, with IstioOperator files laid over it, and ``--set`` options over these.

Reference: Istio's IstioOperator, ``install.istio.io/v1alpha1``. It is a file format, and no object of a cluster.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from controlplane.documents.limits import UnreadableError
from controlplane.documents.yaml_reader import yaml_value
from controlplane.install.chart import laid_over
from controlplane.install.errors import RefusedInputError
from controlplane.install.paths import assignment, set_at

Json = dict[str, Any]

KIND = "IstioOperator"
DEFAULT_PROFILE = "default"
GATEWAYS = ("ingressGateways", "egressGateways")
_PROFILES = files("controlplane.install") / "profiles"
_NOT_HERE = {
    "ambient": "ambient mode is not there",
    "openshift-ambient": "ambient mode is not there",
    "remote": "a cluster without a control plane of its own is not there",
    "external": "a cluster without a control plane of its own is not there",
    "openshift": "state components.cni and the folders of the platform in values.cni instead",
    "preview": "state meshConfig.defaultConfig.proxyMetadata.ISTIO_META_DNS_CAPTURE instead",
    "stable": "its policies for the API server are not there",
}


@dataclass(frozen=True, slots=True)
class Stated:
    """A text of a user and where it is from, for messages."""

    source: str
    spec: Json


@dataclass(frozen=True, slots=True)
class Intent:
    """What is to be installed: the ``spec`` of an IstioOperator with its profile under it.

    ``stated`` are its parts as the user wrote them, without the profile.
    """

    profile: str
    spec: Json
    stated: tuple[Stated, ...] = ()

    @property
    def revision(self) -> str:
        """The revision; empty for the default one."""
        named = str(self.spec.get("revision") or self.values.get("revision") or "")
        return "" if named == "default" else named

    @property
    def values(self) -> Json:
        """The values of the charts, by the names of Istio's."""
        return self.spec.get("values") or {}

    @property
    def components(self) -> Json:
        """The components, by the names of Istio's."""
        return self.spec.get("components") or {}


def profiles() -> list[str]:
    """Return the names of all profiles."""
    return sorted(each.name.removesuffix(".yaml") for each in _PROFILES.iterdir() if each.name.endswith(".yaml"))


@cache
def profile(name: str) -> Json:
    """Return the ``spec`` of a profile.

    Raises:
        RefusedInputError: there is none of this name.
    """
    if name not in profiles():
        reason = f"{_NOT_HERE[name]}; " if name in _NOT_HERE else ""
        raise RefusedInputError(f"profile {name}: {reason}there are {', '.join(profiles())}")
    spec: Json = yaml_value((_PROFILES / f"{name}.yaml").read_text("utf-8"))["spec"]
    return spec


def intent(texts: Sequence[tuple[str, str]], settings: Sequence[str]) -> Intent:
    """Read IstioOperator files, each with the name it has for the user, and ``--set`` options; later ones win.

    Raises:
        RefusedInputError: one of them cannot be read, or is none.
    """
    stated = [_read(source, text) for source, text in texts]
    if settings:
        stated.append(Stated("--set", _assigned(settings)))
    named = [str(each.spec["profile"]) for each in stated if each.spec.get("profile")]
    name = named[-1] if named else DEFAULT_PROFILE
    spec = profile(name)
    for each in stated[: len(texts)]:
        spec = merged(spec, each.spec)
    spec = deepcopy(spec)
    for setting in settings:
        path, value = assignment(setting)
        set_at(spec, path, value)
    return Intent(name, spec, tuple(stated))


def merged(base: Mapping[str, Any], given: Mapping[str, Any]) -> Json:
    """Return a ``spec`` with another laid over it; gateways are matched by their names."""
    result = laid_over(base, given)
    components = given.get("components")
    if not isinstance(components, Mapping):
        return result
    for kind in GATEWAYS:
        if isinstance(components.get(kind), list):
            old = (base.get("components") or {}).get(kind) or []
            result["components"][kind] = _by_name(old, components[kind])
    return result


def _by_name(old: Sequence[Json], new: Sequence[Any]) -> list[Any]:
    found = list(old)
    places = {each.get("name"): at for at, each in enumerate(found)}
    for each in new:
        at = places.get(each.get("name")) if isinstance(each, dict) else None
        if at is None:
            found.append(each)
        else:
            found[at] = laid_over(found[at], each)
    return found


def _assigned(settings: Sequence[str]) -> Json:
    spec: Json = {}
    for setting in settings:
        path, value = assignment(setting)
        set_at(spec, path, value)
    return spec


def _read(source: str, text: str) -> Stated:
    try:
        value = yaml_value(text)
    except UnreadableError as error:
        raise RefusedInputError(f"{source}: {error}") from error
    if not isinstance(value, dict) or value.get("kind") != KIND:
        kind = value.get("kind") if isinstance(value, dict) else None
        raise RefusedInputError(f"{source}: must be an {KIND}" + (f", and is a {kind}" if kind else ""))
    spec = value.get("spec") or {}
    if not isinstance(spec, dict):
        raise RefusedInputError(f"{source}: spec: must be a map")
    return Stated(source, spec)
