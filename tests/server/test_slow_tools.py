"""A vector environment of many sessions whose actions call tools."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import pytest
from openenv_server import MCPEnvironment, Observation, State, create_app

from openenv_gym import RemoteVectorEnv
from openenv_gym.tool_types import CallToolAction, CallToolObservation
from tests.support.servers import leave, running, status_of, without_v2
from tests.support.waiting import wait_for

SESSIONS = 32
SLOW_S = 1.0


class Workshop(MCPEnvironment):
    def __init__(self) -> None:
        super().__init__()
        self.done = 0

        @self.tool()
        def saw(boards: int = 1) -> int:
            """Saw boards, and see how many there are"""
            self.done += boards
            return self.done

        @self.tool()
        def glue(seconds: float) -> str:
            """Glue boards, which takes a while"""
            time.sleep(seconds)
            return "dry"

    def reset(self, seed: int | None = None, episode_id: str | None = None, **options: object) -> Observation:
        self.done = 0
        return Observation()

    @property
    def state(self) -> State:
        return State()


@pytest.fixture(params=["version 2", "version 1"])
def workshop(request: pytest.FixtureRequest) -> Iterator[str]:
    app = create_app(
        Workshop, CallToolAction, CallToolObservation, max_concurrent_envs=SESSIONS, env_name="workshop"
    )
    with running(app if request.param == "version 2" else without_v2(app)) as base_url:
        yield base_url


def test_a_slow_tool_holds_back_its_own_slot_only(workshop: str) -> None:
    envs = RemoteVectorEnv(workshop, SESSIONS)
    envs.reset(seed=0)
    saw = {"tool_name": "saw", "arguments": {"boards": 1}}
    glue = {"tool_name": "glue", "arguments": {"seconds": SLOW_S}}
    steps = np.ones(SESSIONS, np.int64)
    started = time.perf_counter()
    envs.send(envs.actions_from_json([glue] + [saw] * (SESSIONS - 1)))
    ready = envs.recv(min_ready=SESSIONS - 1)
    first_s = time.perf_counter() - started
    assert ready.slots.tolist() == list(range(1, SESSIONS))
    while 0 not in ready.slots:
        assert [int(data) for data in ready.observations["data"]] == steps[ready.slots].tolist()
        steps[ready.slots] += 1
        envs.send(envs.actions_from_json([saw] * len(ready.slots)), ready.slots)
        ready = envs.recv()
    slow_s = time.perf_counter() - started
    place = ready.slots.tolist().index(0)
    assert ready.observations["text"][place] == "dry"
    print(f"the others: {first_s:.3f} s for the first step, {steps[1:].mean():.0f} steps in {slow_s:.2f} s")
    assert first_s < SLOW_S / 2
    assert SLOW_S <= slow_s < 2 * SLOW_S
    assert steps[1:].min() >= 3
    envs.close()


def test_a_call_over_http_is_given_up_when_its_client_leaves() -> None:
    app = create_app(
        Workshop, CallToolAction, CallToolObservation, max_concurrent_envs=1, env_name="workshop"
    )
    sessions = app.state.sessions
    params = {"name": "glue", "arguments": {"seconds": 3.0}}
    with running(app) as base_url:
        leave(f"{base_url}/mcp", {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params})
        wait_for(lambda: (sessions.passing, sessions.abandoned_threads) == (0, 1), timeout_s=2)
        params = {"name": "saw", "arguments": {}}
        call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
        assert status_of(f"{base_url}/mcp", call)[0] == 200  # in the only place
        wait_for(lambda: sessions.abandoned_threads == 0, timeout_s=5)
