"""Thousands of requests that schemathesis makes of the OpenAPI description."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings

from tests.support.http_api import Held

EXAMPLES = 1000
"""For each endpoint."""


@pytest.mark.thorough
@pytest.mark.timeout(1800)
def test_no_request_is_answered_with_a_failure() -> None:
    import schemathesis
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi.checks import (
        content_type_conformance,
        response_schema_conformance,
        status_code_conformance,
    )

    checks = [
        not_a_server_error,
        content_type_conformance,
        response_schema_conformance,
        status_code_conformance,
    ]
    with Held() as held, httpx.Client(base_url=held.url, timeout=60) as client:
        described = schemathesis.openapi.from_dict(client.get("/openapi.json").json())
        asked = 0
        for found in described.get_all_operations():
            operation = found.ok()  # type: ignore[union-attr]

            @given(case=operation.as_strategy())
            @settings(
                max_examples=EXAMPLES,
                deadline=None,
                derandomize=True,
                suppress_health_check=list(HealthCheck),
            )
            def ask(case: schemathesis.Case[Any]) -> None:
                nonlocal asked
                asked += 1
                answered = case.call(base_url=held.url)
                case.validate_response(answered, checks=checks)
                if answered.status_code >= 400:
                    assert set(answered.json()) == {"error"}

            ask()
        assert asked > 2 * EXAMPLES
        assert client.get("/health/live").json() == {"status": "ok"}
