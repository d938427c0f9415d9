"""`openenv init`: what it makes passes every check, and starts in every way, on the published package too."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import gymnasium as gym
import pytest
from openenv_cli.init import _atomic_folder
from openenv_cli.origin import installed_origin

from openenv_gym import RemoteEnv
from openenv_gym.errors import ConfigurationError
from openenv_gym.providers.process import ProcessProvider
from tests.support.peer import peer_python, peer_server

OPENENV = [sys.executable, "-m", "openenv_cli"]
TEMPLATES = {
    "echo_env": ["--template", "echo"],
    "array_env": ["--template", "array"],
    "chat_env": ["--template", "chat"],
    "cart_env": ["--gym", "CartPole-v1"],
}
LAYOUT = {
    ".dockerignore",
    ".github/workflows/docker-build.yml",
    ".gitignore",
    "README.md",
    "__init__.py",
    "client.py",
    "models.py",
    "openenv.yaml",
    "pyproject.toml",
    "server/Dockerfile",
    "server/__init__.py",
    "server/app.py",
    "server/my_environment.py",
    "server/requirements.txt",
    "tests/test_my_env.py",
    "uv.lock",
}


def init(*arguments: str | Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*OPENENV, "init", *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, **env},
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an environment of each template."""
    folder = tmp_path_factory.mktemp("made")
    for name, options in TEMPLATES.items():
        done = init(name, "--output-dir", folder, *options)
        assert done.returncode == 0, done.stderr
    return folder


def run_in(folder: Path, *command: str) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"
    return done.stdout


@contextmanager
def started(folder: Path, *command: str | Path) -> Iterator[str]:
    with peer_server(*command, cwd=folder, stderr=subprocess.DEVNULL) as base_url:
        yield base_url


def assert_it_steps(base_url: str) -> None:
    with RemoteEnv(base_url) as env:
        observation, _ = env.reset(seed=7)
        assert observation in env.observation_space
        observation, reward, *_ = env.step(env.action_space.sample())
        assert observation in env.observation_space
        assert isinstance(reward, float)


