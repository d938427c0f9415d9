"""Requests that schemathesis makes from the OpenAPI description of a running server, good and bad ones."""

from __future__ import annotations

import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import content_type_conformance, response_schema_conformance

from openenv_gym.providers.process import ProcessProvider
from openenv_gym.wire.codes import ErrorCode
from tests.faults.health import (
    assert_all_sessions_end,
    assert_good_clients_work,
    assert_no_failure_of_its_own,
)

DEADLINE_S = 5.0
CASES = 60  # of each operation, good ones and as many bad ones
ENVIRONMENTS_OWN = {ErrorCode.EXECUTION_ERROR, ErrorCode.FACTORY_ERROR}


def assert_answered(server: ProcessProvider, case: schemathesis.Case) -> None:
    """A 200 is as described; every error has a code, and a 500 is one of the environment."""
    response = case.call(timeout=DEADLINE_S)
    assert_no_failure_of_its_own(server)
    assert_all_sessions_end(server.base_url)
    case.validate_response(response, checks=[content_type_conformance, response_schema_conformance])
    if response.status_code >= 400:
        error = response.json()
        assert error["code"] in set(ErrorCode)
        assert error["message"]
        assert response.status_code < 500 or error["code"] in ENVIRONMENTS_OWN, error
        assert response.status_code != 422 or error.get("detail")


def ask_everything(server: ProcessProvider) -> None:
    api = schemathesis.openapi.from_url(f"{server.base_url}/openapi.json")
    asked = set()
    # Not by its pytest plugin, which does not get along with each version of pytest.
    for result in api.get_all_operations():
        operation = result.ok()
        # The others take nothing, or anything: there are no bad cases.
        has_bad_cases = operation.path in {"/reset", "/step"}
        for mode in GenerationMode if has_bad_cases else [GenerationMode.POSITIVE]:

            @settings(
                max_examples=CASES, deadline=None, database=None, suppress_health_check=list(HealthCheck)
            )
            @given(operation.as_strategy(generation_mode=mode))
            def ask(case: schemathesis.Case) -> None:
                asked.add(f"{case.method} {case.path}")
                assert_answered(server, case)

            ask()
    assert asked == {
        *("DELETE /mcp", "GET /health", "GET /live", "GET /ready", "GET /metrics"),
        *("GET /schema", "GET /metadata", "GET /state"),
        *("POST /reset", "POST /step", "POST /mcp"),
        *("GET /list_environments", "GET /{env_name}/splits"),
        *(f"POST /{{env_name}}/{call}" for call in ("tasks", "num_tasks", "task", "task_range")),
    }
    assert_good_clients_work(server.base_url)


def test_a_gymnasium_server_keeps_to_its_description(gymnasium_server: ProcessProvider) -> None:
    ask_everything(gymnasium_server)


def test_an_authors_server_keeps_to_its_description(authors_server: ProcessProvider) -> None:
    ask_everything(authors_server)
