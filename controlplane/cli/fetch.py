"""Asks an HTTP port. No proxies from the environment: the ports are loopback or port-forwarded ones."""

from __future__ import annotations

import json
import sys
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from typing import Any, NoReturn

import typer

from controlplane.documents.json_reader import json_value
from controlplane.printable import printable

TIMEOUT_SECONDS = 10.0
POST_TIMEOUT_SECONDS = 120.0
"""For questions that take long; a control plane gives up before."""

CONTROL_PLANE = "127.0.0.1:15014"
ENVOY_ADMIN = "127.0.0.1:15000"


class Unanswered(Exception):  # noqa: N818 - it reads as what happened
    """The question was not answered; the message is a sentence for the user."""


class Wrong(Unanswered):
    """The question has no answer, whoever is asked: there is no such object or proxy. The message says why."""


MAX_DUMP = 1_000_000_000
"""Characters of an answer; the dump of a proxy of a large mesh has a hundred million."""


def fetch_json(address: str, path: str, what: str) -> Any:  # noqa: ANN401 - any JSON value
    """Return what ``GET path`` answers.

    Args:
        address: ``host:port``.
        path: path and query, quoted.
        what: whom we ask, for messages (``control plane``).

    Raises:
        Unanswered: no connection, no answer in time, a status other than 200, or no JSON.
        typer.BadParameter: ``address`` is not ``host:port``.
    """
    return _json(_fetch(address, path, what), address, what)


def post_json(address: str, path: str, value: object, what: str) -> Any:  # noqa: ANN401 - any JSON value
    """Return what ``POST path`` answers to a JSON value; it may take a minute. See ``fetch_json``."""
    body = json.dumps(value, default=str).encode()  # YAML has times, which are read from text too
    return _json(_fetch(address, path, what, body), address, what)


def put_json(address: str, path: str, value: object, what: str) -> None:
    """Have ``PUT path`` take a JSON value. See ``fetch_json``."""
    _fetch(address, path, what, json.dumps(value).encode(), "PUT")


def _json(body: bytes, address: str, what: str) -> Any:  # noqa: ANN401 - any JSON value
    try:
        return json_value(body, limit=MAX_DUMP)
    except ValueError as error:
        raise Unanswered(f"The {what} at {address} did not answer with JSON: {error}") from error


def fetch_text(address: str, path: str, what: str) -> str:
    """Return what ``GET path`` answers, as ``fetch_json`` does where it is JSON."""
    return _fetch(address, path, what).decode(errors="replace")


def _fetch(address: str, path: str, what: str, posted: bytes | None = None, method: str = "") -> bytes:
    host, port = split_address(address)
    timeout = TIMEOUT_SECONDS if posted is None else POST_TIMEOUT_SECONDS
    connection = HTTPConnection(host, port, timeout=timeout)
    headers = {"Accept": "application/json"} | ({} if posted is None else {"Content-Type": "application/json"})
    try:
        connection.request(method or ("GET" if posted is None else "POST"), path, posted, headers)
        response = connection.getresponse()
        body = response.read()
    except OSError as error:
        raise Unanswered(f"The {what} at {address} cannot be reached: {error}") from error
    except HTTPException as error:
        raise Unanswered(f"The {what} at {address} does not speak HTTP: {error!r}") from error
    finally:
        connection.close()
    if response.status not in {HTTPStatus.OK, HTTPStatus.ACCEPTED}:
        text = body.decode(errors="replace").strip()
        if response.status == HTTPStatus.BAD_REQUEST and text:
            raise Wrong(printable(text, keep="\n"))
        raise Unanswered(f"The {what} at {address} answered {response.status}: {text or response.reason}")
    return body


def split_address(address: str) -> tuple[str, int]:
    """Return host and port of ``host:port`` or ``[v6]:port``.

    Raises:
        typer.BadParameter: it is neither.
    """
    host, colon, port = address.rpartition(":")
    if not colon or not host or "/" in host or not port.isdecimal() or int(port) > 65535:  # noqa: PLR2004 - the highest port
        raise typer.BadParameter(f"{address!r} is not host:port")
    return host.removeprefix("[").removesuffix("]"), int(port)


def fail(message: str) -> NoReturn:
    """Tell the user of a problem and exit with 1."""
    print(printable(f"Error: {message}", keep="\n"), file=sys.stderr)
    raise typer.Exit(1)