@pytest.mark.integration
def test_the_layout_and_the_names_are_the_guides(tmp_path: Path) -> None:
    done = init("my_env", "--output-dir", tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{tmp_path / 'my_env'}\n"
    folder = tmp_path / "my_env"
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert files == LAYOUT
    assert "class MyAction(Action)" in (folder / "models.py").read_text()
    assert "class MyObservation(Observation)" in (folder / "models.py").read_text()
    assert "class MyEnv(EnvClient[" in (folder / "client.py").read_text()
    assert "class MyEnvironment(Environment[" in (folder / "server" / "my_environment.py").read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["my_env"], "something was left behind"


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", TEMPLATES)
def test_it_passes_its_own_checks_in_an_environment_of_its_own(made: Path, name: str) -> None:
    folder = made / name
    for command in ("ruff check .", "ruff format --check .", "mypy", "pytest -q"):
        run_in(folder, "uv", "run", "--quiet", *command.split())


@pytest.mark.slow
@pytest.mark.parametrize("name", TEMPLATES)
def test_it_starts_in_every_way(made: Path, name: str) -> None:
    folder = made / name
    with ProcessProvider(str(folder)) as server:
        assert_it_steps(server.base_url)
    python = sys.executable
    with started(folder, python, "-m", "uvicorn", "server.app:app", "--port", "PORT") as base_url:
        assert_it_steps(base_url)
    with started(made, python, "-m", f"{name}.server.app", "--port", "PORT") as base_url:
        assert_it_steps(base_url)
    with started(folder, "uv", "run", "--quiet", "server", "--port", "PORT") as base_url:
        assert_it_steps(base_url)
    with started(made, "env", "PORT=PORT", python, "-m", "openenv_server", name) as base_url:
        assert_it_steps(base_url)


def test_its_own_client_drives_it(made: Path) -> None:
    code = (
        "import sys\n"
        "from echo_env import EchoAction, EchoEnv\n"
        "with EchoEnv(base_url=sys.argv[1]) as client:\n"
        "    client.reset()\n"
        "    result = client.step(EchoAction(message='Hello'))\n"
        "    print(result.observation.echo, result.reward, client.state().step_count)\n"
    )
    with ProcessProvider(str(made / "echo_env")) as server:
        assert run_in(made, sys.executable, "-c", code, server.base_url) == "Hello 0.5 1\n"


@pytest.mark.libraries
@pytest.mark.parametrize("name", ["echo_env", "chat_env"])
def test_it_runs_on_the_published_package(made: Path, name: str) -> None:
    python = peer_python()
    with started(made / name, python, "-m", "uvicorn", "server.app:app", "--port", "PORT") as base_url:
        assert_it_steps(base_url)
    with started(made, python, "-m", f"{name}.server.app", "--port", "PORT") as base_url:
        assert_it_steps(base_url)


@pytest.mark.libraries
def test_its_client_runs_on_the_published_package(made: Path) -> None:
    code = (
        "import sys\n"
        "from echo_env import EchoAction, EchoEnv\n"
        "with EchoEnv(base_url=sys.argv[1]).sync() as client:\n"
        "    client.reset()\n"
        "    result = client.step(EchoAction(message='Hello'))\n"
        "    print(result.observation.echo, result.reward, client.state().step_count)\n"
    )
    python = peer_python()
    with started(made / "echo_env", python, "-m", "uvicorn", "server.app:app", "--port", "PORT") as base_url:
        assert run_in(made, str(python), "-c", code, base_url) == "Hello 0.5 1\n"


@pytest.mark.parametrize(
    ("name", "type_instead"),
    [
        ("MyEnv", "my_env"),
        ("my-env", "my_env"),
        ("2048", "my_2048_env"),
        ("2env", "my_2env"),
        ("3d-maze", "my_3d_maze_env"),
        ("env", "my_env"),
        ("build", "build_env"),
        ("gym", "gym_env"),
        ("日本", "my_env"),
        ("x" * 50, "x" * 36 + "_env"),
        ("class", "class_env"),
        ("json", "json_env"),
        ("server", "server_env"),
        ("über_env", "uber_env"),
        ("a b", "a_b_env"),
    ],
)
def test_a_name_that_cannot_be_one_is_refused_with_one_that_can(
    tmp_path: Path, name: str, type_instead: str
) -> None:
    done = init(name, "--output-dir", tmp_path)
    assert done.returncode == 2
    assert f"Run: openenv init {type_instead}\n" in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "options", "type_instead"),
    [
        ("/tmp/user/my_env", (), "my_env --output-dir /tmp/user"),
        ("games/chess", (), "chess --output-dir games"),
        ("./My-Env/", (), "my_env --output-dir ."),
        ("b c/my_env", ("--output-dir", "a"), "my_env --output-dir 'a/b c'"),
        ("..", (), "my_env"),
    ],
)
def test_a_path_instead_of_a_name_is_refused_with_the_options_that_make_it_there(
    name: str, options: tuple[str, ...], type_instead: str
) -> None:
    done = init(name, *options)
    assert done.returncode == 2
    assert f"Run: openenv init {type_instead}\n" in done.stderr


def test_a_taken_name_is_refused_with_a_free_one(tmp_path: Path) -> None:
    (tmp_path / "my_env").mkdir()
    done = init("my_env", "--output-dir", tmp_path)
    assert done.returncode == 2
    assert "already exists. Run: openenv init my_env2" in done.stderr
    assert not list((tmp_path / "my_env").iterdir())


