"""AgileRL trains on remote environments."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.trainers.inside_tests import Outcomes
from tests.trainers.recipes import recipes, run_recipe
from tests.trainers.venvs import agilerl_python as python

FILE = "agilerl_training.py"
pytestmark = pytest.mark.timeout(900)  # once, the libraries are installed


def test_training(training: str, outcomes: Outcomes) -> None:
    outcomes.check(training)


def test_the_recipe_trains(serve_gym: Callable[[str], str], tmp_path: Path) -> None:
    (recipe,) = recipes("agilerl.md")
    printed = run_recipe(python(), recipe, serve_gym("CartPole-v1"), tmp_path)
    (mean,) = re.findall(r"return ([\d.]+)", printed)
    assert float(mean) > 50  # 22 at random
