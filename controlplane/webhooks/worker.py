"""A process that reviews large objects: ``python -m controlplane.webhooks.worker SECONDS``.

Checking one holds Python's lock for as long as a library takes, and nothing else in a process gets past that; here it
holds up nobody. Requests are bodies with their length before them on standard input, answers likewise on standard
output. It ends with its standard input.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import MutableMapping
from http import HTTPStatus
from pathlib import Path
from traceback import format_exc
from typing import Any, BinaryIO

import structlog

from controlplane.documents.json_reader import json_value
from controlplane.documents.limits import UnreadableError
from controlplane.webhooks.review import NotAReviewError, Request, Response, answer
from controlplane.webhooks.validation import INVALID, INVALID_RESOURCE, validate

LENGTH = 4
"""Bytes of a length, most significant first."""
READY = b"+"
"""What comes first of all on standard output."""
_NICE = 5
_Outcome = dict[str, Any]


class _TooLongError(BaseException):
    """The processor time is used up; no handler of errors on the way may take it for one of its own."""


def outcome(body: bytes, seconds: float) -> _Outcome:
    """Return ``status``, with ``review`` where it is 200, else ``text``; ``logged`` is to be logged, ``asked`` counted.

    An object that takes more than ``seconds`` of processor time is refused.
    """
    logged: list[_Outcome] = []
    asked: list[_Outcome] = []
    _log_to(logged)

    def review(request: Request) -> Response:
        asked[:] = [_asked(request)]
        response = validate(request)
        asked[0]["failure"] = response.failure
        return response

    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        found: _Outcome = {"status": HTTPStatus.OK, "review": answer(json_value(body), review)}
    except _TooLongError:
        found = refused(body, f"the object takes more than {seconds:g} seconds of processor time to check")
    except (NotAReviewError, UnreadableError) as error:
        found = {"status": HTTPStatus.BAD_REQUEST, "text": str(error)}
    except Exception:  # noqa: BLE001 - our bug: the other side logs it
        found = {"status": HTTPStatus.INTERNAL_SERVER_ERROR, "text": format_exc()}
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    return {"asked": asked, **found, "logged": logged}


def refused(body: bytes, reason: str) -> _Outcome:
    """Return the outcome of a review that is refused, whatever it is about.

    Raises:
        NotAReviewError: it is none.
        UnreadableError: it is no JSON.
    """
    asked: list[_Outcome] = []

    def review(request: Request) -> Response:
        asked.append(_asked(request))
        return Response(refusal=f"{INVALID}{reason}", failure=INVALID_RESOURCE)

    found = answer(json_value(body), review)
    return {"status": HTTPStatus.OK, "review": found, "asked": asked, "logged": []}


def _asked(request: Request) -> _Outcome:
    return {"resource": request.resource, "dry_run": request.dry_run, "failure": INVALID_RESOURCE}


def _log_to(logged: list[_Outcome]) -> None:
    def keep(_logger: object, level: str, event: MutableMapping[str, Any]) -> _Outcome:
        logged.append({**event, "level": level})
        raise structlog.DropEvent

    structlog.configure(processors=[keep])


def _stop(_number: int, _frame: object) -> None:
    raise _TooLongError


def _serve(requests: BinaryIO, answers: BinaryIO, seconds: float) -> None:
    answers.write(READY)
    answers.flush()
    while len(head := requests.read(LENGTH)) == LENGTH:
        body = requests.read(int.from_bytes(head))
        told = json.dumps(outcome(body, seconds), default=str).encode()
        answers.write(len(told).to_bytes(LENGTH) + told)
        answers.flush()


if __name__ == "__main__":
    os.nice(_NICE)  # proxies go first
    Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")  # and stay, where memory is short
    signal.signal(signal.SIGPROF, _stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal: the other side ends this one
    _serve(sys.stdin.buffer, sys.stdout.buffer, float(sys.argv[1]))
