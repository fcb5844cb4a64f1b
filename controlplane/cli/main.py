"""The entry point: the overview of the subcommands, and the way to the one that was asked for."""

from __future__ import annotations

import gc
import sys

COMMANDS = {
    "serve": ("controlplane.cli.serve", "Run the control plane."),
    "status": ("controlplane.cli.status", "Show what each proxy was sent, acknowledged and refused."),
    "proxy-config": ("controlplane.cli.proxy_config.command", "Show what one proxy is configured with."),
    "validate": ("controlplane.cli.validate", "Check manifests as the control plane would, without a cluster."),
    "version": ("controlplane.cli.version", "Show the versions of this program, the control plane and its proxies."),
    "crds": ("controlplane.cli.crds", "Print the CustomResourceDefinitions, or write a file for each."),
}
"""Name -> the module whose ``app`` is the command, and its line in the overview. A new command adds one entry."""

ALIASES = {"proxy-status": "status", "ps": "status", "pc": "proxy-config"}

HELP_FLAGS = ("-h", "--help")


def overview() -> str:
    """Return the help of the whole program."""
    width = max(map(len, COMMANDS)) + 2
    commands = "".join(f"  {name:<{width}}{text}\n" for name, (_, text) in COMMANDS.items())
    return (
        "Usage: controlplane COMMAND [ARGS]...\n\n"
        "  An Istio-compatible service-mesh control plane for Envoy.\n\n"
        f"Commands:\n{commands}\n"
        "Options:\n"
        "  -h, --help  Show this message and exit.\n\n"
        "'controlplane COMMAND --help' tells more of one.\n"
    )


def main() -> None:
    """Run the command line and exit. The overview does not wait for typer to load.

    Loading modules makes objects that stay: a collector that looks for cycles after every 700 of them finds none.
    """
    gc.set_threshold(50_000, 50, 100)
    if len(sys.argv) > 1 and sys.argv[1] in HELP_FLAGS:
        print(overview(), end="")
        return
    from controlplane.cli.group import app

    app(prog_name="controlplane")
