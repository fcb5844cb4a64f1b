"""Every type of resource has a name wherever a plan, the API or the page tells of it."""

from __future__ import annotations

import re

import pytest

from controlplane.api.queries import ResourceQuery
from controlplane.cli.plan_text import NOUNS
from controlplane.snapshots import SHORT, ResourceType

PLANNED = [type_ for type_ in ResourceType if type_ is not ResourceType.VIRTUAL_HOST]
"""Virtual hosts are cut from route configurations when they are sent: no snapshot of a class holds them."""


def test_each_type_has_a_short_name() -> None:
    assert set(SHORT) == set(ResourceType)


@pytest.mark.parametrize("type_", PLANNED)
def test_each_type_of_a_snapshot_can_be_told_and_asked_for(type_: ResourceType) -> None:
    assert NOUNS[SHORT[type_]]
    (pattern,) = (each.pattern for each in ResourceQuery.model_fields["type"].metadata if hasattr(each, "pattern"))
    assert re.search(pattern, SHORT[type_])
