"""TorchRL trains on remote environments."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.trainers.inside_tests import Outcomes
from tests.trainers.recipes import recipes, run_recipe
from tests.trainers.venvs import trainers_python as python

FILE = "torchrl_training.py"
pytestmark = pytest.mark.timeout(900)  # once, the libraries are installed


def test_training(training: str, outcomes: Outcomes) -> None:
    outcomes.check(training)


def test_the_recipe_trains(serve_gym: Callable[[str], str], tmp_path: Path) -> None:
    balance, _ = recipes("torchrl.md")
    printed = run_recipe(python(), balance, serve_gym("CartPole-v1"), tmp_path)
    means = [float(mean) for mean in re.findall(r"return ([\d.]+)", printed)]
    print(means)
    assert max(means[-5:]) > 100 > means[0]


def test_the_recipe_with_child_processes_runs(serve_gym: Callable[[str], str], tmp_path: Path) -> None:
    _, parallel = recipes("torchrl.md")
    printed = run_recipe(python(), parallel, serve_gym("CartPole-v1"), tmp_path)
    (steps,) = re.findall(r"(\d+) steps", printed)
    assert int(steps) >= 2 * 8
