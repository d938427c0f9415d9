"""The built wheel in new virtual environments: with an extra, without, and beside `openenv`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.peer import peer_server
from tests.support.servers import status_of

pytestmark = pytest.mark.timeout(600)

REPOSITORY = Path(__file__).parents[1]
PUBLISHED = "openenv==0.10.0"
PUBLISHED_FOLDER = REPOSITORY / "tests" / "interop" / "published" / "cart_env"
# What only our command line says.
OUR_HELP = "train on any of them as a gymnasium.Env"

HASH_FILES = """
import hashlib, importlib.metadata, json, sys
files = importlib.metadata.files(sys.argv[1])
print(json.dumps({
    str(file): hashlib.sha256(file.locate().read_bytes()).hexdigest() if file.locate().exists() else None
    for file in files
}))
"""

DRIVE = """
import sys
import gymnasium as gym
import numpy as np
import openenv_gym

remote, local = gym.make("openenv/remote", base_url=sys.argv[1]), gym.make("CartPole-v1")
assert np.array_equal(remote.reset(seed=7)[0], local.reset(seed=7)[0])
for action in [0, 1] * 5:
    here, there = local.step(action), remote.step(action)
    assert np.array_equal(here[0], there[0])
    assert here[1:4] == there[1:4]
remote.close()
"""

STEP_MY_ENV = """
from my_env import MyAction
from my_env.server.my_environment import MyEnvironment
environment = MyEnvironment()
environment.reset(seed=7)
print(environment.step(MyAction(move=1)).cells.shape)
"""

SERVE_AND_DRIVE = """
import sys
from openenv_gym.providers.process import ProcessProvider

with ProcessProvider(gym="CartPole-v1") as server:
    sys.argv.append(server.base_url)
    exec(sys.stdin.read())
