"""What a container runtime runs for each pod: it hands the request to the agent of this node, and says what that said.

It stands alone: on the node there is nothing but the part of Python's library that it imports, for a start in some
milliseconds. Comes in: variables ``CNI_*``, and a configuration on standard input. Goes out: on standard output the
result of the plugins before this one, or an error. Reference: CNI specification 1.1.0, "Section 2: Execution Protocol".
"""

from __future__ import annotations

import json
import os
import socket
import sys

TYPE_CHECKING = False  # `typing` itself takes a third of the start
if TYPE_CHECKING:
    from typing import Any

    Json = dict[str, Any]

VERSIONS = ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"]
SOCKET = "plugin.sock"
TIMEOUT_SECONDS = 60.0  # the agent asks for the pod for half a minute
OWN_PODS = "istio-cni-node-"
BAD_VARIABLE, BAD_CONTENT, BAD_CONFIGURATION, TRY_LATER = 4, 6, 7, 11


class PluginError(Exception):
    """A refusal: code of the specification, message, and details."""


def main() -> int:
    """Run one command. Exit status 1: it was refused, and standard output says why."""
    version = VERSIONS[-1]
    try:
        command = os.environ.get("CNI_COMMAND", "")
        config = _configuration()
        version = str(config.get("cniVersion") or version)
        if command == "VERSION":
            _say({"cniVersion": version, "supportedVersions": VERSIONS})
        elif command == "ADD":
            _add(config)
            _say(_result(config, version))
        elif command not in {"DEL", "CHECK", "GC", "STATUS"}:  # these have nothing to do: rules go with their pod
            raise PluginError(BAD_VARIABLE, "CNI_COMMAND is none that is known", command)  # noqa: TRY301 - said below
    except PluginError as error:
        code, message, details = error.args
        _say({"cniVersion": version, "code": code, "msg": f"istio-cni: {message}", "details": details})
        return 1
    return 0


def _say(value: Json) -> None:
    sys.stdout.write(json.dumps(value) + "\n")


def _configuration() -> Json:
    text = sys.stdin.buffer.read()
    try:
        config = json.loads(text)  # noqa: TID251 - the runtime wrote it, and `documents` is not here
    except (ValueError, RecursionError) as error:
        raise PluginError(BAD_CONTENT, "the configuration is no JSON", str(error)) from None
    if not isinstance(config, dict):
        raise PluginError(BAD_CONTENT, "the configuration is no JSON object", "")
    return config


def _add(config: Json) -> None:
    words = (each.partition("=") for each in os.environ.get("CNI_ARGS", "").split(";"))
    told = {name: value for name, _, value in words}
    namespace, name = told.get("K8S_POD_NAMESPACE", ""), told.get("K8S_POD_NAME", "")
    if not (namespace and name):
        return  # no pod of Kubernetes
    excluded = config.get("exclude_namespaces") or []
    if not isinstance(excluded, list):
        raise PluginError(BAD_CONFIGURATION, "exclude_namespaces is no list", "")
    if namespace in excluded:
        return
    if namespace == config.get("pod_namespace") and name.startswith(OWN_PODS):
        return  # the agent itself: it could not be asked yet
    folder, path = config.get("cni_agent_run_dir"), os.environ.get("CNI_NETNS", "")
    if not folder:
        raise PluginError(BAD_CONFIGURATION, "cni_agent_run_dir is missing", "")
    if not isinstance(folder, str) or "\0" in folder:
        raise PluginError(BAD_CONFIGURATION, "cni_agent_run_dir is no path", "")
    try:
        network = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a pipe is not waited for
    except OSError as error:
        raise PluginError(BAD_VARIABLE, f"CNI_NETNS: {path}: {error.strerror}", "") from None
    request = {"namespace": namespace, "name": name, "uid": told.get("K8S_POD_UID", "")}
    said = _asked(f"{folder}/{SOCKET}", request, network)
    if said.get("problem"):
        raise PluginError(TRY_LATER, f"{namespace}/{name}: {said['problem']}", "")


def _asked(path: str, request: dict[str, str], network: int) -> Json:
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as agent:
            agent.settimeout(TIMEOUT_SECONDS)
            agent.connect(path)
            socket.send_fds(agent, [json.dumps(request).encode()], [network])
            agent.shutdown(socket.SHUT_WR)
            said = b""
            while part := agent.recv(1 << 16):
                said += part
    except OSError as error:
        raise PluginError(TRY_LATER, f"the agent of this node does not answer at {path}", str(error)) from None
    try:
        answer = json.loads(said)  # noqa: TID251 - as above
    except ValueError:
        raise PluginError(TRY_LATER, f"the agent of this node at {path} ended while it was asked", "") from None
    return answer if isinstance(answer, dict) else {}


def _result(config: Json, version: str) -> Json:
    """Return what the plugins before this one made; where it is the only one, that is nothing."""
    before = config.get("prevResult")
    return {"cniVersion": version, **before} if isinstance(before, dict) else {"cniVersion": version}


if __name__ == "__main__":
    sys.exit(main())
