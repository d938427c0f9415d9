"""Environments that are made in processes which have not imported this package."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

import gymnasium as gym
import pytest
from gymnasium.vector import AsyncVectorEnv

import openenv_gym
from openenv_gym.errors import UnknownNameError
from tests.support.vectors import assert_equal

CODE = """
import sys
import gymnasium as gym
gym.make(sys.argv[1], **({"base_url": sys.argv[2]} if sys.argv[2] else {})).close()
"""


def made_elsewhere(folder: Path, env_id: str, base_url: str = "") -> str:
    """Make an environment in a process with Gymnasium alone; return the last line of its errors."""
    command = [sys.executable, "-c", CODE, env_id, base_url]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return done.stderr.strip().rpartition("\n")[2]


def test_an_id_with_our_module_works_in_spawned_processes(serve_gym: Callable[[str], str]) -> None:
    base_url = serve_gym("CartPole-v1")
    make = partial(gym.make, "openenv_gym:openenv/remote", base_url=base_url)
    with (
        closing(AsyncVectorEnv([make, make], context="spawn")) as named,
        closing(
            gym.make_vec("openenv/remote", 2, "async", base_url=base_url, vector_kwargs={"context": "spawn"})
        ) as registered,
    ):
        assert_equal(named.reset(seed=1)[0], registered.reset(seed=1)[0])


def test_the_id_in_another_process(tmp_path: Path, serve_gym: Callable[[str], str]) -> None:
    base_url = serve_gym("CartPole-v1")
    assert "Namespace openenv not found" in made_elsewhere(tmp_path, "openenv/remote", base_url)
    assert made_elsewhere(tmp_path, "openenv_gym:openenv/remote", base_url) == ""
    unknown = made_elsewhere(tmp_path, "openenv_gym:openenv/here-only")
    assert "Unknown environment openenv/here-only" in unknown
    assert '"openenv_gym:openenv/here-only"; it does not know the names of openenv_gym.register' in unknown


def test_an_unknown_name_says_what_a_worker_process_needs() -> None:
    with pytest.raises(UnknownNameError, match='write "openenv_gym:openenv/nowhere"'):
        gym.make("openenv/nowhere")
    assert "nowhere" not in openenv_gym.names()
