import numpy as np

from grid_world_env import GridWorldAction
from grid_world_env.models import SIZE
from grid_world_env.server.grid_world_environment import (
    EPISODE_STEPS,
    GridWorldEnvironment,
)


def test_the_seed_decides_where_all_begins() -> None:
    first, second = (GridWorldEnvironment().reset(seed=7).cells for _ in range(2))
    assert np.array_equal(first, second)
    assert sorted(first[first > 0]) == [1, 2]


def test_the_goal_ends_an_episode() -> None:
    environment = GridWorldEnvironment()
    cells = environment.reset(seed=7).cells
    (down, right) = (np.argwhere(cells == 2) - np.argwhere(cells == 1))[0]
    moves = [2 if down > 0 else 0] * abs(down) + [1 if right > 0 else 3] * abs(right)
    answers = [environment.step(GridWorldAction(move=move)) for move in moves]
    assert answers[-1].done
    assert answers[-1].reward == 1.0
    assert not any(answer.done for answer in answers[:-1])


def test_an_agent_stays_on_the_field_and_an_episode_is_cut_short() -> None:
    environment = GridWorldEnvironment()
    for seed in range(100):
        agent, goal = (np.argwhere(environment.reset(seed=seed).cells == kind)[0] for kind in (1, 2))
        if goal[0] > agent[0]:
            break  # the goal is below, so no way up and along the upper edge leads there
    moves = [0] * SIZE + [3] * (EPISODE_STEPS - SIZE)
    answers = [environment.step(GridWorldAction(move=move)) for move in moves]
    assert [answer.done for answer in answers] == [False] * (EPISODE_STEPS - 1) + [True]
    assert answers[-1].cells[0, 0] == 1
    assert answers[-1].metadata["truncated"]
