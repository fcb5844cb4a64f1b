"""Findings of a control plane that runs, whatever it reads its objects from."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

from controlplane.analysis import codes
from controlplane.analysis.codes import Code, Level
from controlplane.analysis.resources import Message, Resource
from controlplane.cli.asking.answers import of_all
from controlplane.cli.asking.where import Replica, Where
from controlplane.cli.fetch import Unanswered, fail, fetch_json
from controlplane.model.kinds import GroupKind

_MOST = 500


def findings_of(address: str) -> list[Message]:
    """Return what the control planes at an address have found, each finding once; fails where none answers."""
    try:
        with Where(address).replicas() as replicas:
            found = of_all(replicas, lambda each: list(_rows(each)))
    except Unanswered as error:
        fail(str(error))
    rows = {json.dumps(row): row for _, held in found for row in held}
    return [_message(row) for row in rows.values()]


def _rows(replica: Replica) -> Iterator[Any]:
    after = ""
    while True:
        path = f"/api/v1/findings?{urlencode({'limit': _MOST, **({'after': after} if after else {})})}"
        part = fetch_json(replica.address, path, "control plane")
        yield from part["items"]
        after = part["next"]
        if not after:
            return


def _message(row: dict[str, Any]) -> Message:
    named = row["object"]
    kind = GroupKind(named["kind"], named["group"])
    about = Resource(kind, named["namespace"], named["name"], {}, {}, {}, cluster=named.get("cluster", ""))
    refused = codes.SCHEMA_ERROR.id if row["sort"] == "refused" else ""  # which has no code there, nor have some others
    return Message(
        Code(row["code"] or refused, Level(row["level"]), "", ""), about, row["reason"], row["path"], row["source"]
    )
