"""A small environment's folder, and ``openenv`` run against a stand-in for the Hub."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.support.hub import TOKEN, StandIn

DOCKERFILE = """\
ARG BASE_IMAGE=openenv-base:latest
FROM ${BASE_IMAGE} AS builder
COPY . /app/env
FROM ${BASE_IMAGE}
COPY --from=builder /app/env /app/env
CMD ["sh", "-c", "cd /app/env && uvicorn server.app:app --host 0.0.0.0 --port 8000"]
"""
LARGE = bytes(range(256)) * 400


def make_environment(folder: Path) -> Path:
    """Writes a folder as `openenv init` lays it out."""
    (folder / "server").mkdir(parents=True)
    (folder / "openenv.yaml").write_text("name: my_env\nport: 8000\n")
    (folder / "README.md").write_text("---\ntitle: Mine  # kept\n---\n\n# My env\n")
    (folder / "models.py").write_text("# models\n")
    (folder / "weights.bin").write_bytes(LARGE)
    (folder / "server" / "app.py").write_text("# app\n")
    (folder / "server" / "Dockerfile").write_text(DOCKERFILE)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    """Every file in a folder, and its bytes."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def openenv(
    hub: StandIn, home: Path, *arguments: str, token: str | None = TOKEN, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Runs the command in a pipe, with the real client of the Hub."""
    return subprocess.run(
        [sys.executable, "-m", "openenv_cli", *arguments],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        stdin=subprocess.DEVNULL,
        env={**os.environ, **hub.variables(home, token), **variables},
    )


def shown(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    """What the command said in a pipe: a name, a tab and a value on each line."""
    assert done.returncode == 0, done.stderr
    return dict(line.split("\t", 1) for line in done.stdout.splitlines())
