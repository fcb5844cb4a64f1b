"""The user that Envoy runs as, where the agent has to be root and Envoy's traffic must be told from all other.

That is where the agent is the machine's only name server, on port 53: rules of interception let by what the proxy's
user sends, and a program of root would meet its own traffic again.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from controlplane.agent.environment import StartError
from controlplane.agent.node import dns_is_captured
from controlplane.agent.options import Options

PROXY_USER = 1337
"""The user and the group whose traffic is let by."""
_BECOME = (
    "import os, sys; user = int(sys.argv[1]); os.setgroups([user]); os.setgid(user); os.setuid(user); "
    "os.execv(sys.argv[2], sys.argv[2:])"
)


def is_only_name_server(options: Options) -> bool:
    """Whether the agent, if it answers for names at all, is the machine's only name server: only root can be."""
    return options.environment.text("DNS_PROXY_ADDR").endswith(":53") and not os.geteuid()


def user_of_envoy(options: Options) -> int | None:
    """Return the user that Envoy is to run as, ``None`` for the agent's own."""
    return PROXY_USER if dns_is_captured(options) and is_only_name_server(options) else None


def as_user(command: Sequence[str], user: int) -> list[str]:
    """Return a command that runs another one, by the path of its program, as a user and in its group alone."""
    return [sys.executable, "-I", "-S", "-c", _BECOME, str(user), *command]


def let_in(user: int, paths: Iterable[Path]) -> None:
    """Let a user read files, look into folders and speak over sockets, by its group. Raises ``StartError``."""
    for path in paths:
        try:
            mode = path.stat().st_mode
            needed = 0o5 if stat.S_ISDIR(mode) else 0o6 if stat.S_ISSOCK(mode) else 0o4
            if mode & needed != needed:
                os.chown(path, -1, user)
                path.chmod(stat.S_IMODE(mode) | needed << 3)
        except OSError as error:
            raise StartError(f"{path} cannot be given to the user {user}: {error.strerror}") from None
