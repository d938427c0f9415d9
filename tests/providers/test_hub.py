"""Spaces of the Hub: those that run there, and those that are run here. The Hub is the stand-in."""

from __future__ import annotations

import asyncio
import copy
import pickle
from collections.abc import Callable
from pathlib import Path

import gymnasium as gym
import pytest
from openenv_server import create_app

from openenv_gym import GenericEnvClient
from openenv_gym.errors import ConfigurationError, DeadlineExceededError, HubError, UnauthorizedError
from openenv_gym.providers.hub import HubProvider
from openenv_gym.providers.testing import ProviderTests
from tests.support.environments import CountAction, Counter, CountObservation
from tests.support.hub import TOKEN, StandIn
from tests.support.hub.faults import Fault
from tests.support.hub.repositories import Space
from tests.support.servers import running, status_of

SPACE = "my-org/my_env"


@pytest.mark.usefixtures("running_space")
class TestASpaceThatRuns(ProviderTests):
    stops_servers = False

    def make_provider(self) -> HubProvider:
        return HubProvider(SPACE)


@pytest.mark.usefixtures("hub")
class TestASpaceThatIsServedHere(ProviderTests):
    def make_provider(self) -> HubProvider:
        return HubProvider(SPACE, mode="local", trust_remote_code=True)


def test_from_hub_connects_to_the_address_that_the_hub_says(running_space: Space) -> None:
    with GenericEnvClient.from_hub(SPACE, message_timeout_s=5) as client:
        assert str(client.endpoint) == running_space.host
        assert client.reset().observation["total"] == 0


def test_gym_make_takes_a_space(running_space: Space) -> None:
    env = gym.make("openenv/remote", space=SPACE)
    observation, _ = env.reset()
    assert observation in env.observation_space
    env.close()


def test_a_sleeping_space_is_woken(running_space: Space, hub: StandIn) -> None:
    running_space.stages = ["SLEEPING", "APP_STARTING", "RUNNING"]
    with GenericEnvClient.from_hub(SPACE) as client:
        client.reset()
    assert len(hub.asked("/runtime")) == 3


@pytest.mark.parametrize("status", [503, None], ids=["the Hub fails", "a connection breaks"])
def test_a_failure_that_passes_does_not_end_the_waiting(
    running_space: Space, hub: StandIn, status: int | None
) -> None:
    running_space.stages = ["APP_STARTING", "RUNNING"]
    hub.faults.append(Fault("GET /api/spaces/.*/runtime", status=status, times=2))
    with GenericEnvClient.from_hub(SPACE) as client:
        client.reset()


def test_the_pauses_between_two_questions_grow(space: Space, hub: StandIn) -> None:
    space.stages = ["BUILDING"]
    with pytest.raises(DeadlineExceededError):
        GenericEnvClient.from_hub(SPACE, ready_timeout_s=2.0).sync()
    assert len(hub.asked("/runtime")) == 4  # after 0, 0.5 and 1.25 s, and at the deadline


@pytest.mark.parametrize("mode", ["docker", "local"])
def test_options_that_there_are_not_are_said_before_the_hub_is_asked(hub: StandIn, mode: str) -> None:
    with pytest.raises(TypeError, match="memroy"):
        HubProvider(SPACE, mode=mode, trust_remote_code=True, memroy="2g")  # type: ignore[arg-type]
    assert hub.requests == []


@pytest.mark.parametrize(
    ("stage", "next_step"),
    [
        ("PAUSED", "Only its owner can resume it"),
        ("BUILD_ERROR", "the log is on its page"),
        ("NO_APP_FILE", "openenv push"),
        ("SOMETHING_NEW", "See its page"),
    ],
)
def test_a_space_that_does_not_run_says_what_to_do(space: Space, stage: str, next_step: str) -> None:
    space.stages = [stage]
    with pytest.raises(HubError, match=rf"stage is {stage}\. .*{next_step}.*/spaces/my-org/my_env"):
        GenericEnvClient.from_hub(SPACE).sync()


def test_a_space_that_does_not_get_up_in_time_says_what_it_does(space: Space) -> None:
    space.stages = ["BUILDING"]
    with pytest.raises(DeadlineExceededError, match=r"is being built for more than 0\.01 s"):
        GenericEnvClient.from_hub(SPACE, ready_timeout_s=0.01).sync()


