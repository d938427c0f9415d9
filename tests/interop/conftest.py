"""The published package, as a peer in a virtual environment of its own, kept between runs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import platformdirs
import pytest

VERSION = "0.10.0"


@pytest.fixture(scope="session")
def peer_python() -> Path:
    """The interpreter of an environment that has the published `openenv` and nothing of ours."""
    tag = f"openenv-{VERSION}-py{sys.version_info.major}.{sys.version_info.minor}"
    venv = Path(platformdirs.user_cache_dir("openenv-gym", appauthor=False)) / "peers" / tag
    python = venv / "bin" / "python"
    ready = venv / "is-complete"
    if not ready.exists():
        uv = shutil.which("uv")
        assert uv is not None, "uv makes the peer's environment: pip install uv"
        shutil.rmtree(venv, ignore_errors=True)
        # The user's own settings may say where packages come from.
        env = {name: value for name, value in os.environ.items() if name != "XDG_CONFIG_HOME"}
        for arguments in (
            ["venv", "-q", "-p", sys.executable, str(venv)],
            ["pip", "install", "-q", "-p", str(python), f"openenv=={VERSION}"],
        ):
            subprocess.run([uv, *arguments], check=True, env=env)
        ready.touch()
    return python
