"""An engine for the tests of this folder, where one can run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import platformdirs
import pytest
from filelock import FileLock

from tests.containers.environment import write_environment
from tests.support.engine import Engine, running_engine, running_registry, why_no_engine
from tests.support.python_image import load_python_image


class Build(NamedTuple):
    """What a build printed."""

    stdout: str
    stderr: str


def openenv(*arguments: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Runs the command line in a pipe, to its end."""
    command = [sys.executable, "-m", "openenv_cli", *arguments]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=480, check=False)


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """A Docker engine of the tests' own."""
    if reason := why_no_engine():
        pytest.skip(reason)
    with running_engine() as engine:
        yield engine


@pytest.fixture(scope="session")
def registry(engine: Engine) -> Iterator[str]:
    """An image registry on loopback, as ``host:port``."""
    with running_registry() as address:
        yield address


@pytest.fixture(scope="session")
def python_image(engine: Engine) -> str:
    """The tag of the image that openenv-base starts from."""
    cache = Path(platformdirs.user_cache_dir("openenv-gym", appauthor=False))
    cache.mkdir(parents=True, exist_ok=True)
    # Tests that run beside each other wait for the one that makes it.
    with FileLock(cache / "python-image.lock"):
        return load_python_image(engine)


@pytest.fixture
def docker_host(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """The engine, and the way to it in this process's variables and so in those of its children."""
    monkeypatch.delenv("DOCKER_CONTEXT", raising=False)
    for name, value in engine.variables.items():
        monkeypatch.setenv(name, value)
    return engine


@pytest.fixture(scope="session")
def environment_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment as the guide lays it out, which needs this distribution's wheel beside it."""
    uv = os.environ.get("UV") or shutil.which("uv")
    assert uv is not None, "uv makes the wheel: pip install uv"
    folder = tmp_path_factory.mktemp("envs")
    subprocess.run([uv, "build", "-q", "--wheel", "-o", folder, Path(__file__).parents[2]], check=True)
    write_environment(folder / "my_env", next(folder.glob("*.whl")))
    return folder / "my_env"


@pytest.fixture(scope="session")
def environment_image(engine: Engine, python_image: str, environment_folder: Path) -> Build:
    """That environment's image, built into a store that has no openenv-base; and what the build printed."""
    done = openenv("build", str(environment_folder), env=engine.environment)
    assert done.returncode == 0, done.stderr
    return Build(done.stdout, done.stderr)
