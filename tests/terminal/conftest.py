from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

APP = '''
from typing import Annotated, Literal

import numpy as np
from openenv_server import Action, Environment, Observation, State, create_app
from pydantic import BaseModel, Field

from openenv_gym.types import Array


class Part(BaseModel):
    kind: Literal["bolt", "nut"]
    size: Annotated[float, Field(ge=0, le=1)] = 0.5


class Build(Action):
    where: Literal["left", "right"] = Field(description="Where to put it")
    power: Annotated[int, Field(ge=0, le=9)] = 3
    is_fast: bool
    part: Part
    spare: Part | None = None
    note: str = "none"


class Seen(Observation):
    said: str
    frame: Annotated[np.ndarray, Array(np.uint8, (8, 12, 3))]
    grid: Annotated[np.ndarray, Array(np.int64, (2, 3))]
    far: Annotated[np.ndarray, Array(np.float32, (64, 64))]


class Workshop(Environment):
    """Builds."""

    def __init__(self):
        super().__init__()
        self._state = State()

    def reset(self, seed=None):
        self._state = State()
        return self._see(f"seed {seed}")

    def step(self, action: Build) -> Seen:
        if action.note == "break":
            raise RuntimeError("it broke")
        self._state.step_count += 1
        return self._see(action.model_dump_json(), reward=1.5, done=self._state.step_count == 3)

    @property
    def state(self):
        return self._state

    def _see(self, said, **flags):
        return Seen(
            said=said + "\\n\\x1b[2Jsecond line",
            frame=np.full((8, 12, 3), 200, np.uint8),
            grid=np.arange(6).reshape(2, 3),
            far=np.ones((64, 64), np.float32),
            **flags,
        )


app = create_app(Workshop, Build, Seen, env_name="workshop")
'''


@pytest.fixture
def workshop() -> Iterator[Path]:
    """An environment's folder."""
    # A path that fits a terminal of 80 columns.
    with tempfile.TemporaryDirectory(prefix="oe-") as short:
        folder = Path(short) / "workshop"
        folder.mkdir()
        (folder / "openenv.yaml").write_text("name: workshop\napp: app:app\n")
        (folder / "app.py").write_text(APP)
        yield folder


@pytest.fixture
def own_folders() -> Iterator[Path]:
    """Folders of the user's for one test: a registry file and notes of its own, with paths that are short."""
    with tempfile.TemporaryDirectory(prefix="user") as folder, pytest.MonkeyPatch.context() as patch:
        for variable in ("XDG_RUNTIME_DIR", "XDG_CONFIG_HOME"):
            Path(folder, variable).mkdir(mode=0o700)
            patch.setenv(variable, f"{folder}/{variable}")
        yield Path(folder)
