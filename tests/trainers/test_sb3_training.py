"""Stable-Baselines3, sb3-contrib and rl-zoo3 train on remote environments."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.docs.blocks import DOCS, blocks_of
from tests.support.servers import running
from tests.trainers.connect_four import app
from tests.trainers.inside_tests import Outcomes
from tests.trainers.recipes import recipes, run_recipe
from tests.trainers.venvs import trainers_python as python

FILE = "sb3_training.py"
pytestmark = pytest.mark.timeout(900)  # once, the libraries are installed


def test_training(training: str, outcomes: Outcomes) -> None:
    outcomes.check(training)


def test_the_recipes_train(serve_gym: Callable[[str], str], tmp_path: Path) -> None:
    balance, play = recipes("stable-baselines3.md")
    printed = run_recipe(python(), balance, serve_gym("CartPole-v1"), tmp_path)
    (mean,) = re.findall(r"return ([\d.]+)", printed)
    assert float(mean) > 150
    with running(app) as base_url:
        printed = run_recipe(python(), play, base_url, tmp_path)
    (mean,) = re.findall(r"return (-?[\d.]+)", printed)
    assert float(mean) > 0.3


def test_the_block_of_the_landing_page_trains(serve_gym: Callable[[str], str], tmp_path: Path) -> None:
    """docs/index.md, with fewer steps."""
    (block,) = blocks_of(DOCS / "index.md")
    code = block.code.replace("http://localhost:8000", serve_gym("CartPole-v1")).replace("20_000", "4_096")
    subprocess.run([python(), "-c", code], cwd=tmp_path, check=True, timeout=300)
    assert (tmp_path / "cart-pole.zip").exists()
