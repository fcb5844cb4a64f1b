"""The screens that are asked by a form: what becomes of a request, and what a change would do."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from typing import Any
from urllib.parse import parse_qsl, urlencode

from aiohttp import hdrs, web

from controlplane.admin.answers import BODIES, PACE, SOURCES
from controlplane.api import queries
from controlplane.api.operations import VIEWS
from controlplane.http1.bodies import BodyRefusedError
from controlplane.published import REDACTED
from controlplane.ui.answering import answer_of_copy
from controlplane.ui.lines import lines
from controlplane.ui.showing import WrongError, command, failed, read_as, shown

LONGEST_FORM = 65_536
"""Bytes of a form that is posted: it is read in one step. The command takes more."""
_TOO_LARGE = f"The form takes {LONGEST_FORM} bytes; `controlplane plan -f FILE` takes more."
_HIDDEN = f"Keys in it are not shown: put them in the place of {REDACTED}, or the plan is of an object without them."
_MOST_FIELDS = 8
_FORM = "application/x-www-form-urlencoded"


async def explain(request: web.Request) -> web.StreamResponse:
    """Show the form of a request, and what becomes of it."""
    asked = {name: request.query.get(name, "") for name in ("from", "method", "url", "header", "as")}
    answer: Mapping[str, Any] | None = None
    wrong = ""
    if asked["from"] or asked["url"]:
        answer, wrong = await _explained(request, asked)
    headers = [line for line in asked["header"].splitlines() if line.strip()]
    said = ["--from", asked["from"] or "pod/NAMESPACE/NAME", *filter(None, (asked["method"] or "GET", asked["url"]))]
    said += [word for line in headers for word in ("-H", line)]
    pairs = [("from", asked["from"]), ("method", asked["method"]), ("url", asked["url"]), ("as", asked["as"])]
    found = [(name, value) for name, value in chain(pairs, (("header", line) for line in headers)) if value]
    return await shown(
        request,
        "explain",
        asked=asked,
        answer=answer,
        wrong=wrong,
        json=str(request.rel_url.with_path("/api/v1/explain").with_query(found)) if answer is not None else "",
        command=command("explain", *said),
    )


async def _explained(request: web.Request, asked: Mapping[str, str]) -> tuple[Mapping[str, Any] | None, str]:
    """Return the explanation, or why there is none."""
    from controlplane.simulate.questions import WrongQuestionError  # noqa: PLC0415 - loaded for the first question

    ready, reason = request.app[SOURCES].ready()
    if not ready:
        return None, reason
    pairs = [(name, value.strip()) for name, value in asked.items() if value.strip() and name != "header"]
    pairs += [("header", line) for line in asked["header"].splitlines() if line.strip()]
    try:
        return await request.app[SOURCES].explain(pairs), ""
    except WrongQuestionError as error:
        return None, str(error)


async def plan(request: web.Request) -> web.StreamResponse:
    """Show the form of a change and, once it is posted, what the change would do."""
    if request.method != hdrs.METH_POST:
        asked = await _prefilled(request)
        return await _plan_shown(request, asked, None, _HIDDEN if REDACTED in asked["manifests"] else "")
    try:
        asked = await _posted(request)
    except BodyRefusedError as error:
        response = await failed(request, error.status, str(error))
        response.force_close()  # the rest of the body is of no use
        return response
    deletes = asked["delete"].split()
    if not (asked["manifests"].strip() or deletes):
        return await _plan_shown(request, asked, None, "Paste what is new or changed, or name an object to delete.")
    question = {"manifests": asked["manifests"], "delete": deletes, "prune": bool(asked["prune"]), "classes": False}
    return await _plan_shown(request, asked, *await answer_of_copy(request.app[SOURCES], question))


async def _plan_shown(
    request: web.Request, asked: Mapping[str, str], answer: Mapping[str, Any] | None, wrong: str
) -> web.StreamResponse:
    said = ["-f", "change.yaml"] if asked["manifests"].strip() or not asked["delete"].strip() else []
    said += [word for each in asked["delete"].split() for word in ("--delete", each)]
    said += ["--prune"] if asked["prune"] else []
    return await shown(request, "plan", asked=asked, answer=answer, wrong=wrong, command=command("plan", *said))


async def _posted(request: web.Request) -> dict[str, str]:
    """Return the fields of the form.

    Raises:
        WrongError: it is none. ``BodyRefusedError``: it is too large, or does not come.
    """
    if request.content_type != _FORM:
        raise WrongError(415, f"The change is posted as a form, {_FORM}; the API takes JSON: POST /api/v1/plan.")
    async with request.app[BODIES].of(request) as body:
        if len(body) > LONGEST_FORM:
            raise WrongError(413, _TOO_LARGE)
        try:
            given = dict(parse_qsl(body.decode("utf-8", "replace"), max_num_fields=_MOST_FIELDS))
        except ValueError as error:
            raise WrongError(400, f"The form cannot be read: {error}") from error
    return {name: given.get(name, "") for name in ("manifests", "delete", "prune")}


async def _prefilled(request: web.Request) -> dict[str, str]:
    """Return what an address puts into the form: an object as it is now (``?object=``), or one that goes."""
    found = {"manifests": "", "delete": request.query.get("delete", ""), "prune": ""}
    parts = request.query.get("object", "").split("/")
    if len(parts) == len(("kind", "namespace", "name")) and all(parts):
        kind, namespace, name = parts
        named = read_as(queries.ObjectQuery, {"kind": kind, "namespace": namespace, "name": name})
        detail = await request.app[VIEWS].object(named)
        if detail is None or detail.manifest is None:
            raise WrongError(404, f"There is no {kind} {namespace}/{name} in force.")
        text = "\n".join(each.text for each in await request.app[PACE].gathered(lines(detail.manifest)))
        if len(urlencode({"manifests": text.replace("\n", "\r\n")})) > LONGEST_FORM:  # as a browser sends it
            raise WrongError(413, _TOO_LARGE)
        found["manifests"] = text
    return found
