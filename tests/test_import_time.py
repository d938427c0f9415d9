"""Importing `openenv_gym` costs little more than importing Gymnasium."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from statistics import median

import pytest

MEASUREMENTS = 11
AT_MOST_TIMES_GYMNASIUM = 1.3
NEVER_AT_IMPORT = ("fastapi", "pydantic", "websocket", "typer", "rich", "docker")


@pytest.mark.timeout(300)
@pytest.mark.alone
def test_the_import_takes_little_longer_than_gymnasiums(tmp_path: Path) -> None:
    seconds: dict[str, list[float]] = {"gymnasium": [], "openenv_gym": []}
    for module in seconds:
        import_seconds(module, tmp_path)  # warms the disk's cache and writes the bytecode
    for _ in range(MEASUREMENTS):
        for module, measured in seconds.items():
            measured.append(import_seconds(module, tmp_path))
    gymnasium, ours = median(seconds["gymnasium"]), median(seconds["openenv_gym"])
    assert ours <= AT_MOST_TIMES_GYMNASIUM * gymnasium, (
        f"{ours:.3f} s is {ours / gymnasium:.2f} times Gymnasium's {gymnasium:.3f} s; "
        "python -X importtime -c 'import openenv_gym' shows where it goes"
    )


def test_the_import_brings_in_nothing_that_is_only_used_later(tmp_path: Path) -> None:
    code = f"import sys, openenv_gym; print([m for m in {NEVER_AT_IMPORT} if m in sys.modules])"
    assert fresh_interpreter(code, tmp_path) == "[]"


def test_the_models_and_clients_need_no_server(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules.update(dict.fromkeys(('fastapi', 'uvicorn', 'yaml')));"
        "from openenv import AutoEnv, GenericAction, SyncEnvClient;"
        "from openenv.core import Action, EnvClient, OpenAIClient, StepResult;"
        "from openenv.core.env_server import Observation, State;"
        "from openenv.core.env_server.types import CodeExecResult; print('imported')"
    )
    assert fresh_interpreter(code, tmp_path) == "imported"


def test_a_server_imports_gradio_for_visitors_only(tmp_path: Path) -> None:
    code = (
        "import sys, openenv_server; from openenv_server.gymnasium_environment import gymnasium_factory;"
        "import gymnasium; factory, models = gymnasium_factory(lambda: gymnasium.make('CartPole-v1'));"
        "openenv_server.create_app(factory, models.action, models.observation);"
        "print([m for m in ('gradio', 'httpx', 'openenv_gym.client') if m in sys.modules])"
    )
    assert fresh_interpreter(code, tmp_path) == "[]"


def import_seconds(module: str, folder: Path) -> float:
    code = f"import time; begin = time.perf_counter(); import {module}; print(time.perf_counter() - begin)"
    return float(fresh_interpreter(code, folder))


def fresh_interpreter(code: str, folder: Path) -> str:
    """Return what the code prints in a new interpreter, away from the repository."""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout.strip()
