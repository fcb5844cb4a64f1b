"""``explain``: what becomes of a request and which object decides each step, or what one object makes."""

from __future__ import annotations

import asyncio
import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlencode

import typer

from controlplane.cli.asking.where import Where, asks_control_plane
from controlplane.cli.fetch import Unanswered, Wrong, fail, fetch_json, post_json, split_address
from controlplane.cli.habits import method_meant, object_meant, proxy_meant
from controlplane.cli.plain import PlainCommand

_ADMIN = "CONTROLPLANE_ENVOY_ADMIN"

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)

FAILS, NOTHING = 3, 4
"""Exit codes: the request, or some of such requests, fail, or a part of the object is without effect; all of it is."""


class Output(StrEnum):
    """How the explanation is printed."""

    TEXT = "text"
    JSON = "json"


FilesOption = Annotated[
    list[Path] | None,
    typer.Option(
        "-f", "--filename", metavar="FILE", help="A file, a directory or -: the mesh, without a control plane."
    ),
]


@app.command(cls=PlainCommand)
@asks_control_plane()
def explain(
    words: Annotated[
        list[str],
        typer.Argument(metavar="[METHOD] URL | OBJECT", help="The request; or an object, as KIND/NAMESPACE/NAME."),
    ],
    origin: Annotated[
        str,
        typer.Option(
            "--from", metavar="PROXY", help="pod/NAMESPACE/NAME, gateway/NAMESPACE/NAME or namespace/NAMESPACE."
        ),
    ] = "",
    header: Annotated[
        list[str] | None, typer.Option("-H", "--header", metavar="NAME: VALUE", help="A header; repeatable.")
    ] = None,
    identity: Annotated[
        str, typer.Option("--as", metavar="sa/NAMESPACE/NAME", help="Whose certificate the caller shows.")
    ] = "",
    source: Annotated[str, typer.Option("--source-ip", metavar="IP", help="The address that it comes from.")] = "",
    filename: FilesOption = None,
    namespace: Annotated[
        str, typer.Option("-n", "--namespace", metavar="NAME", help="That of an object or a proxy whose name has none.")
    ] = "",
    verbose: Annotated[
        bool, typer.Option("-v", "--verbose", help="Of an object: what it adds to each resource.")
    ] = False,
    live: Annotated[
        bool,
        typer.Option("--live", help="Go by what the proxy's Envoy holds, and say where it is served another thing."),
    ] = False,
    admin: Annotated[
        str,
        typer.Option(
            envvar=_ADMIN,
            metavar="HOST:PORT",
            help="With --live: Envoy's admin port. Without, that of the proxy's pod, or 127.0.0.1:15000.",
        ),
    ] = "",
    output: Annotated[Output, typer.Option("-o", "--output", help="How it is printed.")] = Output.TEXT,
    *,
    where: Where,
) -> None:
    """Tell what becomes of a request, and which field of which object decides each step; or what an object makes.

    The lines are in Envoy's order; each names its object on the right. What was not chosen is shown with the reason.
    Nothing is sent: the configuration that the proxy has, or would have, is looked at. With -f it is made from files;
    a Deployment stands for one ready pod.

    With --live the caller's Envoy is asked for what it holds by now, and the request is followed in that; what it is
    served is told beside it where another thing becomes of the request. Of the servers' proxies it is known what they
    are served.

    Of an object it tells which proxies have something because of it, what of it is without effect and why, what it is
    used in place of, and whether proxies have taken it.

    Exit codes: 0 the request gets where its configuration leads it, or all of the object has an effect, 3 it fails, or
    a part of the object has none or is refused, 4 the object has no effect at all, 2 wrong usage, 1 anything else.
    """
    from controlplane.cli.explain_text import explanation_text
    from controlplane.cli.output import print_text, print_value

    asked_for_admin = admin != os.environ.get(_ADMIN, "")  # the variable may be there for other commands
    if (named := object_meant(words, namespace)) is not None:
        if live or asked_for_admin:
            raise typer.BadParameter("an object is no request, which --live and --admin are for", param_hint="--live")
        _explain_object(named, where, filename, verbose=verbose, output=output)
        return
    if asked_for_admin and not live:
        raise typer.BadParameter("the admin port is asked with --live alone", param_hint="--admin")
    if live and admin:
        split_address(admin)
    asked = _query(words, proxy_meant(origin, namespace), header or [], identity, source)
    try:
        if live:
            answer = _live(where, filename, asked, admin)
        else:
            answer = _of_files(filename, asked) if filename else _of_server(where, asked)
    except Wrong as error:
        raise typer.BadParameter(str(error)) from error
    except Unanswered as error:
        fail(str(error))
    if output is Output.JSON:
        print_value(answer, "json")
    else:
        print_text(explanation_text(answer))
    if answer["fails"]:
        raise typer.Exit(FAILS)


def _explain_object(name: str, where: Where, paths: list[Path] | None, *, verbose: bool, output: Output) -> None:
    from controlplane.cli.object_text import is_nothing, is_whole, object_text
    from controlplane.cli.output import print_text, print_value, told_if_slow

    patches = verbose or output is Output.JSON
    try:
        with told_if_slow("Building what the proxies get, with the object and without it ..."):
            if paths:
                answer = _object_of_files(paths, {"explain": name, "patches": patches})
            else:
                answer = _object_of_server(where, {"object": name} | ({"patches": "1"} if patches else {}))
    except Wrong as error:
        raise typer.BadParameter(str(error)) from error
    except Unanswered as error:
        fail(str(error))
    if output is Output.JSON:
        print_value(answer, "json")
    else:
        print_text(object_text(answer, verbose=verbose))
    if is_nothing(answer):
        raise typer.Exit(NOTHING)
    if not is_whole(answer):
        raise typer.Exit(FAILS)


