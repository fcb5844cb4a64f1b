"""The mesh of the documents' examples, built once."""

from __future__ import annotations

import asyncio
from functools import cache
from typing import Any

from controlplane.cli.mesh_files import completed
from controlplane.model.proxy import Proxy
from controlplane.simulate.built import mesh_of
from controlplane.simulate.questions import explained_request
from tests.cli.command import ROOT

BOOKSHOP = ROOT / "docs" / "examples" / "bookshop"


def explain(origin: str, url: str, method: str = "GET", *headers: str, proxy: Proxy | None = None, **rest: str) -> Any:
    """Return the answer to a question about the bookshop; ``proxy`` is whose request it is in place of ``origin``'s."""
    pairs = [("from", origin), ("method", method), ("url", url)]
    pairs += [("header", each) for each in headers]
    pairs += [(name.rstrip("_"), value) for name, value in rest.items()]

    async def answer() -> Any:
        return await explained_request(await mesh_of(_changes()), pairs, proxy)

    return asyncio.run(answer())


@cache
def _changes() -> Any:
    return completed([BOOKSHOP]).change_set()
