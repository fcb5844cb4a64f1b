"""``iptables``: lead the traffic of this pod through its proxy."""

from __future__ import annotations

import os
import sys

import typer

from controlplane.cli.plain import PlainCommand

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
    from controlplane.agent.interception.apply import ApplyError, carry_out
    from controlplane.agent.interception.command_line import parsed
    from controlplane.agent.interception.host import this_host
    from controlplane.agent.interception.options import OptionError

    try:
        request = parsed(context.args, os.environ)
        host = this_host(dual_stack=request.options.dual_stack)
        if request.options.dns and not (request.options.all_dns or host.name_servers or host.name_servers_v6):
            print("warning: no name server is known, so questions for names are not captured", file=sys.stderr)
        carry_out(request, host, lambda text: print(text, end=""))
    except (OptionError, ApplyError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(1) from error
