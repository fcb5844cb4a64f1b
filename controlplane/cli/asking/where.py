"""Where the control plane is: one set of options for every command that asks it."""

from __future__ import annotations

import inspect
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from controlplane.cli.fetch import CONTROL_PLANE, Unanswered, split_address

MONITORING_PORT = 15014
_SOON_SECONDS = 1.0

AddressOption = Annotated[
    str,
    typer.Option(
        "--control-plane",
        "--address",
        envvar="CONTROLPLANE_ADDRESS",
        metavar="HOST:PORT",
        help="Its monitoring port; several with commas. Without, what listens on"
        f" {CONTROL_PLANE}, else the pods of the cluster.",
    ),
]
BesideAddressOption = Annotated[  # where --address is a filter, as it is istioctl's
    str,
    typer.Option(
        "--control-plane",
        envvar="CONTROLPLANE_ADDRESS",
        metavar="HOST:PORT",
        help=f"Its monitoring port; several with commas. Without, what listens on {CONTROL_PLANE}, else the pods.",
    ),
]
KubeconfigOption = Annotated[
    str, typer.Option("-c", "--kubeconfig", metavar="FILE", help="The file that names clusters, as kubectl's.")
]
ContextOption = Annotated[
    str, typer.Option("--context", metavar="NAME", help="The cluster, as the kubeconfig names its context.")
]
SystemOption = Annotated[
    str,
    typer.Option(
        "-i", "--istio-namespace", "--istioNamespace", metavar="NAME", help="The namespace of the control plane."
    ),
]


@dataclass(frozen=True, slots=True)
class Replica:
    """One control plane: what people call it, and the address of its monitoring port.

    ``forwarded``: the address is that of a forwarded port, which ends with the command.
    """

    name: str
    address: str
    forwarded: bool = False


@dataclass(frozen=True, slots=True)
class Where:
    """Where the control plane is to be found. ``address`` may be several with commas, and empty: then it is looked for.

    Raises:
        typer.BadParameter: an address is none.
    """

    address: str = ""
    kubeconfig: str = ""
    context: str = ""
    namespace: str = "istio-system"

    def __post_init__(self) -> None:
        for each in self._stated():
            split_address(each)
        if self.address and (self.kubeconfig or self.context):
            raise typer.BadParameter("give either an address or a cluster", param_hint="--address")

    def _stated(self) -> list[str]:
        return [each.strip() for each in self.address.split(",") if each.strip()]

    @contextmanager
    def replicas(self) -> Iterator[tuple[Replica, ...]]:
        """Give all replicas, with ways to them that end afterwards.

        Raises:
            Unanswered: there is none.
        """
        stated = self._stated() or ([] if self._names_a_cluster() or not _listens(CONTROL_PLANE) else [CONTROL_PLANE])
        if stated:
            yield tuple(Replica(f"the control plane at {each}", each) for each in dict.fromkeys(stated))
            return
        if not (self._names_a_cluster() or _has_cluster()):
            raise Unanswered(
                f"The control plane at {CONTROL_PLANE} cannot be reached: nothing listens there, and no cluster is"
                " named. --address HOST:PORT says where it is, --kubeconfig, --context or $KUBECONFIG in which cluster"
            )
        from controlplane.cli.asking.pods import forwarded

        with forwarded(self.kubeconfig, self.context, self.namespace, MONITORING_PORT) as found:
            yield tuple(Replica(name, address, forwarded=True) for name, address in found)

    @property
    def is_a_cluster(self) -> bool:
        """Whether the control plane is that of a cluster, named or the usual one, not one of this machine."""
        if self._stated():
            return False
        return self._names_a_cluster() or (not _listens(CONTROL_PLANE) and _has_cluster())

    def _names_a_cluster(self) -> bool:
        return bool(self.kubeconfig or self.context or self.namespace != SYSTEM)


SYSTEM = "istio-system"


def _has_cluster() -> bool:
    usual = Path.home() / ".kube" / "config"
    return bool(os.environ.get("KUBECONFIG") or os.environ.get("KUBERNETES_SERVICE_HOST")) or usual.is_file()


def _listens(address: str) -> bool:
    """Whether something takes connections at an address of this machine."""
    try:
        socket.create_connection(split_address(address), _SOON_SECONDS).close()
    except OSError:
        return False
    return True


def asks_control_plane(*, beside_address: bool = False) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options that say where the control plane is, in place of its parameter ``where``.

    With ``beside_address`` the command has an option ``--address`` of its own.
    """
    address = BesideAddressOption if beside_address else AddressOption
    kinds: dict[str, tuple[Any, str]] = {
        "control_plane_address": (address, ""),
        "kubeconfig": (KubeconfigOption, ""),
        "context": (ContextOption, ""),
        "istio_namespace": (SystemOption, SYSTEM),
    }

    def decorated(command: Callable[..., None]) -> Callable[..., None]:
        hints = get_type_hints(command, include_extras=True)
        own = [
            each.replace(annotation=hints[each.name], kind=inspect.Parameter.KEYWORD_ONLY)
            for each in inspect.signature(command).parameters.values()
            if each.name != "where"
        ]
        more = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
            for name, (annotation, default) in kinds.items()
        ]

        def asking(**values: Any) -> None:  # noqa: ANN401 - values of options
            where = Where(*(values.pop(name) for name in kinds))
            command(**values, where=where)

        asking.__name__, asking.__doc__, asking.__module__ = command.__name__, command.__doc__, command.__module__
        asking.__annotations__ = {each.name: each.annotation for each in (*own, *more)}
        asking.__signature__ = inspect.Signature([*own, *more])  # type: ignore[attr-defined]
        return asking

    return decorated
