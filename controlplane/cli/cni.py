"""``cni``: on each node, have the traffic of pods led through their proxies as they begin."""

from __future__ import annotations

import os
import signal
import sys

import typer

from controlplane.cli.plain import PlainCommand

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command(cls=PlainCommand)
def cni() -> None:
    """Run the agent of the CNI plugin on this node: pods of the mesh need no right to change rules then.

    It is what the chart `cni` runs, as root, with folders of the node under /host. Variables say what is different:
    NODE_NAME, POD_NAMESPACE, CNI_CONF_NAME, CHAINED_CNI_PLUGIN, EXCLUDE_NAMESPACES, NATIVE_NFTABLES, REPAIR_ENABLED,
    REPAIR_REPAIR_PODS, REPAIR_DELETE_PODS, REPAIR_LABEL_PODS, REPAIR_LABEL_KEY, REPAIR_LABEL_VALUE, LOG_LEVEL.

    Exit codes: 0 told to end, 1 it cannot run.
    """
    from controlplane import logs
    from controlplane.cni.files import FilesError
    from controlplane.cni.kubernetes import Api, ApiError
    from controlplane.cni.node import NodeAgent, Settings

    level = os.environ.get("LOG_LEVEL") or "info"
    logs.configure({"warn": "warning"}.get(level, level), "auto")
    try:
        agent = NodeAgent(Settings.of(os.environ), Api.of(os.environ))
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: agent.stop())
        agent.run()
    except (ValueError, OSError, ApiError, FilesError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(1) from error