def test_a_private_space_is_shown_the_token_and_a_public_one_is_not(
    space: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENENV_API_KEY", TOKEN)
    app = create_app(Counter, CountAction, CountObservation)
    monkeypatch.delenv("OPENENV_API_KEY")
    with running(app) as space.host:
        with pytest.raises(UnauthorizedError):
            GenericEnvClient.from_hub(SPACE).sync()
        space.private = True
        with GenericEnvClient.from_hub(SPACE) as client:
            client.reset()
            assert TOKEN not in repr(client.endpoint)
        env = gym.make("openenv/remote", space=SPACE)
        env.reset()
        env.close()


def test_a_space_that_is_not_there_says_what_to_check(hub: StandIn) -> None:
    with pytest.raises(HubError, match=r"no such Space, or it is private.*HF_TOKEN"):
        GenericEnvClient.from_hub("my-org/nowhere").sync()


def test_a_hub_that_fails_or_is_away_is_said(hub: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.faults.append(Fault("GET /api/spaces", status=500, times=9))
    with pytest.raises(HubError, match=r"the Hub failed \(500\)"):
        GenericEnvClient.from_hub(SPACE).sync()
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(HubError, match="no response"):
        GenericEnvClient.from_hub(SPACE).sync()


@pytest.mark.parametrize("name", ["alone", "my-org/my--env", "a/b/c"])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="OWNER/NAME"):
        HubProvider(name)


def test_a_spaces_code_runs_here_only_where_it_is_trusted(hub: StandIn) -> None:
    with pytest.raises(ConfigurationError, match="trust_remote_code=True"):
        GenericEnvClient.from_hub(SPACE, mode="local").sync()
    assert hub.requests == []


def test_a_space_that_is_served_here_ends_with_its_client(hub: StandIn, tmp_path: Path) -> None:
    with GenericEnvClient.from_hub(SPACE, mode="local", trust_remote_code=True) as client:
        client.reset()
        assert client._servers is not None
        assert client._servers.base_url.startswith("http://127.0.0.1:")
        base_url = client._servers.base_url
    with pytest.raises(ConnectionError):
        GenericEnvClient(base_url).reset()
    assert len(list((tmp_path / "cache").rglob("my_env/app.py"))) == 1


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda client: pickle.loads(pickle.dumps(client))])
def test_a_copy_of_a_client_uses_its_server_and_leaves_it_running(
    hub: StandIn, copied: Callable[[GenericEnvClient], GenericEnvClient]
) -> None:
    with GenericEnvClient.from_hub(SPACE, mode="local", trust_remote_code=True) as client:
        client.reset()
        client.step({"amount": 2})
        with copied(client) as twin:
            assert twin.reset().observation["total"] == 0
        assert client.step({"amount": 1}).observation["total"] == 3


def test_a_client_is_copied_inside_async_with(running_space: Space) -> None:
    async def copy_it() -> GenericEnvClient:
        async with GenericEnvClient(running_space.host) as client:
            await client.reset()
            twin = copy.deepcopy(client)
        assert isinstance(twin, GenericEnvClient)
        return twin

    with asyncio.run(copy_it()) as twin:
        assert twin.reset().observation["total"] == 0


def test_a_space_that_is_served_here_has_room_for_all_slots(hub: StandIn) -> None:
    here = {"mode": "local", "trust_remote_code": True}
    envs = gym.make_vec("openenv/remote", 70, space=SPACE, provider_options=here)
    observations, _ = envs.reset()
    assert len(observations) == 70
    envs.close()


def test_files_that_are_here_are_not_downloaded_again(hub: StandIn) -> None:
    for _ in range(2):
        with GenericEnvClient.from_hub(SPACE, mode="local", trust_remote_code=True):
            pass
    assert len([request for request in hub.asked("/resolve/") if request.startswith("GET")]) == 3


def test_a_space_that_is_served_here_asks_for_the_key_of_its_client(hub: StandIn) -> None:
    with GenericEnvClient.from_hub(SPACE, mode="local", trust_remote_code=True, api_key="sesame") as client:
        client.reset()
        assert status_of(f"{client.endpoint}/schema")[0] == 401


def test_options_that_mean_nothing_on_the_hub_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="does not take memory"):
        HubProvider(SPACE, memory="1g")
    with pytest.raises(ConfigurationError, match="mode= must be one of"):
        HubProvider(SPACE, mode="cloud")  # type: ignore[arg-type]
