"""``agent``: what stands beside an Envoy. It takes the words and flags of Istio's agent, and starts the same way.

This module is called without the group of commands: each pod pays for what it loads.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from controlplane.model.compliance import COMPLIANCE_POLICY, FIPS_140_2, FIPS_140_3, FIPS_CIPHERS

if TYPE_CHECKING:
    from controlplane.agent.options import Options

STARTED = time.monotonic()
FAILED = 255
_OF_THE_GROUP = {"istio-iptables": "iptables", "version": "version"}

HELP = """\
Usage: controlplane agent proxy [sidecar|router] [FLAGS]
       controlplane agent wait [--url URL] [--timeoutSeconds N] [--periodMillis N]
       controlplane agent request [--debug-port PORT] METHOD PATH
       controlplane agent istio-iptables [FLAGS]
       controlplane agent version

  Stand beside an Envoy: fetch its certificate, lead its configuration, start it, watch it and end it.

  Variables and flags are those of Istio's pilot-agent. Settings come from the variables POD_NAME, POD_NAMESPACE,
  SERVICE_ACCOUNT, INSTANCE_IP, CA_ADDR, TRUST_DOMAIN, PROXY_CONFIG, ISTIO_META_... and others: see docs/agent.md.

Flags of proxy:
  --domain DOMAIN                    DNS domain of the proxy [NAMESPACE.svc.cluster.local]
  --meshConfig FILE                  mesh configuration, whose defaultConfig counts [./etc/istio/config/mesh]
  --proxyLogLevel LEVEL              of Envoy; may name components: info,misc:error [warning]
  --proxyComponentLogLevel LEVELS    of Envoy's components
  --concurrency N                    Envoy's threads
  --outlierLogPath FILE              where Envoy logs hosts that it ejects
  --log_output_level LEVEL           of the agent: debug, info, warning or error [info]
  --log_as_json                      logs as JSON, Envoy's too
"""


def main(arguments: Sequence[str]) -> int:
    """Run one of the sub-commands; return the exit code."""
    words = list(arguments) or ["proxy"]
    if words[0] in {"-h", "--help", "help"}:
        print(HELP, end="")
        return 0
    if words[0] == "proxy":
        return _proxy(words[1:])
    if words[0] in {"wait", "request"}:
        from controlplane.cli import agent_requests

        return agent_requests.main(words[0], words[1:])
    if words[0] in _OF_THE_GROUP:
        from controlplane.cli.group import app

        app([_OF_THE_GROUP[words[0]], *words[1:]], prog_name="controlplane")
    print(f"error: agent has no command {words[0]!r}; see controlplane agent --help", file=sys.stderr)
    return FAILED


def script() -> None:
    """Run as ``pilot-agent``, the name by which hooks of injected containers call it, and exit."""
    sys.exit(main(sys.argv[1:]))


def _proxy(arguments: Sequence[str]) -> int:
    import asyncio
    import os

    # structlog loads rich where it is installed, for tracebacks in colour: 5 MB in every pod.
    sys.modules.setdefault("rich", None)  # type: ignore[arg-type] # this is how Python is told that there is none
    from controlplane.agent.memory import one_arena

    one_arena()
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")  # Envoy is started by exec; grpc need not prepare for more
    if os.environ.get(COMPLIANCE_POLICY) in {FIPS_140_2, FIPS_140_3}:  # of the agent, and of Envoy, which inherits it
        os.environ.setdefault("GRPC_SSL_CIPHER_SUITES", ":".join(FIPS_CIPHERS))
    import uvloop

    from controlplane import logs
    from controlplane.agent.environment import StartError
    from controlplane.agent.options import options
    from controlplane.agent.run import Agent

    try:
        said = options(arguments, os.environ)
        logs.configure(_level(said.flags.log_output_level), "json" if said.flags.log_as_json else "auto")

        async def run() -> int:
            return await Agent(await _placed(said), STARTED).run()

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(run())
    except StartError as error:
        print(f"error: {error}", file=sys.stderr)
        return FAILED


async def _placed(said: Options) -> Options:
    """Return the options with what a cloud says of the machine, where one is named. Raises ``StartError``."""
    if not said.environment.text("CLOUD_PLATFORM"):
        return said
    from dataclasses import replace

    from controlplane.agent.cloud import machine

    return replace(said, machine=await machine(said.environment))


def _level(text: str) -> str:
    """Return the level of ``default:info`` or ``info``; scopes of Istio's agent say nothing here."""
    words = [word.strip() for word in text.split(",")]
    found = next(
        (word.removeprefix("default:") for word in words if word.startswith("default:") or ":" not in word), ""
    )
    return {"": "info", "warn": "warning", "none": "error", "fatal": "error"}.get(found, found)