def _object_of_files(paths: list[Path], question: dict[str, Any]) -> Any:  # noqa: ANN401 - JSON
    from controlplane.cli.mesh_files import completed
    from controlplane.plan.of_object import object_answer
    from controlplane.simulate.built import mesh_of
    from controlplane.simulate.questions import WrongQuestionError

    async def answer() -> Any:  # noqa: ANN401 - JSON
        found = completed(paths)
        mesh = await mesh_of(found.change_set())
        return await object_answer(mesh.compiler, mesh.every(), question, found.rejected)

    try:
        return asyncio.run(answer())
    except WrongQuestionError as error:
        raise typer.BadParameter(str(error)) from error


def _query(words: list[str], origin: str, headers: list[str], identity: str, source: str) -> list[tuple[str, str]]:
    """Return what is asked as the parameters of a query.

    Raises:
        typer.BadParameter: it is neither a request nor an object.
    """
    if len(words) > 2 or "://" not in words[-1]:  # noqa: PLR2004 - method and URL
        bare = words[-1] if len(words) <= 2 and (origin or ":" in words[-1]) else ""  # noqa: PLR2004 - as above
        meant = f"; perhaps http://{bare}" if bare and bare.strip("/") and "=" not in bare else ""
        form = "give METHOD and URL (GET http://reviews:9080/), or an object (vs/shop/reviews)"
        raise typer.BadParameter(form + meant)
    if not origin:
        raise typer.BadParameter("--from is needed: whose request it is")
    for each in headers:
        if not each.partition(":")[0].strip() or ":" not in each:
            raise typer.BadParameter(f"{each!r} is not NAME: VALUE", param_hint="-H")
    _check(identity, source)
    method = method_meant(words[0]) if len(words) > 1 else "GET"
    found = [("from", origin), ("method", method), ("url", words[-1])]
    found += [("header", each) for each in headers]
    return [*found, *((name, value) for name, value in (("as", identity), ("source", source)) if value)]


def _check(identity: str, source: str) -> None:
    """Refuse an identity or address that is none, by the name of its option."""
    from controlplane.simulate.asked import BadRequestError, checked_identity, checked_source

    for hint, value, check in (("--as", identity, checked_identity), ("--source-ip", source, checked_source)):
        try:
            check(value)
        except BadRequestError as error:
            raise typer.BadParameter(str(error), param_hint=hint) from error


def _of_server(where: Where, asked: list[tuple[str, str]]) -> Any:  # noqa: ANN401 - JSON
    """Return the answer of the replica that the proxy is connected to, else of any."""
    from controlplane.cli.asking.answers import is_connected, of_one

    path = f"/debug/explain?{urlencode(asked)}"
    with where.replicas() as replicas:
        return of_one(replicas, lambda each: fetch_json(each.address, path, "control plane"), is_connected)


def _live(where: Where, paths: list[Path] | None, asked: list[tuple[str, str]], admin: str) -> Any:  # noqa: ANN401 - JSON
    """Return the answer by what the caller's Envoy holds, of the replica that it is connected to."""
    from controlplane.cli.asking.answers import is_connected, of_all
    from controlplane.cli.live import held_by

    def question(answer: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
        return {"request": asked, "held": held_by(answer["proxy"]["id"], admin, where)}

    if paths:
        return _live_of_files(paths, question(_of_files(paths, asked)))
    path = f"/debug/explain?{urlencode(asked)}"
    with where.replicas() as replicas:
        found = of_all(replicas, lambda each: fetch_json(each.address, path, "control plane"))
        replica, answer = next((each for each in found if is_connected(each[1])), found[0])
        return post_json(replica.address, "/debug/explain", question(answer), "control plane")


def _live_of_files(paths: list[Path], question: dict[str, Any]) -> Any:  # noqa: ANN401 - JSON
    from controlplane.cli.mesh_files import completed
    from controlplane.simulate.built import mesh_of
    from controlplane.simulate.questions import WrongQuestionError, live_request

    async def answer() -> Any:  # noqa: ANN401 - JSON
        return await live_request(await mesh_of(completed(paths).change_set()), question)

    try:
        return asyncio.run(answer())
    except WrongQuestionError as error:
        raise typer.BadParameter(str(error)) from error


def _object_of_server(where: Where, asked: dict[str, str]) -> Any:  # noqa: ANN401 - JSON
    from controlplane.cli.asking.answers import joined_objects, of_all

    path = f"/debug/explain?{urlencode(asked)}"
    with where.replicas() as replicas:
        found = of_all(replicas, lambda each: fetch_json(each.address, path, "control plane"))
    return joined_objects([answer for _, answer in found])


def _of_files(paths: list[Path], asked: list[tuple[str, str]]) -> Any:  # noqa: ANN401 - JSON
    from controlplane.cli.mesh_files import completed
    from controlplane.simulate.built import mesh_of
    from controlplane.simulate.questions import WrongQuestionError, explained_request

    async def answer() -> Any:  # noqa: ANN401 - JSON
        return await explained_request(await mesh_of(completed(paths).change_set()), asked)

    try:
        return asyncio.run(answer())
    except WrongQuestionError as error:
        raise typer.BadParameter(str(error)) from error
