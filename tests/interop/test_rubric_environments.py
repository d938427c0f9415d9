"""Environments with rubrics give the same rewards on the published server and on ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from tests.interop import rubric_environments
from tests.support.peer import peer_server
from tests.support.servers import running

pytestmark = [pytest.mark.timeout(300)]

OPTIONS: dict[str, dict[str, Any]] = {"game": {"total": 2}, "repl": {"expected_answer": 7}, "drive": {}}
AMOUNTS = {"game": [3, 1, 4], "repl": [-1, 8, 0], "drive": [4, -2, 1]}
REWARDS = {"game": [0, 0, 1], "repl": [-0.1, 0.1, 1], "drive": [1.05, 0, 0.3]}
# What our server adds: the score of each part.
PARTS: dict[str, list[Any]] = {
    "game": [None] * 3,
    "repl": [{"process": -0.1}, {"process": 0.1}, {"outcome": 1.0}],
    "drive": [
        {
            **{"rubric_0": 0.1, "rubric_0.rubric": 0.1},
            **{"rubric_1": 1.05, "rubric_1.rubric_0": 2.0, "rubric_1.rubric_1": 0.1},
        },
        {"rubric_0": 0.0, "rubric_0.rubric": -0.1},
        {
            **{"rubric_0": 0.1, "rubric_0.rubric": 0.1},
            **{"rubric_1": 0.3, "rubric_1.rubric_0": 0.5, "rubric_1.rubric_1": 0.1},
        },
    ],
}


def episode(base_url: str, name: str) -> list[tuple[Any, float, bool, dict[str, Any]]]:
    with gym.make("openenv/remote", base_url=base_url) as env:
        env.reset(options=OPTIONS[name])
        steps = [env.step(np.int64(amount)) for amount in AMOUNTS[name]]
    return [(int(seen["total"]), reward, done, info) for seen, reward, done, _, info in steps]


@pytest.mark.parametrize("name", [*REWARDS])
def test_the_rewards_are_the_same_and_ours_are_explained(peer_python: Path, name: str) -> None:
    folder = Path(__file__).parent
    uvicorn = ("uvicorn", f"rubric_environments:{name}", "--port", "PORT", "--log-level", "warning")
    with peer_server(peer_python, "-m", *uvicorn, cwd=folder) as base_url:
        theirs = episode(base_url, name)
    with running(getattr(rubric_environments, name)) as base_url:
        ours = episode(base_url, name)
    parts = [info.pop("rubric_scores", None) for *_, info in ours]
    assert [step[:3] for step in ours] == [step[:3] for step in theirs]
    assert [step[1] for step in ours] == pytest.approx(REWARDS[name])
    for (*_, info), (*_, their_info) in zip(ours, theirs, strict=True):
        assert {key: info.get(key) for key in their_info} == their_info
    assert parts == [expected and pytest.approx(expected) for expected in PARTS[name]]
