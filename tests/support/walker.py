"""A small environment in the guide's layout, valid in every way, for tests that then break it."""

from __future__ import annotations

from pathlib import Path

FILES = {
    "__init__.py": "",
    "README.md": "# Walker\n",
    "uv.lock": "version = 1\n",
    "openenv.yaml": """\
spec_version: 1
name: walker
type: space
runtime: fastapi
app: server.app:app
port: 8000
""",
    "pyproject.toml": """\
[project]
name = "walker"
version = "0.1.0"
requires-python = ">=3.11"
dependencies = ["openenv-gym[server]"]

[project.scripts]
server = "walker.server.app:main"
""",
    "models.py": """\
from openenv_server import Action, Observation
from pydantic import Field


class Step(Action):
    direction: int = Field(ge=-1, le=1)


class Place(Observation):
    x: int = Field(ge=-100, le=100)
""",
    "client.py": "",
    "server/__init__.py": "",
    "server/walker_environment.py": '''\
import random

from models import Place, Step
from openenv_server import Environment, State


class Walker(Environment):
    """Walks in the wind, until it is at home or gone."""

    SUPPORTS_CONCURRENT_SESSIONS = True

    def __init__(self):
        self._random = random.Random()
        self._state = State()

    def reset(self, seed: int | None = None) -> Place:
        if seed is not None:
            self._random = random.Random(seed)
        self._state = State()
        self._x = self._random.randint(-50, 50)
        return Place(x=self._x)

    def step(self, action: Step) -> Place:
        self._state.step_count += 1
        self._x += action.direction + self._random.choice([-1, 0, 1])
        return Place(x=self._x, reward=-abs(self._x) / 100, done=self._x in (-100, 0, 100))

    @property
    def state(self) -> State:
        return self._state
''',
    "server/app.py": """\
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from models import Place, Step
from openenv_server import create_app
from server.walker_environment import Walker

app = create_app(Walker, Step, Place, env_name="walker")


def main():
    import argparse

    import uvicorn

    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=8000)
    uvicorn.run(app, host="127.0.0.1", port=parser.parse_args().port)


if __name__ == "__main__":
    main()
""",
    "server/Dockerfile": """\
ARG BASE_IMAGE=openenv-base:latest
FROM ${BASE_IMAGE} AS builder
COPY . /app/env
FROM ${BASE_IMAGE}
COPY --from=builder /app/env /app/env
USER openenv
HEALTHCHECK CMD curl -f http://localhost:8000/health || exit 1
CMD ["sh", "-c", "cd /app/env && uvicorn server.app:app --host 0.0.0.0 --port 8000"]
""",
}


def write_walker(parent: Path) -> Path:
    """Writes the folder ``walker`` with `FILES`, and returns it."""
    folder = parent / "walker"
    for name, text in FILES.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return folder
