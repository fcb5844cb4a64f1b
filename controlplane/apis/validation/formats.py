"""The format strings of Envoy, in values of headers and in access logs: text with commands such as ``%PROTOCOL%``.

Envoy refuses a whole listener or route configuration for one command that it does not know. The tables are those of
Envoy 1.40; a test asks a real Envoy about every row. Reference: Envoy's documentation, "Access logging", "Command
operators".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from controlplane.apis.validation import cel
from controlplane.documents.json_reader import json_value
from controlplane.kept import kept

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_COMMAND = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")
_DIGITS = frozenset("0123456789")

_ADDRESSES = ("DOWNSTREAM_DIRECT_LOCAL", "DOWNSTREAM_DIRECT_REMOTE", "DOWNSTREAM_LOCAL", "DOWNSTREAM_REMOTE")
_ALL_ADDRESSES = (*_ADDRESSES, "UPSTREAM_LOCAL", "UPSTREAM_REMOTE")

#: commands that take neither a parameter nor a length
_PLAIN = frozenset(
    {
        *(f"{place}_ADDRESS" for place in _ALL_ADDRESSES),
        *(f"{place}_PORT" for place in _ALL_ADDRESSES),
        *(f"{side}_WIRE_BYTES_{way}" for side in ("DOWNSTREAM", "UPSTREAM") for way in ("RECEIVED", "SENT")),
        *(f"{side}_HEADER_BYTES_{way}" for side in ("DOWNSTREAM", "UPSTREAM") for way in ("RECEIVED", "SENT")),
        *(
            f"{side}_DECOMPRESSED_HEADER_BYTES_{way}"
            for side in ("DOWNSTREAM", "UPSTREAM")
            for way in ("RECEIVED", "SENT")
        ),
        *(f"DOWNSTREAM_{owner}_{name}_SAN" for owner in ("LOCAL", "PEER") for name in ("DNS", "EMAIL", "IP", "URI")),
        *(f"DOWNSTREAM_{owner}_OTHERNAME_SAN" for owner in ("LOCAL", "PEER")),
        *(f"UPSTREAM_{owner}_{name}_SAN" for owner in ("LOCAL", "PEER") for name in ("DNS", "IP", "URI")),
        *(f"{side}_{what}" for side in ("DOWNSTREAM", "UPSTREAM") for what in ("PEER_CERT", "PEER_ISSUER")),
        *(f"{side}_{what}" for side in ("DOWNSTREAM", "UPSTREAM") for what in ("PEER_SUBJECT", "TLS_CIPHER")),
        *(f"{side}_TLS_{what}" for side in ("DOWNSTREAM", "UPSTREAM") for what in ("GROUP", "SESSION_ID", "VERSION")),
        *(f"{side}_TRANSPORT_FAILURE_REASON" for side in ("DOWNSTREAM", "UPSTREAM")),
        *(f"{side}_DETECTED_CLOSE_TYPE" for side in ("DOWNSTREAM", "UPSTREAM")),
        *(f"{side}_LOCAL_CLOSE_REASON" for side in ("DOWNSTREAM", "UPSTREAM")),
        "ACCESS_LOG_TYPE",
        "BYTES_RECEIVED",
        "BYTES_RETRANSMITTED",
        "BYTES_SENT",
        "CONNECTION_ID",
        "CONNECTION_TERMINATION_DETAILS",
        "CUSTOM_FLAGS",
        "DOWNSTREAM_CX_RTT",
        "DOWNSTREAM_DIRECT_LOCAL_ADDRESS_ENDPOINT_ID",
        "DOWNSTREAM_HANDSHAKE_DURATION",
        "DOWNSTREAM_LOCAL_ADDRESS_ENDPOINT_ID",
        "DOWNSTREAM_LOCAL_SUBJECT",
        "DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_1",
        "DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_256",
        "DOWNSTREAM_PEER_CHAIN_SERIALS",
        "DOWNSTREAM_PEER_FINGERPRINT_1",
        "DOWNSTREAM_PEER_FINGERPRINT_256",
        "DOWNSTREAM_PEER_ISSUER_FINGERPRINT_256",
        "DOWNSTREAM_PEER_ISSUER_SERIAL",
        "DOWNSTREAM_PEER_SERIAL",
        "DURATION",
        "FILTER_CHAIN_NAME",
        "GRPC_STATUS_NUMBER",
        "HOSTNAME",
        "LISTENER_NAME",
        "LOCAL_REPLY_BODY",
        "PACKETS_RETRANSMITTED",
        "PROTOCOL",
        "REQUEST_DURATION",
        "REQUEST_HEADERS_BYTES",
        "REQUEST_TX_DURATION",
        "RESPONSE_CODE",
        "RESPONSE_DURATION",
        "RESPONSE_FLAGS",
        "RESPONSE_FLAGS_LONG",
        "RESPONSE_HEADERS_BYTES",
        "RESPONSE_TRAILERS_BYTES",
        "RESPONSE_TX_DURATION",
        "ROUNDTRIP_DURATION",
        "ROUTE_NAME",
        "ROUTE_RESOLUTION_COUNT",
        "ROUTE_RESOLUTION_TIME_US",
        "SPAN_ID",
        "STREAM_ID",
        "TLS_JA3_FINGERPRINT",
        "TLS_JA4_FINGERPRINT",
        "TRACE_ID",
        "UNIQUE_ID",
        "UPSTREAM_CLUSTER",
        "UPSTREAM_CLUSTER_RAW",
        "UPSTREAM_CONNECTION_ID",
        "UPSTREAM_CONNECTION_IDS_ATTEMPTED",
        "UPSTREAM_CONNECTION_POOL_READY_DURATION",
        "UPSTREAM_HOST",
        "UPSTREAM_HOSTS_ATTEMPTED",
        "UPSTREAM_HOSTS_ATTEMPTED_WITHOUT_PORT",
        "UPSTREAM_HOST_NAME",
        "UPSTREAM_HOST_NAMES_ATTEMPTED",
        "UPSTREAM_HOST_NAMES_ATTEMPTED_WITHOUT_PORT",
        "UPSTREAM_HOST_NAME_WITHOUT_PORT",
        "UPSTREAM_PROTOCOL",
        "UPSTREAM_REMOTE_ADDRESS_ENDPOINT_ID",
        "UPSTREAM_REQUEST_ATTEMPT_COUNT",
        "UPSTREAM_SERVER_NAME",
        "VIRTUAL_CLUSTER_NAME",
    }
)


class Command(NamedTuple):
    """What a command may have: ``parameter`` gives the reason why one is wrong (an empty text: none is given)."""

    parameter: Callable[[str], str]
    length: bool = False


def _none(parameter: str) -> str:
    return "takes no parameter" if parameter else ""


def _anything(_parameter: str) -> str:
    return ""


def _required(parameter: str) -> str:
    return "" if parameter else "requires a parameter"


def _header(parameter: str) -> str:
    if not parameter:
        return "requires the name of a header"
    names = parameter.split("?")
    if len(names) > 2:  # noqa: PLR2004 - a header and one to take in its place
        return "may name one other header behind ?"
    return "names no header" if any(char.isspace() or char in "()" for name in names for char in name) else ""


def _one_of(*choices: str) -> Callable[[str], str]:
    def check(parameter: str) -> str:
        return "" if parameter in {"", *choices} else f"must be one of {', '.join(choices)}"

    return check


def _path(parameter: str) -> str:
    query, _, source = parameter.partition(":")
    if query not in {"", "WQ", "NQ"} or (not query and parameter):
        return "must be WQ or NQ"
    return "" if source in {"", "ORIG", "PATH", "ORIG_OR_PATH"} else "must end in ORIG, PATH or ORIG_OR_PATH"


def _filter_state(parameter: str) -> str:
    key, _, form = parameter.partition(":")
    if not key:
        return "requires a key"
    kind, _, field = form.partition(":")
    if kind == "FIELD":
        return "" if field else "FIELD needs the name of a field"
    return "" if kind in {"", "PLAIN", "TYPED"} else "the form must be PLAIN, TYPED or FIELD"


_METADATA = ("DYNAMIC", "CLUSTER", "ROUTE", "UPSTREAM_HOST", "LISTENER", "VIRTUAL_HOST", "LISTENER_FILTER_CHAIN")


def _metadata(parameter: str) -> str:
    kind = parameter.partition(":")[0]
    return "" if kind in _METADATA else f"the first part must be one of {', '.join(_METADATA)}"


def _common_duration(parameter: str) -> str:
    parts = parameter.split(":")
    if len(parts) not in {2, 3}:
        return "must be START:END or START:END:PRECISION"
    return "" if parts[2:] in ([], ["ms"], ["us"], ["ns"]) else "the precision must be ms, us or ns"


def _cel(parameter: str) -> str:
    return cel.envoy_problem(parameter) if parameter else "requires an expression"


def _coalesce(parameter: str) -> str:
    try:
        stated = json_value(parameter)
    except ValueError:
        return "requires a JSON object"
    operators = stated.get("operators") if isinstance(stated, dict) else None
    if not isinstance(operators, list) or not operators:
        return "requires a list of operators"
    for each in operators:
        named = {"command": each} if isinstance(each, str) else each
        if not isinstance(named, dict) or not isinstance(named.get("command"), str):
            return "an operator is a name, or an object with a command"
        parameter = named.get("param", "")
        inner = f"({parameter})" if parameter else ""
        if reason := format_problem(f"%{named['command']}{inner}%"):
            return reason
    return ""


_TIMES = (
    "START_TIME",
    "START_TIME_LOCAL",
    "EMIT_TIME",
    "EMIT_TIME_LOCAL",
    "DOWNSTREAM_PEER_CERT_V_START",
    "DOWNSTREAM_PEER_CERT_V_END",
    "UPSTREAM_PEER_CERT_V_START",
    "UPSTREAM_PEER_CERT_V_END",
)
_HEADERS = ("REQ", "RESP", "TRAILER", "REQUEST_HEADER", "RESPONSE_HEADER", "RESPONSE_TRAILER")

COMMANDS: Mapping[str, Command] = {
    **dict.fromkeys(_PLAIN, Command(_none)),
    **dict.fromkeys((*_TIMES, "RESPONSE_CODE_DETAILS"), Command(_anything)),
    **dict.fromkeys((f"{place}_ADDRESS_WITHOUT_PORT" for place in _ALL_ADDRESSES), Command(_anything)),
    **dict.fromkeys(_HEADERS, Command(_header, length=True)),
    **dict.fromkeys(
        ("DYNAMIC_METADATA", "ENVIRONMENT", "QUERY_PARAM", "STREAM_INFO_REQ"), Command(_required, length=True)
    ),
    **dict.fromkeys(("CLUSTER_METADATA", "UPSTREAM_METADATA"), Command(_required)),
    **dict.fromkeys(("FILTER_STATE", "UPSTREAM_FILTER_STATE"), Command(_filter_state, length=True)),
    "METADATA": Command(_metadata, length=True),
    "GRPC_STATUS": Command(_one_of("CAMEL_STRING", "SNAKE_STRING", "NUMBER")),
    "REQUESTED_SERVER_NAME": Command(_one_of("SNI_ONLY", "SNI_FIRST", "HOST_FIRST")),
    "QUERY_PARAMS": Command(_one_of("ORIG", "DECODED"), length=True),
    "PATH": Command(_path, length=True),
    "COMMON_DURATION": Command(_common_duration),
    "CEL": Command(_cel, length=True),
    "COALESCE": Command(_coalesce, length=True),
}
"""What Envoy knows everywhere, by name."""

IN_HEADERS: Mapping[str, Command] = {**COMMANDS, "PER_REQUEST_STATE": Command(_required)}
"""What Envoy knows in values of headers."""

IN_LOGS: Mapping[str, Command] = {**COMMANDS, "REQ_WITHOUT_QUERY": Command(_anything, length=True)}
"""What Envoy knows in access logs, which here always have the formatter for paths without query."""


@kept(4096)
def _problem(text: str, where: int) -> str:
    commands = (COMMANDS, IN_HEADERS, IN_LOGS)[where]
    position = text.find("%")
    while position >= 0:
        if text.startswith("%%", position):
            position = text.find("%", position + 2)
            continue
        found = _command(text, position)
        if found is None:
            return f"{text!r} has an unclosed %; a plain one is written %%"
        name, parameter, length, end = found
        command = commands.get(name)
        if command is None:
            return f"%{name}% is no command that Envoy knows; a plain percent sign is written %%"
        if length and not command.length:
            return f"%{name}% takes no length"
        if reason := command.parameter(parameter):
            return f"%{name}%: {reason}"
        position = text.find("%", end)
    return ""


def _command(text: str, at: int) -> tuple[str, str, str, int] | None:
    """Return name, parameter, length and end of the command ``%NAME(PARAMETER):LENGTH%`` here; ``None``: it is none."""
    name_end = _run(text, at + 1, _COMMAND)
    if name_end == at + 1:
        return None
    name = text[at + 1 : name_end]
    if text[name_end : name_end + 1] != "(":
        length, end = _ending(text, name_end)
        return (name, "", length, end) if end else None
    closing = text.find(")", name_end)
    while closing >= 0:
        length, end = _ending(text, closing + 1)
        if end:
            return name, text[name_end + 1 : closing], length, end
        closing = text.find(")", closing + 1)
    return None


def _ending(text: str, at: int) -> tuple[str, int]:
    """Return the length (``:9``, may be absent) and where the percent sign behind it ends, 0 where there is none."""
    end = _run(text, at + 1, _DIGITS) if text[at : at + 1] == ":" else at
    if text[end : end + 1] != "%" or end == at + 1:
        return "", 0
    return text[at + 1 : end], end + 1


def _run(text: str, at: int, within: frozenset[str]) -> int:
    """Return where the characters of a set end."""
    while at < len(text) and text[at] in within:
        at += 1
    return at


def format_problem(text: str) -> str:
    """Why Envoy would refuse this text with commands, wherever it stands; empty where it would take it."""
    return _problem(text, 0)


def header_format_problem(text: str) -> str:
    """As ``format_problem``, for the value of a header."""
    return _problem(text, 1)


def log_format_problem(text: str) -> str:
    """As ``format_problem``, for an access log."""
    return _problem(text, 2)