"""


def uv(*arguments: str | Path) -> None:
    command = os.environ.get("UV") or shutil.which("uv")
    if command is None:
        pytest.skip("needs uv")
    done = subprocess.run([command, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


class VirtualEnvironment:
    """An empty environment of this Python version; what runs in it runs away from the repository."""

    def __init__(self, folder: Path) -> None:
        uv("venv", "--python", sys.executable, folder / "venv")
        self.scripts = folder / "venv" / ("Scripts" if os.name == "nt" else "bin")
        self.cwd = folder / "elsewhere"
        self.cwd.mkdir()
        self.environment = {
            name: value for name, value in os.environ.items() if not name.startswith("PYTHON")
        } | {"COLUMNS": "200", "NO_COLOR": "1"}

    def install(self, requirement: str) -> None:
        uv("pip", "install", "--python", self.scripts / "python", requirement)

    def uninstall(self, name: str) -> None:
        uv("pip", "uninstall", "--python", self.scripts / "python", name)

    def run(self, script: str, *arguments: str, stdin: str = "") -> str:
        """Runs an installed command; gives what it printed."""
        done = subprocess.run(
            [self.scripts / script, *arguments],
            cwd=self.cwd,
            env=self.environment,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()

    def python(self, code: str, *arguments: str, stdin: str = "") -> str:
        """Runs code; gives what it printed."""
        return self.run("python", "-c", code, *arguments, stdin=stdin)

    def homes_of(self, *modules: str) -> list[str]:
        """The files that modules are imported from."""
        names = ", ".join(modules)
        return self.python(
            f"import {names}; print(*[m.__file__ for m in ({names},)], sep='\\n')"
        ).splitlines()

    def hashes(self, distribution: str) -> dict[str, str | None]:
        """The digest of every file of an installed distribution; None for one that is missing."""
        hashes: dict[str, str | None] = json.loads(self.python(HASH_FILES, distribution))
        assert hashes
        return hashes


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    uv("build", "--wheel", "--out-dir", folder, REPOSITORY)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def with_cli(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> VirtualEnvironment:
    environment = VirtualEnvironment(tmp_path_factory.mktemp("with_cli"))
    environment.install(f"{wheel}[cli]")
    return environment


@pytest.fixture(scope="module")
def base_only(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> VirtualEnvironment:
    environment = VirtualEnvironment(tmp_path_factory.mktemp("base_only"))
    environment.install(str(wheel))
    return environment


@pytest.mark.parametrize("script", ["openenv", "openenv-gym"])
def test_both_commands_are_ours(script: str, with_cli: VirtualEnvironment) -> None:
    assert OUR_HELP in with_cli.run(script, "--help")


def test_the_guides_imports_work(with_cli: VirtualEnvironment) -> None:
    with_cli.python("import openenv.core.env_server; from openenv_core import Environment")
    assert all("openenv_guide_paths" in home for home in with_cli.homes_of("openenv", "openenv_core"))


def test_the_installed_command_serves(with_cli: VirtualEnvironment) -> None:
    server = subprocess.Popen(
        [with_cli.scripts / "openenv", "serve", "--gym", "CartPole-v1", "--port", "0"],
        cwd=with_cli.cwd,
        env=with_cli.environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stdout is not None
        base_url = server.stdout.readline().strip()
        assert base_url.startswith("http://127.0.0.1:")
        with_cli.python(DRIVE, base_url)
    finally:
        server.terminate()
        server.communicate(timeout=30)


def test_the_installed_provider_serves(with_cli: VirtualEnvironment) -> None:
    with_cli.python(SERVE_AND_DRIVE, stdin=DRIVE)


def environment_finds_us(environment: VirtualEnvironment) -> str:
    """Make an environment with the installed command and step it; return where it looks for us."""
    environment.run("openenv", "init", "my_env", "--template", "array")
    folder = environment.cwd / "my_env"
    done = subprocess.run(
        [os.environ.get("UV") or "uv", "run", "--no-dev", "python", "-c", STEP_MY_ENV],
        cwd=folder,
        env=environment.environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "(8, 8)\n"
    sources = tomllib.loads((folder / "pyproject.toml").read_text())["tool"]["uv"]["sources"]
    return str(sources["openenv-gym"])


def test_an_environment_finds_the_wheel_that_was_installed(with_cli: VirtualEnvironment, wheel: Path) -> None:
    assert environment_finds_us(with_cli) == str({"path": str(wheel)})


def test_an_environment_finds_the_commit_that_was_installed(tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    subprocess.run(["git", "clone", "--quiet", REPOSITORY, repository], check=True)
    head = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=repository, capture_output=True, text=True, check=True
    ).stdout.strip()
    environment = VirtualEnvironment(tmp_path)
    environment.install(f"openenv-gym[cli] @ git+file://{repository}@{head}")
    assert environment_finds_us(environment) == str({"git": f"file://{repository}", "rev": head})


def test_the_command_without_its_extra_names_the_extra(base_only: VirtualEnvironment) -> None:
    for command in ("openenv", "openenv-gym"):
        done = subprocess.run(
            [base_only.scripts / command, "--help"],
            cwd=base_only.cwd,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 2
        assert "pip install 'openenv-gym[cli]'" in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize("source", ["path=sys.argv[1]", "gym='CartPole-v1'"])
def test_serving_without_the_extra_names_the_extra(source: str, base_only: VirtualEnvironment) -> None:
    folder = base_only.cwd / "my_env"
    folder.mkdir(exist_ok=True)
    (folder / "openenv.yaml").write_text("name: my_env\n")
    said = base_only.python(
        "import pickle, sys; import gymnasium as gym; import openenv_gym\n"
        "from openenv_gym.errors import MissingExtraError\n"
        f"try: gym.make('openenv/remote', {source})\n"
        "except MissingExtraError as error: print(pickle.loads(pickle.dumps(error)))",
        str(folder),
    )
    assert said.startswith("Serving ")
    assert "pip install 'openenv-gym[cli]'" in said


def test_without_the_server_extra_the_guides_client_paths_work(base_only: VirtualEnvironment) -> None:
    base_only.python(
        "from openenv.core.env_client import EnvClient\n"
        "from openenv.core.client_types import StepResult\n"
        "from openenv_core.generic_client import GenericEnvClient"
    )


def test_the_base_dependencies_are_enough_to_train(
    base_only: VirtualEnvironment, serve_gym: Callable[[str], str]
) -> None:
    base_only.python(DRIVE, serve_gym("CartPole-v1"))


@pytest.mark.parametrize("package", ["fastapi", "uvicorn", "typer", "rich", "docker"])
def test_the_base_dependencies_bring_no_server(package: str, base_only: VirtualEnvironment) -> None:
    code = f"import importlib.util; print(importlib.util.find_spec({package!r}))"
    assert base_only.python(code) == "None"


def our_server_serves_a_published_environment(environment: VirtualEnvironment) -> None:
    server = subprocess.Popen(
        [environment.scripts / "openenv-gym", "serve", PUBLISHED_FOLDER, "--port", "0"],
        cwd=environment.cwd,
        env=environment.environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stdout is not None
        base_url = server.stdout.readline().strip()
        assert status_of(f"{base_url}/health")[1]["max_sessions"] == 8
        assert status_of(f"{base_url}/reset", {"seed": 2})[1]["observation"]["position"] == 2
    finally:
        server.terminate()
        server.communicate(timeout=30)


@pytest.mark.libraries
@pytest.mark.parametrize("ours_first", [True, False], ids=["ours_first", "published_first"])
def test_it_lives_beside_the_published_package(ours_first: bool, wheel: Path, tmp_path: Path) -> None:
    both = {"openenv-gym": f"{wheel}[cli]", "openenv": PUBLISHED}
    first, second = both if ours_first else reversed(both)
    environment = VirtualEnvironment(tmp_path)
    environment.install(both[first])
    before = environment.hashes(first)
    environment.install(both[second])
    after, others = environment.hashes(first), environment.hashes(second)
    assert after == before
    # The one file that both have is the `openenv` script, and it is the same in both.
    (shared,) = after.keys() & others.keys()
    assert Path(shared).stem == "openenv"
    assert after[shared] == others[shared] is not None

    homes = environment.homes_of("openenv", "openenv.core", "openenv_core", "openenv_gym", "openenv_server")
    assert not any("openenv_guide_paths" in home for home in homes)
    assert OUR_HELP in environment.run("openenv-gym", "--help")
    assert OUR_HELP not in environment.run("openenv", "--help")
    environment.python(SERVE_AND_DRIVE, stdin=DRIVE)
    our_server_serves_a_published_environment(environment)

    ours = environment.hashes("openenv-gym")
    environment.uninstall("openenv")
    # The script that was shared goes with the published package; `openenv-gym` stays.
    assert environment.hashes("openenv-gym") == ours | {shared: None}
    assert all("openenv_guide_paths" in home for home in environment.homes_of("openenv.core", "openenv_core"))
    assert OUR_HELP in environment.run("openenv-gym", "--help")


@pytest.mark.libraries
@pytest.mark.parametrize("options", [["--template", "array"], ["--gym", "CartPole-v1"]], ids=["array", "gym"])
def test_arrays_are_served_by_the_published_package_too(
    options: list[str], wheel: Path, tmp_path: Path
) -> None:
    environment = VirtualEnvironment(tmp_path)
    environment.install(f"{wheel}[cli]")
    environment.install(PUBLISHED)
    environment.run("openenv-gym", "init", "my_env", *options)
    command = [environment.scripts / "python", "-m", "uvicorn", "server.app:app", "--port", "PORT"]
    with peer_server(
        *command, cwd=environment.cwd / "my_env", env=environment.environment, stderr=subprocess.DEVNULL
    ) as base_url:
        environment.python(
            "import sys; from openenv_gym import RemoteEnv\n"
            "with RemoteEnv(sys.argv[1]) as env:\n"
            "    observation, _ = env.reset(seed=7)\n"
            "    assert observation in env.observation_space\n"
            "    assert env.step(env.action_space.sample())[0] in env.observation_space\n",
            base_url,
        )
