"""Each example environment, as its users meet it: served, checked, repeatable, and with tests of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
from gymnasium.utils.env_checker import check_env, data_equivalence

import openenv_gym  # noqa: F401 - registers the ids
from openenv_gym.providers.process import ProcessProvider

ENVS = Path(__file__).parents[2] / "envs"
NAMES = sorted(path.parent.name for path in ENVS.glob("*/openenv.yaml"))

# What a random action says little about.
ACTIONS: dict[str, list[Any]] = {
    "coding_env": [
        {"code": "print({str(n) for n in range(20)})", "stdin": ""},
        {"code": "open('x', 'w').write(input())", "stdin": "kept"},
        {"code": "print(open('x').read()); 1 / 0", "stdin": ""},
    ],
}


@pytest.fixture(scope="module")
def serve() -> Iterator[Callable[[str], str]]:
    """Serves an environment of `ENVS`, kept for all tests; gives the base URL."""
    servers: dict[str, ProcessProvider] = {}

    def serves(name: str) -> str:
        if name not in servers:
            servers[name] = ProcessProvider(str(ENVS / name))
            servers[name].launch()
        return servers[name].base_url

    yield serves
    for server in servers.values():
        server.stop()


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    chosen: str = request.param
    return chosen


def _make(base_url: str, **keywords: Any) -> gym.Env[Any, Any]:
    return gym.make("openenv/remote", base_url=base_url, **keywords)


def test_there_are_environments() -> None:
    assert {"chat_env", "coding_env", "echo_env", "grid_world_env"} <= set(NAMES)


def test_check_env_passes(name: str, serve: Callable[[str], str]) -> None:
    env = _make(serve(name))
    check_env(env.unwrapped, skip_render_check=True)
    env.close()


def test_the_same_seed_gives_the_same_episode(name: str, serve: Callable[[str], str]) -> None:
    episodes = []
    for seed in (11, 11):
        env = _make(serve(name))
        env.action_space.seed(seed)
        episode: list[Any] = [env.reset(seed=seed)]
        for step in range(20):
            actions = ACTIONS.get(name, [])
            action = actions[step] if step < len(actions) else env.action_space.sample()
            episode.append(env.step(action))
            if episode[-1][2] or episode[-1][3]:
                break
        episodes.append(episode)
        env.close()
    first, second = episodes
    assert len(first) == len(second)
    assert all(data_equivalence(a, b, exact=True) for a, b in zip(first, second, strict=True))


@pytest.mark.integration
def test_the_grid_is_rendered(serve: Callable[[str], str]) -> None:
    env = _make(serve("grid_world_env"), render_mode="rgb_array")
    observation, _ = env.reset(seed=7)
    frame: Any = env.render()
    assert (frame == observation["frame"]).all()
    env.close()


def test_a_task_is_set_by_options_and_a_sandbox_ends_with_its_session(serve: Callable[[str], str]) -> None:
    env = _make(serve("coding_env"))
    _, info = env.reset(options={"tests": "assert add(1, 2) == 3"})
    assert info["isolation"] in ("namespaces", "landlock")
    missed = env.step({"code": "def add(a, b): return a", "stdin": ""})
    assert missed[1:3] == (0.0, False)
    solved = env.step({"code": "def add(a, b): return a + b", "stdin": ""})
    assert solved[1:3] == (1.0, True)
    env.close()


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("check", ["ruff check .", "ruff format --check .", "mypy"])
def test_it_passes_its_own_checks(name: str, check: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *check.split()],
        cwd=ENVS / name,
        env={**os.environ, "MYPY_CACHE_DIR": str(ENVS.parent / ".mypy_cache" / "envs")},  # they share most
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_its_own_tests_pass(name: str) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ENVS)}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    completed = subprocess.run(
        command, cwd=ENVS / name, env=environment, capture_output=True, text=True, timeout=580
    )
    assert completed.returncode == 0, completed.stdout[-4000:] + completed.stderr[-1000:]


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """A folder that all users may enter."""
    with tempfile.TemporaryDirectory(prefix="ordinary-user-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(os.geteuid() != 0, reason="the tests above run as an ordinary user")
def test_attacks_on_the_sandbox_fail_for_an_ordinary_user_too(public_folder: Path) -> None:
    uv = os.environ.get("UV") or shutil.which("uv")
    assert uv is not None, "uv makes the environment: pip install uv"
    # This interpreter may be one that only root can run.
    python = "/usr/bin/python3"
    if subprocess.run([python, "-c", "import sys; sys.exit(sys.version_info < (3, 11))"]).returncode:
        pytest.skip(f"{python} is older than Python 3.11")
    subprocess.run([uv, "venv", "-q", "--python", python, "venv"], cwd=public_folder, check=True)
    packages = [f"{ENVS.parent}[server]", "landlockpy", "pyseccomp", "pytest"]
    install = [uv, "pip", "install", "-q", "--python", "venv/bin/python", *packages]
    subprocess.run(install, cwd=public_folder, check=True)
    shutil.copytree(ENVS / "coding_env", public_folder / "coding_env")
    completed = subprocess.run(
        [
            public_folder / "venv/bin/python",
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "tests/test_isolation.py",
        ],
        cwd=public_folder / "coding_env",
        env={"PATH": os.environ["PATH"], "HOME": str(public_folder), "PYTHONPATH": str(public_folder)},
        user=61183,
        group=61183,
        extra_groups=[],
        capture_output=True,
        text=True,
        timeout=580,
    )
    assert completed.returncode == 0, completed.stdout[-4000:] + completed.stderr[-1000:]
