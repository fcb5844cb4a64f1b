"""The command, and the archive that it writes."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer

from controlplane.cli.asking.where import Replica, Where, asks_control_plane
from controlplane.cli.bug_report.cluster import Part, parts_of_cluster
from controlplane.cli.bug_report.redaction import redacted_body
from controlplane.cli.fetch import Unanswered, fail, fetch_json, fetch_text
from controlplane.cli.output import print_aside
from controlplane.cli.plain import PlainCommand
from controlplane.printable import printable

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)

_ASKING = ("config_dump", "edsz", "ecdsz", "explain", "plan", "list")
_BESIDE = ("/version", "/ready", "/metrics", "/api/v1/findings?limit=500", "/api/v1/events", "/api/v1/certificates")
_MOST_PROXIES = 10


@app.command(cls=PlainCommand)
@asks_control_plane()
def bug_report(
    proxies: Annotated[
        list[str] | None,
        typer.Argument(metavar="PROXY", help="NAME.NAMESPACE: whose configuration is wanted; the first 10 else."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="The archive; it must not be there yet.")
    ] = None,
    *,
    where: Where,
) -> None:
    """Gather what helps to find out what is wrong, in one archive without credentials, to be sent with a report.

    Of each replica: its debug pages, metrics, problems, the last changes, and what its proxies should hold. Of a
    cluster: pods, logs, Deployments, webhooks and Events of the control plane. Private keys, tokens and passwords are
    [redacted]; Secrets are not asked for. What could not be had is told in missing.txt.

    Exit codes: 0 the archive is written, 2 wrong usage, 1 nobody answers, or it cannot be written.
    """
    now = datetime.now(UTC)
    file = output or Path(f"bug-report-{now:%Y%m%d-%H%M%S}.tar.gz")
    if file.exists():
        fail(f"{file} is there already: name another file with -o")
    found: list[Part] = []
    try:
        with where.replicas() as replicas:
            for replica in replicas:
                print_aside(f"Asking {replica.name} ...")
                found += _of_replica(replica, proxies or ())
    except Unanswered as error:
        found.append(("control-plane", None, str(error)))
    if where.is_a_cluster:
        print_aside("Asking the cluster ...")
        found += parts_of_cluster(where.kubeconfig, where.context, where.namespace)
    if all(content is None for _, content, _ in found):
        reasons = dict.fromkeys(reason for _, _, reason in found)
        fail("; ".join(each for each in reasons if not any(each in other for other in reasons if other != each)))
    _write(file, found, now)
    missing = sum(content is None for _, content, _ in found)
    more = f"; {missing} could not be had, missing.txt says why" if missing else ""
    print(f"{file}: {len(found) - missing} files{more}")


def _of_replica(replica: Replica, proxies: Sequence[str]) -> Iterator[Part]:
    """Yield what one replica tells."""
    folder = replica.name.replace(" ", "-").replace("/", "-").replace(":", "-")
    pages, wanted = list(_BESIDE), list(proxies)
    try:
        listed = fetch_json(replica.address, "/debug/list", "control plane")
        pages += [f"/debug/{page}" for page in listed if page not in _ASKING]
        connected = fetch_json(replica.address, "/debug/syncz", "control plane")
        wanted = wanted or [str(each["proxy"]) for each in connected][:_MOST_PROXIES]
    except Unanswered as error:
        yield f"{folder}/debug", None, str(error)
    for page in pages:
        yield _page(replica, f"{folder}{page.partition('?')[0]}", page)
    for proxy in wanted:
        yield _page(
            replica,
            f"{folder}/proxies/{proxy.replace('/', '_')}",
            f"/debug/config_dump?proxyID={quote(proxy, safe='')}&include_eds=true",
        )


def _page(replica: Replica, name: str, page: str) -> Part:
    try:
        return name, fetch_text(replica.address, page, "control plane").encode(), ""
    except Unanswered as error:
        return name, None, str(error)


def _write(file: Path, found: Sequence[Part], now: datetime) -> None:
    missing = "".join(f"{printable(f'{name}: {reason}')}\n" for name, content, reason in found if content is None)
    held = [(name, redacted_body(content)) for name, content, _ in found if content is not None]
    try:
        with file.open("xb") as raw, tarfile.open(fileobj=raw, mode="w:gz") as archive:
            file.chmod(0o600)
            for name, content in [*held, ("missing.txt", missing.encode())]:
                entry = tarfile.TarInfo(_place(name))
                entry.size, entry.mtime, entry.mode = len(content), int(now.timestamp()), 0o600
                archive.addfile(entry, io.BytesIO(content))
    except FileExistsError:
        fail(f"{file} is there already: name another file with -o")
    except OSError as error:
        fail(f"{file} cannot be written: {error.strerror}")


def _place(name: str) -> str:
    """Return where a file is in the archive; proxies choose their names, and none may lead out of it."""
    parts = [printable(each) for each in name.split("/")]
    return "/".join(
        ["bug-report", *(part.replace(".", "_") if part in {".", ".."} else part for part in parts if part)]
    )
