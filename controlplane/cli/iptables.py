"""``iptables``: lead the traffic of this pod through its proxy."""

from __future__ import annotations

import os
import sys
from contextlib import nullcontext
from typing import TYPE_CHECKING

import typer

from controlplane.cli.plain import PlainCommand

if TYPE_CHECKING:
    from controlplane.agent.interception.command_line import Request

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command(
    cls=PlainCommand,
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": ["-h", "--help"]},
)
def iptables(context: typer.Context) -> None:
    """Lead the traffic of this pod through its proxy, by rules of iptables; it takes the options of istio-iptables.

    Those most often given: -p 15001 and -z 15006 (ports of the proxy), -u 1337 (its user), -m REDIRECT or TPROXY,
    -b '*' (ports that are captured as traffic comes in), -d 15090,15021 (but these), -i '*' (ranges of addresses that
    are captured as traffic goes out), -x 10.1.0.0/16 (but these), --redirect-dns, --cleanup-only, --dry-run.
    """
    from controlplane.agent.interception.apply import ApplyError
    from controlplane.agent.interception.command_line import parsed
    from controlplane.agent.interception.network_namespace import NamespaceError, network_namespace
    from controlplane.agent.interception.options import OptionError

    try:
        request = parsed(context.args, os.environ)
        with network_namespace(request.namespace) if request.namespace is not None else nullcontext():
            code = _carried_out(request)
    except (OptionError, ApplyError, NamespaceError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(1) from error
    if code:
        raise typer.Exit(code)


def _carried_out(request: Request) -> int:
    """Do what is asked for in the network namespace that this is; return the exit code."""
    from controlplane.agent.interception.apply import ApplyError, carry_out
    from controlplane.agent.interception.host import this_host
    from controlplane.agent.interception.validation import FAILED, problem

    host = this_host(dual_stack=request.options.dual_stack)
    if request.options.dns and not (request.options.all_dns or host.name_servers or host.name_servers_v6):
        print("warning: no name server is known, so questions for names are not captured", file=sys.stderr)
    carry_out(request, host, lambda text: print(text, end=""))
    if request.validation is None or request.dry_run:
        return 0
    try:
        found = problem(request.validation, ipv6=host.ipv6 and not request.options.dual_stack)
    except OSError as error:
        raise ApplyError(f"traffic cannot be checked: {error}") from error
    if found is not None:
        print(f"error: traffic of this pod is not led to its proxy: {found}", file=sys.stderr)
        return FAILED
    return 0
