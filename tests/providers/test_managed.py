"""From keywords to servers: which provider starts them, and what it adds to errors. Nothing is started."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import import_module
from typing import Any

import pytest

from openenv_gym.errors import (
    ConfigurationError,
    RemoteEnvironmentError,
    ServerEndedError,
    SessionLostError,
    UnknownKeywordError,
)
from openenv_gym.providers.managed import ManagedServers, check_keywords, make_provider, start_servers
from openenv_gym.providers.process import ProcessProvider
from openenv_gym.providers.provider import Provider
from openenv_gym.providers.sources import SOURCES, Source

FIRST, SECOND = "http://127.0.0.1:9", "http://127.0.0.1:90"


class FakeProvider(Provider):
    """Two servers that exist by name only."""

    has_log = False

    def __init__(self, **keywords: Any) -> None:
        self.keywords = keywords
        self.reasons: Mapping[str, str] = {}
        self.is_stopped = False

    def start(self) -> tuple[str, ...]:
        self.endpoints = (FIRST, SECOND)
        return self.endpoints

    def wait_ready(self, timeout_s: float | None = None) -> None:
        pass

    def check(self) -> None:
        pass

    def ended(self) -> Mapping[str, str]:
        return self.reasons

    def logs(self) -> str:
        return "the log of all"

    def log_of(self, base_url: str) -> str:
        return f"the log of {base_url}"

    def stop(self) -> None:
        self.is_stopped = True


@pytest.fixture
def provider() -> FakeProvider:
    return FakeProvider()


@pytest.fixture
def servers(provider: FakeProvider) -> ManagedServers:
    return ManagedServers(provider)


def test_a_provider_of_the_users_is_called_like_ours() -> None:
    made = make_provider(Source("gym", "CartPole-v1"), 512, 3, FakeProvider, {"color": "red"}, "sesame")
    assert isinstance(made, FakeProvider)
    assert made.keywords == {
        "gym": "CartPole-v1",
        "replicas": 3,
        "max_sessions": 256,
        "api_key": "sesame",
        "color": "red",
    }


def test_a_function_may_make_the_provider() -> None:
    servers = start_servers(sessions=1, sources={"image": "any"}, provider=lambda **_: FakeProvider())
    assert servers.endpoints == servers.addresses() == (FIRST, SECOND)
    assert servers.base_url == FIRST
    servers.stop()


@pytest.mark.parametrize(
    ("sources", "keywords", "said"),
    [
        ({"base_url": FIRST}, {}, "runs already"),
        ({}, {}, "has no source; name one of base_url, path"),
        ({"path": "a", "gym": "b"}, {}, "has path and gym; keep one of them"),
        (
            {"image": "any"},
            {"provider": "ray"},
            "provider='ray' cannot serve image=. It takes path=, gym=, app=",
        ),
        (
            {"gym": "a"},
            {"provider": "slurm"},
            "must be 'ray' or a callable that makes a Provider, got 'slurm'",
        ),
        ({"gym": "a"}, {"provider": lambda **_: None}, "must make a Provider, but .* returned None"),
        ({"gym": "a"}, {"provider": lambda gym: None}, "unexpected keyword argument"),
        ({"gym": "a"}, {"replicas": 0}, "replicas= must be an integer of at least 1, got 0"),
        ({"app": "my_env.app"}, {}, "app must be module:attribute, as in .*, got 'my_env.app'"),
        ({"gym": 3}, {}, "gym must be a non-empty string, got 3"),
    ],
)
def test_what_cannot_be_started_is_refused(
    sources: dict[str, Any], keywords: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigurationError, match=said):
        start_servers(sessions=1, sources=sources, **keywords)


def test_each_of_several_servers_has_room_for_the_sessions_of_one_that_fails() -> None:
    made = make_provider(Source("gym", "CartPole-v1"), 512, 3)
    assert isinstance(made, ProcessProvider)
    assert made.server.variables == {"MAX_CONCURRENT_ENVS": "256"}


def test_every_source_names_a_provider_that_can_be_imported() -> None:
    for kind in SOURCES.values():
        for path in filter(None, (kind.provider, *kind.named_providers.values())):
            module, _, attribute = path.partition(":")
            assert issubclass(getattr(import_module(module), attribute), Provider)


def test_unknown_keywords_are_refused() -> None:
    known = ("step_timeout_s", "provider")
    check_keywords("RemoteEnv", ["step_timeout_s", "path"], known)
    refused = "RemoteEnv.__init__() got an unexpected keyword argument 'bse_url'. Did you mean base_url=?"
    with pytest.raises(UnknownKeywordError, match=re.escape(refused)):
        check_keywords("RemoteEnv", ["bse_url"], known)
    with pytest.raises(UnknownKeywordError, match=r"Only gym\.make_vec takes replicas="):
        check_keywords("RemoteEnv", ["replicas"], known, vector_only=["replicas"])


def test_an_error_of_the_environment_gets_the_log_of_its_server(servers: ManagedServers) -> None:
    for endpoint, log in [(SECOND, f"the log of {SECOND}"), (None, "the log of all")]:
        error = RemoteEnvironmentError(f"{FIRST} is named in the text only", endpoint=endpoint)
        servers.explain(error)
        assert error.__notes__ == [log]


def test_the_end_of_a_server_is_raised_for_its_own_errors_only(
    servers: ManagedServers, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("openenv_gym.providers.managed._END_TIMEOUT_S", 0.2)
    provider.reasons = {SECOND: "It is gone."}
    with pytest.raises(ServerEndedError, match=r"is gone[^$]*slots to the 1 of 2 that still run") as ended:
        servers.explain(SessionLostError("lost", endpoint=SECOND))
    assert ended.value.endpoint == SECOND
    servers.explain(SessionLostError("lost", endpoint=FIRST))
    with pytest.raises(ServerEndedError):
        servers.explain(SessionLostError("lost"))


def test_a_server_that_is_restarted_is_told_in_a_note(
    servers: ManagedServers, provider: FakeProvider
) -> None:
    provider.restarts = True
    error = SessionLostError("lost", endpoint=FIRST)
    servers.explain(error)
    assert "restarted at another address" in error.__notes__[0]


def test_servers_stop_when_nobody_needs_them_any_more(provider: FakeProvider) -> None:
    servers = ManagedServers(provider)
    del servers
    assert provider.is_stopped