def test_nothing_is_left_where_it_fails(tmp_path: Path) -> None:
    done = init("my_env", "--output-dir", tmp_path, "--gym", "NoSuchEnvironment-v0")
    assert done.returncode == 2
    assert "NoSuchEnvironment" in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_place_where_nothing_can_be_made_is_named_and_no_folder_is_left(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = init("my_env", "--output-dir", tmp_path / "file" / "deeper")
    assert done.returncode == 2
    assert f"Cannot create a folder in {tmp_path / 'file' / 'deeper'}: Not a directory" in done.stderr
    done = init("my_env", "--output-dir", "/proc/no/such")
    assert "Cannot create a folder in /proc/no/such" in done.stderr


def test_folders_that_were_made_for_it_go_with_it_when_it_fails(tmp_path: Path) -> None:
    def fail() -> None:
        with _atomic_folder(tmp_path / "a" / "b" / "my_env") as draft:
            (draft / "file").write_text("x")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_of_two_at_once_one_is_refused_and_the_other_is_whole(tmp_path: Path) -> None:
    folder = tmp_path / "my_env"

    def be_overtaken() -> None:
        with _atomic_folder(folder) as slow, _atomic_folder(folder) as quick:
            (slow / "whose").write_text("the slow one's")
            (quick / "whose").write_text("the quick one's")

    with pytest.raises(ConfigurationError, match="already exists"):
        be_overtaken()
    assert (folder / "whose").read_text() == "the quick one's"
    assert [path.name for path in tmp_path.iterdir()] == ["my_env"]


@pytest.mark.parametrize(
    ("noted", "source"),
    [
        ({"url": "https://example.org/a.zip", "archive_info": {}}, '{ url = "https://example.org/a.zip" }'),
        (
            {"url": "https://example.org/r.git", "vcs_info": {"vcs": "git", "commit_id": "abc"}},
            '{ git = "https://example.org/r.git", rev = "abc" }',
        ),
        ({"url": "file:///no%20such/place", "dir_info": {}}, '{ path = "/no such/place", editable = true }'),
        (None, None),
    ],
)
def test_it_finds_the_distribution_where_that_was_installed_from(
    noted: dict[str, object] | None, source: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    information = tmp_path / "openenv_gym-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: openenv-gym\nVersion: 1.0\n")
    if noted is not None:
        (information / "direct_url.json").write_text(json.dumps(noted))
    monkeypatch.syspath_prepend(tmp_path)
    assert installed_origin().uv_source(tmp_path / "my_env") == source


def test_folders_of_modules_and_data_files_reach_the_wheel(tmp_path: Path) -> None:
    assert init("my_env", "--output-dir", tmp_path).returncode == 0
    folder = tmp_path / "my_env"
    added = ("extra.py", "levels.json", "server/logic/deep.py", "server/logic/board.txt", "data/a/b.txt")
    left_out = ("tests/more.py", "wheels/x.whl", "venv/lib/x.py", ".env")
    for name in (*added, *left_out):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("")
    run_in(folder, "uv", "build", "--quiet", "--wheel", "--out-dir", str(tmp_path))
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {f"my_env/{name}" for name in added} <= names
    assert not {f"my_env/{name}" for name in left_out} & names
    assert not any("__pycache__" in name or "egg-info" in name for name in names)


def test_without_uv_there_is_no_lock_file_and_a_sentence(tmp_path: Path) -> None:
    only_python = tmp_path / "bin"
    only_python.mkdir()
    done = init("my_env", "--output-dir", tmp_path, PATH=str(only_python), UV="")
    assert done.returncode == 0, done.stderr
    assert "uv is not installed, so uv.lock is missing" in done.stderr
    assert not (tmp_path / "my_env" / "uv.lock").exists()


def test_a_name_that_only_the_gym_option_can_bring(tmp_path: Path) -> None:
    done = init("my_env", "--output-dir", tmp_path, "--template", "gym")
    assert done.returncode == 2
    assert "--template gym --gym CartPole-v1" in done.stderr


def test_an_environment_within_the_checkout_names_it_by_a_relative_path() -> None:
    folder = Path(__file__).parents[2] / "envs"
    name = "made_by_a_test_env"
    try:
        done = init(name, "--output-dir", folder)
        assert done.returncode == 0, done.stderr
        assert '{ path = "../..", editable = true }' in (folder / name / "pyproject.toml").read_text()
        assert not (folder / name / ".github").exists(), "the repository has its own workflow"
    finally:
        shutil.rmtree(folder / name, ignore_errors=True)


def test_a_gymnasium_environment_keeps_its_spaces(made: Path) -> None:
    local = gym.make("CartPole-v1")
    with ProcessProvider(str(made / "cart_env")) as server, RemoteEnv(server.base_url) as env:
        assert env.action_space == local.action_space
        assert env.observation_space == local.observation_space
