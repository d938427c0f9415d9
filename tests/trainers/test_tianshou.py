"""Tianshou trains on remote environments."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.trainers.inside_tests import Outcomes, names_in
from tests.trainers.recipes import recipes, run_recipe
from tests.trainers.venvs import trainers_python

FILE = "tianshou_training.py"
pytestmark = pytest.mark.timeout(900)  # once, the libraries are installed


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    return Outcomes(trainers_python(), FILE, tmp_path_factory.mktemp("inside"))


@pytest.mark.parametrize("name", names_in(FILE))
def test_training(name: str, outcomes: Outcomes) -> None:
    outcomes.check(name)


def test_the_recipe_trains(serve_gym: Callable[[str], str], tmp_path: Path) -> None:
    (recipe,) = recipes("tianshou.md")
    printed = run_recipe(trainers_python(), recipe, serve_gym("CartPole-v1"), tmp_path)
    (mean,) = re.findall(r"return ([\d.]+)", printed)
    assert float(mean) > 50  # 22 at random
