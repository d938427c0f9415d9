import numpy as np
import pytest

from grid_world_env import GridWorldAction
from grid_world_env.models import AGENT, CELL_PIXELS, FRAME_PIXELS, GOAL, SIZE, WALL
from grid_world_env.server.grid import Grid
from grid_world_env.server.grid_world_environment import (
    GOAL_REWARD,
    STEP_REWARD,
    GridWorldEnvironment,
)


def test_the_seed_determines_the_positions() -> None:
    environment = GridWorldEnvironment()
    first, second, other = (environment.reset(seed=seed).cells for seed in (7, 7, 8))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)


def test_resets_without_a_seed_continue_from_the_last_one() -> None:
    episodes = []
    for _ in range(2):
        environment = GridWorldEnvironment()
        episodes.append([environment.reset(seed=7).cells, environment.reset().cells])
    assert np.array_equal(episodes[0], episodes[1])
    assert not np.array_equal(episodes[0][0], episodes[0][1])


@pytest.mark.parametrize("wall_share", [0.0, 0.25, 0.9])
def test_the_goal_can_be_reached_through_any_walls(wall_share: float) -> None:
    for seed in range(50):
        grid = Grid(np.random.default_rng(seed), wall_share)
        assert grid.distance() is not None
        cells = grid.cells()
        assert np.count_nonzero(cells == AGENT) == 1
        assert np.count_nonzero(cells == GOAL) == 1
        assert np.count_nonzero(cells == WALL) <= round(wall_share * SIZE * SIZE)


def test_the_shortest_path_ends_an_episode_at_the_goal() -> None:
    environment = GridWorldEnvironment()
    environment.reset(seed=7)
    grid = environment._grid
    distance = grid.distance()
    assert distance is not None
    rewards = []
    for left in range(distance, 0, -1):
        before = grid.agent
        for move in range(4):  # the first move that gets closer
            grid.move(move)
            is_nearer = grid.distance() == left - 1
            grid.agent = before
            if is_nearer:
                break
        answer = environment.step(GridWorldAction(move=move))
        rewards.append(answer.reward)
        assert answer.done == (left == 1)
    assert rewards == [STEP_REWARD] * (distance - 1) + [GOAL_REWARD]
    assert not answer.metadata["truncated"]


def test_walls_and_edges_stop_the_agent() -> None:
    environment = GridWorldEnvironment(wall_share=0.9)
    environment.reset(seed=1)
    grid = environment._grid
    walls = grid.cells() == WALL
    for number in range(99):
        environment.step(GridWorldAction(move=number * 7 % 4))
        assert not walls[grid.agent]


def test_an_episode_is_truncated() -> None:
    environment = GridWorldEnvironment(episode_steps=3)
    for seed in range(100):
        environment.reset(seed=seed)
        if (environment._grid.distance() or 0) > 3:
            break
    answers = [environment.step(GridWorldAction(move=0)) for _ in range(3)]
    assert [(answer.done, answer.metadata["truncated"]) for answer in answers] == [
        (False, False),
        (False, False),
        (True, True),
    ]


def test_the_frame_shows_the_cells() -> None:
    observation = GridWorldEnvironment().reset(seed=7)
    assert observation.frame.shape == (FRAME_PIXELS, FRAME_PIXELS, 3)
    (row, column) = np.argwhere(observation.cells == AGENT)[0] * CELL_PIXELS
    square = observation.frame[row : row + CELL_PIXELS, column : column + CELL_PIXELS]
    assert (square == (40, 90, 200)).all()
    assert np.count_nonzero((observation.frame == (40, 90, 200)).all(axis=2)) == CELL_PIXELS**2


@pytest.mark.parametrize(
    ("setting", "value"), [("wall_share", 1.0), ("wall_share", -0.1), ("episode_steps", 0)]
)
def test_settings_out_of_range_are_refused(setting: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"GRID_WORLD_{setting.upper()}"):
        GridWorldEnvironment(**{setting: value})  # type: ignore[arg-type]
