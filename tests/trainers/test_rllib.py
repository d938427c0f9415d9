"""RLlib trains on remote environments."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.trainers.inside_tests import Outcomes
from tests.trainers.recipes import recipes, run_recipe
from tests.trainers.venvs import old_gymnasium_python as python

FILE = "rllib_training.py"
pytestmark = pytest.mark.timeout(900)  # once, the libraries are installed


def test_training(training: str, outcomes: Outcomes) -> None:
    outcomes.check(training)


def test_the_recipes_train(serve_gym: Callable[[str], str], tmp_path: Path) -> None:
    balance, play = recipes("rllib.md")
    printed = run_recipe(python(), balance, serve_gym("CartPole-v1"), tmp_path)
    means = [float(mean) for mean in re.findall(r"return ([\d.]+)", printed)]
    print(means)
    assert means[-1] > 80 > means[0]
    printed = run_recipe(python(), play, serve_gym("tests.trainers.environments:Guess-v0"), tmp_path)
    assert len(re.findall(r"return (-?[\d.]+)", printed)) == 4
