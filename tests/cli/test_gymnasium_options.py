"""`--wrap` and `--wrap-kwarg` of `openenv serve` and `openenv init`, and `wrappers=` of `gym.make`."""

from __future__ import annotations

import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
from gymnasium.wrappers import AtariPreprocessing, FrameStackObservation
from openenv_cli.gymnasium_options import gymnasium_maker

import openenv_gym
from openenv_gym.errors import ConfigurationError
from openenv_gym.providers.server_command import ServerCommand

OPENENV = [sys.executable, "-m", "openenv_cli"]
ATARI = "gymnasium.wrappers:AtariPreprocessing"
STACK = "gymnasium.wrappers:FrameStackObservation"


@pytest.mark.unit
def test_a_keyword_belongs_to_the_wrapper_before_it() -> None:
    words = [ATARI, "screen_size=42", "terminal_on_life_loss=true", STACK, "stack_size=3", "a.b:C", "x=a:b"]
    maker = gymnasium_maker("ALE/Pong-v5", ["frameskip=1", "mode=easy"], words)
    assert maker.keywords == {"frameskip": 1, "mode": "easy"}
    assert list(maker.wrappers) == [
        (ATARI, {"screen_size": 42, "terminal_on_life_loss": True}),
        (STACK, {"stack_size": 3}),
        ("a.b:C", {"x": "a:b"}),
    ]


@pytest.mark.unit
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["stack_size=3"], "--wrap-kwarg stack_size=3 has no --wrap before it"),
        (["gymnasium.wrappers.Thing"], "not of the form MODULE:CLASS or KEY=VALUE"),
        ([STACK, "4"], "--wrap 4: not of the form"),
    ],
)
def test_malformed_options_are_refused(words: list[str], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        gymnasium_maker("CartPole-v1", None, words)


@pytest.mark.unit
@pytest.mark.parametrize(
    ("wrapper", "words"),
    [
        (STACK, [STACK]),
        ((STACK, {"stack_size": 3}), [STACK, "stack_size=3"]),
        (
            (FrameStackObservation, {"stack_size": 3, "padding_type": "zero"}),
            ["stack_size=3", 'padding_type="zero"'],
        ),
        (AtariPreprocessing, ["gymnasium.wrappers.atari_preprocessing:AtariPreprocessing"]),
    ],
    ids=str,
)
def test_wrappers_are_options_of_the_server(wrapper: Any, words: list[str]) -> None:
    template = ServerCommand(gym="CartPole-v1", wrappers=[wrapper]).resolve("127.0.0.1").template
    assert [word for word in template if word in words] == words


@pytest.mark.unit
def test_wrappers_that_a_server_cannot_import_are_refused() -> None:
    here = type("Here", (), {"__module__": "__main__"})
    for wrapper in ("Thing", "a.b", ("a b:c", {}), lambda env: env, here):
        with pytest.raises(ConfigurationError, match="The server cannot import the wrapper"):
            ServerCommand(gym="CartPole-v1", wrappers=[wrapper])


@pytest.mark.parametrize(
    ("command", "options", "said"),
    [
        ("serve", ["--wrap", STACK], "--wrap requires --gym"),
        ("serve", ["--gym", "CartPole-v1", "--wrap-kwarg", "x=1"], "has no --wrap before it"),
        ("serve", ["--gym", "CartPole-v1", "--wrap", STACK], "cannot wrap CartPole-v1: TypeError"),
        ("serve", ["--gym", "highway-v0"], "pip install highway-env"),
        ("init my_env", ["--gym-kwarg", "x=1"], "--gym-kwarg requires --gym"),
        ("init my_env", ["--gym", "Foo/Bar-v0"], "MODULE:Foo/Bar-v0"),
    ],
    ids=str,
)
def test_errors_are_sentences(command: str, options: list[str], said: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [*OPENENV, *command.split(), *options], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.returncode == 2, done.stderr
    assert said in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "make", [gym.make, gym.make_vec, openenv_gym.RemoteEnv], ids=lambda make: make.__name__
)
def test_gym_make_serves_with_wrappers(make: Any) -> None:
    wrappers = [(AtariPreprocessing, {"screen_size": 42}), (STACK, {"stack_size": 3})]
    options: dict[str, Any] = {"gym_kwargs": {"frameskip": 1}}
    keywords: dict[str, Any] = {"gym": "ALE/Pong-v5", "provider_options": options}
    if make is gym.make_vec:
        options["wrappers"] = wrappers
    else:
        keywords["wrappers"] = wrappers
    with closing(make(*() if isinstance(make, type) else ("openenv/remote",), **keywords)) as env:
        assert env.observation_space.shape[-3:] == (3, 42, 42)
        assert env.reset(seed=1)[0] in env.observation_space


def test_wrappers_of_a_server_that_runs_are_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"replicas=, wrappers=.* but .* runs already"):
        gym.make("openenv/remote", base_url="http://127.0.0.1:9", wrappers=[STACK])


MADE = {
    "pong_env": (
        ["ALE/Pong-v5", "--gym-kwarg", "frameskip=1", "--wrap", ATARI, "--wrap-kwarg", "screen_size=42"],
        {"ale-py", "opencv-python-headless"},
    ),
    "grid_env": (
        [
            "MiniGrid-Fetch-5x5-N2-v0",
            "--wrap",
            "minigrid.wrappers:ViewSizeWrapper",
            "--wrap-kwarg",
            "agent_view_size=5",
        ],
        {"minigrid"},
    ),
    "rps_env": (["PettingZoo-v0", "--gym-kwarg", "env=classic/rps-v2"], {"pettingzoo", "pygame-ce"}),
}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", MADE)
def test_what_init_makes_names_its_packages_and_passes_its_checks(name: str, tmp_path: Path) -> None:
    options, packages = MADE[name]
    run(tmp_path, *OPENENV, "init", name, "--gym", *options)
    folder = tmp_path / name
    for file in ("pyproject.toml", "server/requirements.txt"):
        named = (folder / file).read_text()
        assert all(f"{package}>=" in named for package in packages)
    assert " at 0x" not in (folder / "README.md").read_text()
    for command in ("ruff check .", "ruff format --check .", "mypy", "pytest -q"):
        run(folder, "uv", "run", "--quiet", *command.split())
    with closing(gym.make("openenv/remote", path=str(folder))) as env:
        assert env.reset(seed=1)[0] in env.observation_space


def run(folder: Path, *command: str) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"


def test_a_scaffold_has_the_spec_of_its_environment(tmp_path: Path) -> None:
    run(
        tmp_path, *OPENENV, "init", "cart_env", "--gym", "CartPole-v1", "--gym-kwarg", "render_mode=rgb_array"
    )
    with closing(gym.make("openenv/remote", path=str(tmp_path / "cart_env"), render_mode="rgb_array")) as env:
        assert env.spec is not None
        assert (env.spec.max_episode_steps, env.spec.reward_threshold) == (500, 475.0)
        assert env.metadata["render_fps"] == 50
