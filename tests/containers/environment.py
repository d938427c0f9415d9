"""An environment laid out as the guide says, with a Dockerfile like the guide's."""

from __future__ import annotations

from pathlib import Path

FILES = {
    "openenv.yaml": "spec_version: 1\nname: my_env\ntype: space\nruntime: fastapi\napp: server.app:app\n",
    "__init__.py": "",
    "models.py": """\
from openenv.core.env_server.types import Action, Observation


class MyAction(Action):
    command: str


class MyObservation(Observation):
    result: str
""",
    "server/__init__.py": "",
    "server/my_environment.py": """\
import os

from models import MyObservation
from openenv.core.env_server.interfaces import Environment
from openenv.core.env_server.types import State


class MyEnvironment(Environment):
    def reset(self):
        return MyObservation(result="Ready")

    def step(self, action):
        return MyObservation(result=f"{action.command} by user {os.getuid()}", reward=1.0)

    @property
    def state(self):
        return State()
""",
    "server/app.py": """\
from models import MyAction, MyObservation
from openenv.core.env_server import create_app
from server.my_environment import MyEnvironment

app = create_app(MyEnvironment, MyAction, MyObservation, env_name="my_env")
""",
    "server/Dockerfile": """\
ARG BASE_IMAGE=openenv-base:latest
FROM ${BASE_IMAGE} AS builder

ARG BUILD_MODE=in-repo
ARG ENV_NAME=__ENV_NAME__

COPY . /app/env
WORKDIR /app/env
RUN --mount=type=cache,target=/root/.cache/uv uv sync --no-editable

FROM ${BASE_IMAGE}
WORKDIR /app
COPY --from=builder /app/env /app/env
ENV PATH="/app/env/.venv/bin:$PATH"
ENV PYTHONPATH="/app/env:$PYTHONPATH"
USER openenv
HEALTHCHECK --interval=30s --timeout=3s --start-period=5s --retries=3 \\
    CMD curl -f http://localhost:8000/health || exit 1
CMD ["sh", "-c", "cd /app/env && uvicorn server.app:app --host 0.0.0.0 --port 8000"]
""",
}
PROJECT = """\
[project]
name = "my-env"
version = "0.1.0"
requires-python = ">=3.11"
dependencies = ["openenv-gym[server]"]

[tool.uv]
package = false

[tool.uv.sources]
openenv-gym = {{ path = "{wheel}" }}
"""


def write_environment(folder: Path, wheel: Path) -> None:
    """Writes the environment's files.

    Args:
        folder: Where; it is made.
        wheel: The wheel of this distribution, outside of the folder, as in a repository of environments.
    """
    for name, text in {**FILES, "pyproject.toml": PROJECT.format(wheel=wheel)}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
