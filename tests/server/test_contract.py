"""Models, exceptions and helpers that code against the contract uses."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from openenv_server import create_app
from openenv_server.environment import CompositeTransform, NullTransform, Transform
from openenv_server.errors import (
    CapacityReachedError,
    ConcurrencyConfigurationError,
    FactoryFailedError,
    SessionCreationError,
    SessionNotFoundError,
)
from openenv_server.readme import load_environment_metadata
from openenv_server.routes.get_endpoints import GetEndpointConfig, register_get_endpoints
from openenv_server.serialization import deserialize_action_with_preprocessing
from pydantic import BaseModel, ValidationError

from openenv_gym.contract import HealthResponse, SchemaResponse, ServerCapacityStatus
from openenv_gym.errors import ConfigurationError
from openenv_gym.generic_client import GenericAction, GenericEnvClient
from openenv_gym.providers.process import ProcessProvider
from openenv_gym.sync_client import SyncEnvClient
from openenv_gym.types import Action, Message, Observation
from tests.support.environments import CountAction, Counter, CountObservation
from tests.support.servers import running, status_of
from tests.support.walker import write_walker


class Chat(BaseModel):
    messages: list[Message]


def test_a_model_may_have_messages() -> None:
    assert Chat.model_validate_json('{"messages": [{"role": "user", "content": "hi"}]}').messages == [
        {"role": "user", "content": "hi"}
    ]
    assert Chat.model_json_schema()["$defs"]["Message"]["required"] == ["role", "content"]
    with pytest.raises(ValidationError, match="content"):
        Chat(messages=[{"role": "user"}])  # type: ignore[typeddict-item]


def test_transforms_apply_in_order() -> None:
    class Scale(Transform[Observation]):
        def __call__(self, observation: Observation) -> Observation:
            observation.reward = 2 * (observation.reward or 1)
            return observation

    both = CompositeTransform([Scale(), NullTransform(), Scale()])
    assert both(Observation()).reward == 4


def test_more_sessions_than_a_class_allows_are_refused_with_the_facts() -> None:
    class Single(Counter):
        SUPPORTS_CONCURRENT_SESSIONS = False

    with pytest.raises(ConfigurationError, match="Single sets") as refused:
        create_app(Single, CountAction, CountObservation, max_concurrent_envs=3)
    assert isinstance(refused.value, ConcurrencyConfigurationError)
    assert (refused.value.environment_name, refused.value.max_concurrent_envs) == ("Single", 3)


def test_exceptions_have_the_facts() -> None:
    full = CapacityReachedError(3, 4)
    assert (full.active_sessions, full.max_sessions) == (3, 4)
    assert str(CapacityReachedError(3, 4, "as given")) == "as given"
    assert SessionNotFoundError("s").session_id == "s"
    assert SessionCreationError("no memory").reason == "no memory"
    assert FactoryFailedError("make").factory_name == "make"


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ({"arguments": '{"a": 1}'}, {"arguments": {"a": 1}}),
        ({"tokens": "[1, 2]"}, {"tokens": [1, 2]}),
        ({"action_id": "7"}, {"action_id": 7}),
        ({}, {}),
    ],
)
def test_what_was_typed_into_a_form_becomes_an_action(
    typed: dict[str, Any], expected: dict[str, Any]
) -> None:
    class Form(Action):
        arguments: dict[str, int] | None = None
        tokens: list[int] | None = None
        action_id: int | None = None

    action = deserialize_action_with_preprocessing(typed, Form)
    assert action.model_dump(exclude_unset=True) == expected
    with pytest.raises(ValidationError):
        deserialize_action_with_preprocessing({"action_id": "seven"}, Form)


def test_the_description_has_the_readme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_environment_metadata(Counter).readme_content is None
    folder = tmp_path / "envs" / "count"
    folder.mkdir(parents=True)
    (folder / "README.md").write_text("# Count")
    for made in (Counter, partial(Counter), lambda: Counter()):
        found = load_environment_metadata(made, "count")
        assert (found.name, found.readme_content) == ("count", "# Count")
    assert load_environment_metadata(Counter).name == "Counter"
    assert load_environment_metadata(Counter()).name == Counter().get_metadata().name
    (tmp_path / "other.md").write_text("# Other")
    monkeypatch.setenv("ENV_README_PATH", str(tmp_path / "other.md"))
    assert load_environment_metadata(Counter, "count").readme_content == "# Other"


def test_get_routes_can_be_data() -> None:
    app = FastAPI()
    config = GetEndpointConfig("/fine", HealthResponse, HealthResponse, "health", "Health", "The health")
    register_get_endpoints(app, [config])
    assert TestClient(app).get("/fine").json() == {"status": "healthy"}
    assert app.openapi()["paths"]["/fine"]["get"]["tags"] == ["health"]


def test_models_of_the_contract() -> None:
    assert SchemaResponse(action={}, observation={}, state={}).model_dump().keys() == {
        *("action", "observation", "state")
    }
    status = ServerCapacityStatus.from_counts(1, 3)
    assert (status.available_slots, status.is_at_capacity) == (2, False)
    with pytest.raises(ValidationError, match="exceed"):
        ServerCapacityStatus.from_counts(4, 3)


def test_a_synchronous_client_wraps_a_client() -> None:
    with running(create_app(Counter, CountAction, CountObservation)) as base_url:
        client = GenericEnvClient(base_url)
        with SyncEnvClient(client) as wrapped:
            assert wrapped.async_client is client
            assert wrapped.reset().done is False
            action = GenericAction(**{name: 1 for name in CountAction.model_fields if name != "metadata"})
            assert wrapped.step(action).observation
    assert repr(GenericAction(a=1, b="c")) == "GenericAction(a=1, b='c')"


def test_metadata_has_the_readme_and_the_version_of_the_folder(tmp_path: Path) -> None:
    folder = write_walker(tmp_path)
    (folder / "uv.lock").unlink()  # so that this Python serves it
    with ProcessProvider(str(folder)) as server:
        metadata = status_of(f"{server.base_url}/metadata")[1]
        assert metadata["readme_content"] == "# Walker\n"
        assert metadata["version"] == "0.1.0"
