"""Templates against what Go makes of them: ``recorded.json`` is what text/template printed, with sprig 3.3."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from controlplane.gotemplate.errors import TemplateError
from controlplane.gotemplate.evaluate import MAX_OUTPUT, Template
from controlplane.gotemplate.sprig import FUNCTIONS

RECORDED = json.loads((Path(__file__).parent / "recorded.json").read_text())


def rendered(text: str, data: Any = None) -> str:
    return Template("t", text, FUNCTIONS).render(data)


@pytest.mark.parametrize("row", RECORDED["rows"], ids=lambda row: row["template"][:60])
def test_as_go_does(row: dict[str, Any]) -> None:
    if row.get("fails"):
        with pytest.raises(TemplateError):
            rendered(row["template"], RECORDED["data"])
    else:
        assert rendered(row["template"], RECORDED["data"]) == row["output"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a\n{{ nope }}", 'template: t:2: function "nope" not defined'),
        ("{{ .a\n}}{{ index .l 3 }}", 'template: t:2:5: executing "t" at <index .l 3>: error calling index'),
        ("{{ upper 3 }}", "error calling upper: wrong type for value; expected string; got int"),
        ("{{ upper }}", "wrong number of args for upper: want 1 got 0"),
        ("{{ if .a }}", "unexpected EOF"),
        ("{{ $x }}", 'undefined variable "$x"'),
    ],
)
def test_a_failure_says_where(text: str, reason: str) -> None:
    with pytest.raises(TemplateError) as failed:
        rendered(text, {"a": 1, "l": []})
    assert reason in str(failed.value)


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    [
        "{{ range until 9999 }}{{ range until 9999 }}{{ end }}{{ end }}",
        "{{ range 99999999999999 }}{{ end }}",
        "{{ $l := until 9999 }}{{ range until 9999 }}{{ range $l }}{{ end }}{{ end }}",
        "{{ $l := until 9999 }}{{ range until 9999 }}{{ range $l }}{{ break }}{{ end }}{{ end }}",
        "{{ define `a` }}{{ template `a` }}{{ end }}{{ template `a` }}",
        "{{ $s := `x` }}{{ range until 60 }}{{ $s = cat $s $s }}{{ end }}{{ $s }}",
        "{{ $l := list 1 }}{{ range until 60 }}{{ $l = list $l $l }}{{ end }}{{ $l }}",
        "{{ $d := dict }}{{ range until 60 }}{{ $d = dict `a` $d `b` $d }}{{ end }}{{ toJson $d }}",
        "{{ repeat 99999999 `x` }}",
        "{{ until 99999999 }}",
        "{{ indent 99999999 `x` }}",
        "{{ printf `%999999999d` 1 }}",
        "{{ regexMatch `(((((((((a{1,99}){1,99}){1,99}` `a` }}",
        "{{ $d := dict }}{{ $_ := set $d `d` $d }}{{ toJson $d }}",
        "{{" + "(" * 10_000,
        "{{ if 1 }}" * 10_000,
        f"{{{{ range until 9000 }}}}{'x' * (MAX_OUTPUT // 5000)}{{{{ end }}}}",
    ],
)
def test_a_template_ends_whatever_it_says(text: str) -> None:
    with pytest.raises(TemplateError):
        rendered(text)


def test_a_list_that_is_too_long_is_not_compared_with_itself() -> None:
    text = "{{ $l := until 9999 }}{{ range until 3 }}{{ $l = concat $l $l }}{{ end }}{{ uniq $l }}"
    with pytest.raises(TemplateError, match="takes at most"):
        rendered(text)


@pytest.mark.parametrize(
    "text",
    [
        "{{ printf `%c` 99999999999 }}",
        "{{ floor 1e309 }}",
        "{{ index (dict) (list) }}",
        "{{ regexReplaceAll `a` `a` `$9` }}",
        '{{ len "\\ud800" }}',
        "{{ toDecimal `9` }}",
    ],
)
def test_what_only_python_minds_is_told_by_its_place(text: str) -> None:
    with pytest.raises(TemplateError, match=r"template: t:1:\d+: .* error calling "):
        rendered(text)


def test_numbers_stay_within_64_bits() -> None:
    text = rendered("{{ $x := 3 }}{{ range until 100 }}{{ $x = mul $x $x }}{{ end }}{{ $x }}")
    assert abs(int(text)) < 2**63
