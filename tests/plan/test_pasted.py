"""Manifests that come as one text."""

from __future__ import annotations

import pytest

from controlplane.plan.question import Question
from controlplane.simulate.questions import WrongQuestionError


def test_each_object_is_read_with_the_line_where_it_begins() -> None:
    text = "# first\r\nkind: A\r\n---\r\nkind: List\r\nitems:\r\n- kind: B\r\n  text: |\r\n    one\r\n    two\r\n"
    asked = Question.of({"manifests": text, "objects": [{"value": {"kind": "C"}, "source": "c.yaml:1"}]})
    assert [(each.value["kind"], each.source) for each in asked.objects] == [
        ("C", "c.yaml:1"),
        ("A", "manifests:2"),
        ("B", "manifests:6"),
    ]
    assert asked.objects[-1].value["text"] == "one\ntwo\n"
    assert asked.manifests == ""


def test_json_is_read_too() -> None:
    assert Question.of({"manifests": ' {"kind": "A"}'}).objects[0].value == {"kind": "A"}


def test_what_cannot_be_read_is_told_with_its_line() -> None:
    with pytest.raises(WrongQuestionError, match=r"^manifests, line 4: not readable: "):
        Question.of({"manifests": "kind: A\n---\nkind: B\nspec: ]\n"})


def test_there_may_not_be_more_of_them_than_in_a_list() -> None:
    with pytest.raises(WrongQuestionError, match="more than 5000 objects"):
        Question.of({"manifests": "---\na: 1\n" * 5_001})
