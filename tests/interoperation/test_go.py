"""gRPC for Go, which istiod's own clients and agents speak, on both ports."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.feature.identities import securely
from tests.feature.objects import MESH
from tests.interoperation.clients import STREAMS, built_go, told

pytestmark = pytest.mark.slow


def test_every_stream_is_served_on_both_ports_in_both_forms(tmp_path: Path) -> None:
    client = built_go(tmp_path / "go")
    with securely(tmp_path, *MESH) as server:
        found = told(client, server, tmp_path)
    assert len(found) == 4
    for where, said in found.items():
        streams, size = said.split()
        assert (int(streams), int(size) > 0) == (STREAMS, True), (where, said)
