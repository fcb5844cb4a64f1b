"""CEL by its grammar."""

from __future__ import annotations

import pytest

from controlplane.apis.crds.rules import KEY_RULES, MODEL_RULES, VALUE_RULES
from controlplane.apis.validation.cel import problem


@pytest.mark.parametrize(
    "expression",
    [
        "response.code >= 400",
        "!has(request.auth) || request.headers['x-a'] in [\"a\", 'b',]",
        "-1u + .5e-3 * 0x1F % 2 == 3.0 ? true : {'a': 1, \"b\": [2]}.a",
        "connection.mtls && request.url_path.contains('v1beta3') // why",
        'r"\\d" + """a "quoted" text""" + b\'x\'',
        "[1, 2].all(x, x > 0) && size([]) == 0 && {}.size() == 0",
        "com.example.Message{field: 1}.field == 1",
        "((((a))))",
        *(rule.expression for rules in (*VALUE_RULES.values(), *KEY_RULES.values()) for rule in rules),
        *MODEL_RULES.values(),
    ],
)
def test_an_expression(expression: str) -> None:
    assert problem(expression) == ""


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("", "the end is not expected at character 1"),
        ("response.code >=", "the end is not expected at character 17"),
        ("response.code = 400", "'=' is not expected at character 15"),
        ("(a", "the end is not expected at character 3"),
        ("a)", "')' is not expected at character 2"),
        ("a b", "'b' is not expected at character 3"),
        ("'a", '"\'" is not expected at character 1'),
        ("a ? b", "the end is not expected at character 6"),
        ("a.'b'", "\"'b'\" is not expected at character 3"),
        ("{a}", "'}' is not expected at character 3"),
        ("f(,)", "',' is not expected at character 3"),
        ("a in", "the end is not expected at character 5"),
        ("in", "'in' is not expected at character 1"),
        ("a # b", "'#' is not expected at character 3"),
        ("(" * 1000 + "a" + ")" * 1000, "is nested deeper than 50 levels"),
    ],
)
def test_no_expression(expression: str, reason: str) -> None:
    assert problem(expression) == reason
