"""The entry point: the overview of the subcommands, and the way to the one that was asked for."""

from __future__ import annotations

import gc
import io
import sys

from controlplane import __version__

COMMANDS = {
    "serve": ("controlplane.cli.serve", "Run the control plane."),
    "status": ("controlplane.cli.status", "Show what each proxy was sent, acknowledged and refused."),
    "proxy-config": ("controlplane.cli.proxy_config.command", "Show what one proxy is configured with."),
    "analyze": ("controlplane.cli.analyze", "Find mistakes between objects, in files or in a cluster."),
    "describe": ("controlplane.cli.describe", "Tell what the objects of a mesh mean for one pod or one service."),
    "explain": ("controlplane.cli.explain", "Tell what becomes of a request, and which object decides each step."),
    "test": ("controlplane.cli.routing_tests", "Check that requests go where they should: tests beside the manifests."),
    "dashboard": ("controlplane.cli.dashboard", "Open the page of a control plane in the browser."),
    "wait": ("controlplane.cli.wait", "Wait until an object has reached the proxies, or is gone."),
    "internal-debug": ("controlplane.cli.internal_debug", "Print a debug page of the control plane."),
    "plan": ("controlplane.cli.plan", "Tell what a change would do to the proxies, before it is applied."),
    "validate": ("controlplane.cli.validate", "Check manifests as the control plane would, without a cluster."),
    "version": ("controlplane.cli.version", "Show the versions of this program, the control plane and its proxies."),
    "bug-report": ("controlplane.cli.bug_report.command", "Gather what helps to find a fault, in one archive."),
    "admin": ("controlplane.cli.admin", "Change the control plane while it runs: what it logs."),
    "agent": ("controlplane.cli.agent", "Stand beside an Envoy: its certificate, its configuration, its process."),
    "install": ("controlplane.cli.install.install", "Install the control plane into a cluster, or change it."),
    "uninstall": ("controlplane.cli.install.uninstall", "Remove the control plane from a cluster."),
    "verify-install": ("controlplane.cli.install.verify_install", "Compare a cluster with what was asked for."),
    "tag": ("controlplane.cli.install.tag", "Give revisions names that may move from one to another."),
    "precheck": ("controlplane.cli.install.precheck", "Tell what stands in the way of an installation."),
    "check-inject": ("controlplane.cli.install.check_inject", "Show whether a pod gets a sidecar, and why."),
    "manifest": ("controlplane.cli.install.manifest", "Print what an installation consists of."),
    "workload": ("controlplane.cli.install.workload", "Prepare machines that Kubernetes does not run."),
    "iptables": ("controlplane.cli.iptables", "Lead the traffic of this pod through its proxy."),
    "cni": ("controlplane.cli.cni", "Lead the traffic of all pods of this node through their proxies, as they begin."),
    "kube-inject": ("controlplane.cli.kube_inject", "Add sidecars to manifests."),
    "completion": ("controlplane.cli.completion", "Print a script that completes commands and options in a shell."),
    "crds": ("controlplane.cli.crds", "Print the CustomResourceDefinitions, or write a file for each."),
}
"""Name -> the module whose ``app`` is the command, and its line in the overview. A new command adds one entry."""

ALIASES = {
    "proxy-status": "status",
    "ps": "status",
    "pc": "proxy-config",
    "upgrade": "install",
    "dash": "dashboard",
    "d": "dashboard",
}
PREFIXES = ("x", "experimental")
"""Words before a command that istioctl has for its younger ones, and that mean nothing here."""

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
        "  -h, --help  Show this message and exit.\n"
        "  --version   Show the version of this program and exit.\n\n"
        "'controlplane COMMAND --help' tells more of one.\n"
    )


def main() -> None:
    """Run the command line and exit. The overview does not wait for typer to load.

    Loading modules makes objects that stay: a collector that looks for cycles after every 700 of them finds none.
    """
    gc.set_threshold(50_000, 50, 100)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a letter that the user's locale lacks is no reason to fail
    if len(sys.argv) > 2 and sys.argv[1] in PREFIXES:  # noqa: PLR2004 - a word and a command
        del sys.argv[1]
    if sys.argv[1:2] == ["help"]:
        sys.argv[1:] = [*sys.argv[2:], HELP_FLAGS[0]]
    if len(sys.argv) > 1 and sys.argv[1] in HELP_FLAGS:
        print(overview(), end="")
        return
    if sys.argv[1:] == ["--version"]:
        print(__version__)
        return
    if sys.argv[1:2] == ["agent"]:  # every pod runs one: it must not wait and pay for what reads the others' options
        from controlplane.cli.agent import main as agent

        sys.exit(agent(sys.argv[2:]))
    from controlplane.cli.group import app

    app(prog_name="controlplane")
