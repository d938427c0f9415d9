"""`gym.make` on a server that the published package's own `openenv init` made."""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import gymnasium as gym
import pytest
from gymnasium.utils.env_checker import check_env

from openenv_gym import GenericEnvClient, RemoteEnv
from openenv_gym.errors import ActionRefusedError, CapacityError
from openenv_gym.spaces import UnicodeText
from tests.support.peer import peer_server

pytestmark = [pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def their_server(peer_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("theirs")
    made = subprocess.run(
        [str(peer_python.with_name("openenv")), "init", "echo_game", "--output-dir", str(folder)],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert made.returncode == 0, made.stdout + made.stderr
    uvicorn = ("uvicorn", "server.app:app", "--port", "PORT", "--log-level", "warning")
    project = folder / "echo_game"
    with peer_server(
        peer_python, "-m", *uvicorn, cwd=project, env={**os.environ, "PYTHONPATH": str(project)}
    ) as base_url:
        yield base_url


def eventually_reset(env: RemoteEnv) -> None:
    """The peer frees a place a moment after the socket is closed."""
    deadline = time.monotonic() + 10
    while True:
        try:
            env.reset()
            return
        except CapacityError:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_gym_make_drives_it(their_server: str) -> None:
    env = gym.make("openenv/remote", base_url=their_server)
    assert env.action_space == UnicodeText()
    assert isinstance(env.observation_space, gym.spaces.Dict)
    assert list(env.observation_space.spaces) == ["echoed_message", "message_length"]
    eventually_reset(env.unwrapped)  # type: ignore[arg-type]
    observation, _ = env.reset(seed=3)
    assert observation in env.observation_space
    observation, reward, terminated, truncated, info = env.step("hello 🎲")
    assert observation["echoed_message"] == "hello 🎲"
    assert observation["message_length"] == 7
    assert reward > 0
    assert (terminated, truncated) == (False, False)
    assert info["original_message"] == "hello 🎲"
    for _ in range(20):
        action = env.action_space.sample()
        assert env.step(action)[0]["echoed_message"] == action
    env.close()


def test_a_second_session_is_refused_and_the_first_goes_on(their_server: str) -> None:
    first, second = RemoteEnv(their_server), RemoteEnv(their_server)
    eventually_reset(first)
    with pytest.raises(CapacityError) as caught:
        second.reset()
    assert caught.value.details["max_sessions"] == 1
    assert first.step("still here")[0]["echoed_message"] == "still here"
    first.close()
    eventually_reset(second)
    second.close()


def test_our_plain_client_in_both_faces(their_server: str) -> None:
    probe = RemoteEnv(their_server)
    eventually_reset(probe)
    probe.close()

    def wait_for_the_place() -> None:
        eventually_reset(probe := RemoteEnv(their_server))
        probe.close()
        time.sleep(0.3)

    wait_for_the_place()
    with GenericEnvClient(their_server) as client:
        client.reset()
        assert client.step({"message": "a"}).observation["echoed_message"] == "a"
        with pytest.raises(ActionRefusedError, match="message"):
            client.step({"massage": "a"})
        assert client.state()["step_count"] == 1

    async def drive() -> str:
        async with GenericEnvClient(their_server) as client:
            await client.reset()
            return str((await client.step({"message": "b"})).observation["echoed_message"])

    wait_for_the_place()
    assert asyncio.run(drive()) == "b"


def test_check_env_passes_but_for_the_determinism_that_it_has_not(their_server: str) -> None:
    """It has one session, so the check of further instances is left out with the rendering."""
    env = gym.make("openenv/remote", base_url=their_server).unwrapped
    eventually_reset(env)  # type: ignore[arg-type]
    check_env(env, skip_render_check=True)
    env.close()
