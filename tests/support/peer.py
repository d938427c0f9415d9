"""The published package, installed in a separate virtual environment that is kept between runs."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import platformdirs
from filelock import FileLock

VERSION = "0.10.0"
REPOSITORY = Path(__file__).parents[2]


def peer_python(*extras: str) -> Path:
    """The interpreter of an environment that has the published `openenv` and nothing of ours.

    Args:
        extras: Further packages; each set of them has a separate environment.
    """
    return _interpreter("-".join([f"openenv-{VERSION}", *extras]), f"openenv=={VERSION}", *extras)


def package_python(*packages: str) -> Path:
    """The interpreter of an environment that has some packages and nothing of ours."""
    tag = hashlib.sha256(" ".join(packages).encode()).hexdigest()[:12]
    return _interpreter(f"packages-{tag}", *packages)


def both_python() -> Path:
    """The interpreter of an environment with the published `openenv` and this repository's code."""
    return _interpreter(f"both-{VERSION}-{_project()}", f"openenv=={VERSION}", "-e", f"{REPOSITORY}[cli]")


def trainer_python(*packages: str) -> Path:
    """The interpreter of an environment with other packages and this repository's code.

    Args:
        packages: With their versions.
    """
    tag = hashlib.sha256(" ".join(packages).encode()).hexdigest()[:12]
    return _interpreter(f"trainers-{tag}-{_project()}", "-e", str(REPOSITORY), *packages)


def _project() -> str:
    """Identifies this checkout and its dependencies."""
    project = f"{REPOSITORY}\n{(REPOSITORY / 'pyproject.toml').read_text()}"
    return hashlib.sha256(project.encode()).hexdigest()[:12]


def _interpreter(name: str, *requirements: str) -> Path:
    """Make a virtual environment with packages, unless an earlier run has made it."""
    tag = f"{name}-py{sys.version_info.major}.{sys.version_info.minor}"
    venv = Path(platformdirs.user_cache_dir("openenv-gym", appauthor=False)) / "peers" / tag
    python = venv / "bin" / "python"
    venv.parent.mkdir(parents=True, exist_ok=True)
    # Tests that run beside each other wait for the one that makes it.
    with FileLock(f"{venv}.lock"):
        ready = venv / "is-complete"
        if not ready.exists():
            uv = shutil.which("uv")
            assert uv is not None, "uv makes the peer's environment: pip install uv"
            shutil.rmtree(venv, ignore_errors=True)
            links = os.environ.get("PIP_FIND_LINKS")
            # Tests start many processes there, which would each compile what they import.
            install = ["pip", "install", "-q", "--compile-bytecode", "-p", str(python), *requirements]
            for arguments in (
                ["venv", "-q", "-p", sys.executable, str(venv)],
                [*install, *(["-f", links] if links else [])],
            ):
                subprocess.run([uv, *arguments], check=True)
            ready.touch()
    return python


@contextmanager
def peer_server(*command: str | Path, **options: Any) -> Iterator[str]:
    """Runs a server of the peer's; gives its base URL.

    Args:
        command: What starts it; ``PORT`` at the end of a word stands for its port.
        options: Those of `subprocess.Popen`.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [re.sub(r"\bPORT$", str(port), str(word)) for word in command]
    process = subprocess.Popen(words, **options)
    try:
        base_url = f"http://127.0.0.1:{port}"
        _wait_until_healthy(base_url, process)
        yield base_url
    finally:
        process.terminate()
        process.wait(timeout=20)


def _wait_until_healthy(base_url: str, process: subprocess.Popen[bytes]) -> None:
    """Waits for a server that was started; a minute at most."""
    deadline = time.monotonic() + 60
    while True:
        assert process.poll() is None, "the peer's server ended"
        assert time.monotonic() < deadline, "the peer's server did not come up"
        try:
            with urllib.request.urlopen(f"{base_url}/health", timeout=1):
                return
        except OSError:
            time.sleep(0.1)
