"""Schemathesis asks a control plane that runs what its own description allows, and what it does not.

Every answer has to be of a status and a shape that the description names. Questions are the same in each run.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest
import schemathesis
from hypothesis import HealthCheck, assume, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from controlplane.api.operations import Operation, operations
from tests.feature.objects import GOOD, MESH
from tests.feature.server import Server, serving
from tests.patience import PATIENCE_SECONDS

pytestmark = pytest.mark.slow
EXAMPLES = 20
ASKED = [each for each in operations() if not each.streamed]  # a stream never ends
WITH_PARAMETERS = [each for each in ASKED if each.asks.model_fields or each.posts is not None]
LONGEST_URL = 8_000
"""Bytes; more is refused before anybody looks at what is asked for."""
SHAPES = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
SETTINGS = settings(
    max_examples=EXAMPLES,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("mesh"), *MESH, GOOD) as running:
        yield running


@pytest.fixture(scope="module")
def described(server: Server) -> Any:
    return schemathesis.openapi.from_url(f"http://{server.monitoring}/api/v1/openapi.json")


def asked(described: Any, operation: Operation, mode: GenerationMode) -> Any:
    """Return the strategy of questions about one operation."""
    method = "GET" if operation.posts is None else "POST"
    return described[operation.path][method].as_strategy(generation_mode=mode)


@pytest.mark.parametrize("operation", ASKED, ids=lambda each: each.path)
def test_good_questions_are_answered_as_described(described: Any, operation: Operation) -> None:
    @SETTINGS
    @given(case=asked(described, operation, GenerationMode.POSITIVE))
    def ask(case: Any) -> None:
        case.validate_response(case.call(timeout=PATIENCE_SECONDS), checks=SHAPES)

    ask()


@pytest.mark.parametrize("operation", WITH_PARAMETERS, ids=lambda each: each.path)
def test_wrong_questions_are_refused_as_described(described: Any, operation: Operation) -> None:
    @SETTINGS
    @given(case=asked(described, operation, GenerationMode.NEGATIVE))
    def ask(case: Any) -> None:
        assume(len(case.as_transport_kwargs()["url"]) + len(urlencode(case.query or {}, doseq=True)) < LONGEST_URL)
        case.validate_response(case.call(timeout=PATIENCE_SECONDS), checks=[*SHAPES, negative_data_rejection])

    ask()
