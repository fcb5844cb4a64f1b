"""The package table as an import-linter contract: one row a package, in ``pyproject.toml``.

import-linter's own contracts refuse a package that does not exist, cannot say "these and nothing else" and let a new
package pass unnoticed. This one is the design's table as it stands: a row lists what a package may import of
ours, and a package without a row is an error.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from importlinter import Contract, ContractCheck, fields, output

if TYPE_CHECKING:
    from grimp import ImportGraph

Table = Mapping[str, frozenset[str]]
ANYTHING = "*"


def table(rows: list[str]) -> Table:
    """Read rows of the form ``name: other, other`` (``*`` for anything)."""
    parsed = {}
    for row in rows:
        name, _, allowed = row.partition(":")
        parsed[name.strip()] = frozenset(word.strip() for word in allowed.split(",") if word.strip())
    return parsed


class PackageTable(Contract):
    """Fails on each direct import that the table does not allow.

    ``rows`` are of the form ``package: what it may import``, below ``root``; ``outside`` of the form
    ``library: the only packages that may import it``.
    Only direct imports count: what a package imports indirectly is allowed to it by the rows in between.
    """

    type_name = "package_table"

    root = fields.StringField()
    rows = fields.ListField(subfield=fields.StringField())
    outside = fields.ListField(subfield=fields.StringField())

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:  # noqa: ARG002, FBT001 - the base class's signature
        """Compare every import of the graph with the table."""
        root, rows, outside = str(self.root), table(list(self.rows)), table(list(self.outside))  # type: ignore[call-overload]
        inside = {*_unknown(graph, root, rows), *_forbidden(graph, root, rows)}
        problems = sorted(inside | set(_outside(graph, root, outside)))
        return ContractCheck(kept=not problems, metadata={"problems": problems})

    def render_broken_contract(self, check: ContractCheck) -> None:
        """Print one line a forbidden import."""
        for problem in check.metadata["problems"]:
            output.print_error(problem)
        output.new_line()


def _package(module: str, root: str) -> str:
    """Return the first name below the root: ``ads`` of ``controlplane.ads.stream``, empty for the root itself."""
    return module.removeprefix(root).lstrip(".").partition(".")[0]


def _ours(graph: ImportGraph, root: str) -> set[str]:
    return {module for module in graph.modules if module.startswith(f"{root}.")}


def _unknown(graph: ImportGraph, root: str, rows: Table) -> Iterator[str]:
    for package in sorted({_package(module, root) for module in _ours(graph, root)} - rows.keys()):
        yield f"{root}.{package} has no row in the package table"


def _forbidden(graph: ImportGraph, root: str, rows: Table) -> Iterator[str]:
    ours = _ours(graph, root)
    for module in ours:
        package = _package(module, root)
        allowed = rows.get(package, frozenset()) | {package}
        for imported in graph.find_modules_directly_imported_by(module) & ours:
            if _package(imported, root) not in allowed and ANYTHING not in allowed:
                yield f"{module} imports {imported}, which its row does not allow{_lines(graph, module, imported)}"


def _outside(graph: ImportGraph, root: str, outside: Table) -> Iterator[str]:
    for module in _ours(graph, root) | {root}:
        for imported in graph.find_modules_directly_imported_by(module):
            importers = outside.get(imported.partition(".")[0])
            if importers is not None and _package(module, root) not in importers:
                yield f"{module} imports {imported}, which is left to other packages{_lines(graph, module, imported)}"


def _lines(graph: ImportGraph, importer: str, imported: str) -> str:
    details = graph.get_import_details(importer=importer, imported=imported)
    return f" (line {', '.join(str(detail['line_number']) for detail in details)})"
