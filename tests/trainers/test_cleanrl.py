"""PPO in the style of CleanRL's scripts trains on remote environments; and the recipes."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from openenv_gym.providers.process import ProcessProvider
from tests.trainers.inside_tests import Outcomes
from tests.trainers.recipes import recipes, run_recipe
from tests.trainers.venvs import trainers_python as python

FILE = "cleanrl_training.py"
pytestmark = pytest.mark.timeout(900)  # once, the libraries are installed


def test_training(training: str, outcomes: Outcomes) -> None:
    outcomes.check(training)


def test_the_actor_critic_learns(serve_gym: Callable[[str], str], tmp_path: Path) -> None:
    balance, _ = recipes("cleanrl.md")
    printed = run_recipe(python(), balance, serve_gym("CartPole-v1"), tmp_path)
    (mean,) = re.findall(r"return ([\d.]+)", printed)
    assert float(mean) > 60


def test_frames_are_stacked_in_the_trainer(tmp_path: Path) -> None:
    _, stack = recipes("cleanrl.md")
    wrappers = ["gymnasium.wrappers:AtariPreprocessing"]
    with ProcessProvider(gym="ALE/Pong-v5", gym_kwargs={"frameskip": 1}, wrappers=wrappers) as server:
        printed = run_recipe(python(), stack, server.base_url, tmp_path)
    assert "observations of (4, 4, 84, 84)" in printed
