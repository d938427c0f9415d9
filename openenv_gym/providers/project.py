"""A folder whose packages uv installs into an environment of its own, as its lock file says."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from openenv_gym.errors import ConfigurationError
from openenv_gym.providers.progress import tell

# Of this process's Python, and misleading for another one.
FOREIGN = frozenset({"VIRTUAL_ENV", "PYTHONHOME", "PYTHONPATH"})
_APP = re.compile(r"^app:\s*[\"']?([\w.]+:\w+)", re.MULTILINE)
_SHOW_PYTHON = "import sys; print(sys.executable)"
_STOP_TIMEOUT_S = 5.0


def install(uv: str, folder: Path) -> str:
    """Installs what the folder's lock names, into the folder's ``.venv``; returns the Python there.

    The lock is left as it is, and so are packages that are there beside it.

    Raises:
        ConfigurationError: uv cannot; the message has its last words.
    """
    tell(f"Installing what {folder} needs…")
    variables = {name: value for name, value in os.environ.items() if name not in FOREIGN}
    process = subprocess.Popen(
        [uv, "run", "--quiet", "--frozen", "--no-dev", "--project", folder, "python", "-c", _SHOW_PYTHON],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=variables,
        start_new_session=True,
    )
    try:
        python, words = process.communicate()
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(_STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
    if process.returncode != 0:
        raise ConfigurationError(
            f"uv cannot install the packages in {folder / 'uv.lock'}.",
            advice=f"Try: uv sync --frozen --project {folder}",
            log=words,
        )
    return python.strip()


def application(folder: Path) -> str:
    """The application that ``openenv.yaml`` names, as ``module:attribute``.

    Read without a parser of YAML, which this Python may not have; what serves the folder reads it in full.

    Raises:
        ConfigurationError: There is no such file.
    """
    manifest = folder / "openenv.yaml"
    try:
        found = _APP.search(manifest.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"{folder} has no openenv.yaml that can be read: {error}") from error
    return found[1] if found else "server.app:app"
