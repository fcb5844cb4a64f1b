"""Results of routing tests: for people, for CI systems (JUnit), and as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

from controlplane.cli.explain_text import explanation_text
from controlplane.cli.output import print_text
from controlplane.printable import printable

if TYPE_CHECKING:
    from controlplane.cli.routing_tests import Result
    from controlplane.simulate.routing.coverage import Coverage


def print_results(results: Sequence[Result], coverage: Coverage | None, fail_under: float) -> None:
    """Print a line for each request, those that fail with their explanation, and what all of them reach."""
    lines: list[str] = []
    file = ""
    for result in results:
        if result.case.file != file:
            file = result.case.file
            lines += [file]
        note = f"   {result.case.skip}" if result.verdict == "skip" else ""
        lines.append(f"  {result.verdict:<5} {result.case.title}{note}")
        if result.verdict == "FAIL":
            lines += [f"          {problem}" for problem in result.told]
            if result.answer is not None:
                lines += [
                    "",
                    *(f"        {line}".rstrip() for line in explanation_text(result.answer).splitlines()),
                    "",
                ]
    counts = Counter(result.verdict for result in results)
    told = [f"{len(results)} requests: {counts['ok']} as expected, {counts['FAIL']} not"]
    if counts["skip"]:
        told.append(f"{counts['skip']} skipped")
    lines += ["", ", ".join(told)]
    if coverage is not None and coverage.rules:
        lines += [
            "",
            f"Rules of VirtualServices reached: {coverage.percent:.0f} %",
            *(f"  {each}" for each in coverage.lines()),
        ]
        if coverage.percent < fail_under:
            lines += [f"That is less than {fail_under:g} %."]
    print_text("\n".join(lines))


def junit_text(results: Sequence[Result]) -> str:
    """Return the results as JUnit's XML, a suite for each file."""
    root = ET.Element("testsuites")
    for file in dict.fromkeys(result.case.file for result in results):
        held = [result for result in results if result.case.file == file]
        failed = sum(result.verdict == "FAIL" for result in held)
        skipped = sum(result.verdict == "skip" for result in held)
        counts = {"tests": str(len(held)), "failures": str(failed), "skipped": str(skipped)}
        suite = ET.SubElement(root, "testsuite", {"name": file, **counts})
        for result in held:
            case = ET.SubElement(suite, "testcase", {"classname": file, "name": _clean(result.case.title)})
            if result.verdict == "FAIL":
                message = _clean("; ".join(result.told))
                tree = explanation_text(result.answer) if result.answer is not None else ""
                ET.SubElement(case, "failure", {"message": message}).text = _clean(tree)
            elif result.verdict == "skip":
                ET.SubElement(case, "skipped", {"message": _clean(result.case.skip)})
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _clean(text: str) -> str:
    """Return a text without letters that XML cannot hold."""
    return printable(text, keep="\n")


def result_words(results: Sequence[Result], coverage: Coverage | None) -> dict[str, Any]:
    """Return what JSON says of the results."""
    return {
        "tests": [
            {
                "file": result.case.file,
                "name": result.case.name,
                "values": dict(result.case.values),
                "verdict": result.verdict.lower(),
                "problems": list(result.told) if result.verdict != "ok" else [],
                "explanation": result.answer,
            }
            for result in results
        ],
        "coverage": coverage.words() if coverage is not None else None,
    }
