"""Makes the rules of a pod in its network namespace, as ``controlplane iptables`` in the pod would."""

from __future__ import annotations

from pathlib import Path

from controlplane.agent.interception.apply import ApplyError, carry_out
from controlplane.agent.interception.command_line import parsed
from controlplane.agent.interception.host import this_host
from controlplane.agent.interception.network_namespace import NamespaceError, network_namespace
from controlplane.agent.interception.options import OptionError
from controlplane.cni.decision import Led


class RedirectionError(Exception):
    """The rules were not made; the message says why."""


def redirect(led: Led, network: Path | int) -> str:
    """Make the rules in a network namespace, its file or a descriptor of that; return their text.

    Rules that are there already are left as they are.

    Raises:
        RedirectionError: they could not be made.
    """
    said: list[str] = []
    try:
        request = parsed(led.arguments, {})
        with network_namespace(network):
            carry_out(request, this_host(dual_stack=request.options.dual_stack), said.append)
    except (OptionError, ApplyError, NamespaceError) as error:
        raise RedirectionError(str(error)) from error
    return "".join(said)
