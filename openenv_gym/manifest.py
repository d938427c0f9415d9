"""An environment's folder: its `openenv.yaml`, the application that it names, and how it may be called."""

from __future__ import annotations

import re
from pathlib import Path

from openenv_gym.errors import ConfigurationError
from openenv_gym.folder_import import is_environment_folder

MANIFEST = "openenv.yaml"
_APP = re.compile(r"^app:\s*[\"']?([\w.]+:\w+)", re.MULTILINE)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


def environment_folder(path: str | Path) -> Path:
    """The absolute path of an environment's folder.

    Raises:
        ConfigurationError: The folder does not exist, or has neither ``openenv.yaml`` nor ``server/app.py``.
    """
    folder = Path(path).resolve()
    if not folder.is_dir():
        is_file = folder.exists()
        raise ConfigurationError(
            f"No such folder: {folder}{' (it is a file)' if is_file else ''}",
            advice=f"For the application in a file, use --app {folder.stem}:app in its folder."
            if is_file and folder.suffix == ".py"
            else "",
        )
    if not is_environment_folder(folder):
        raise ConfigurationError(
            f"{folder} has neither {MANIFEST} nor server/app.py, so it is not an environment's folder.",
            advice="Change to one, create one with `openenv init my_env`, or serve an application "
            "(openenv serve --app module:app) or a Gymnasium environment (openenv serve --gym CartPole-v1).",
        )
    return folder


def application(folder: Path) -> str:
    """The application that ``openenv.yaml`` names, as ``module:attribute``.

    This reads one line and needs no YAML parser, which may not be installed here. The process that serves the
    folder reads the whole file.

    Raises:
        ConfigurationError: The file cannot be read.
    """
    try:
        found = _APP.search((folder / MANIFEST).read_text(encoding="utf-8"))
    except FileNotFoundError:
        found = None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{folder / MANIFEST} cannot be read: {error}") from error
    return found[1] if found else "server.app:app"


def canonical_name(name: str) -> str:
    """An environment's name with hyphens: ``my_env`` and ``my-env`` are the same name.

    Raises:
        ConfigurationError: The name cannot be part of a Gymnasium id.
    """
    if not _NAME.fullmatch(name):
        raise ConfigurationError(
            f"{name!r} cannot be an environment's name: use letters, digits, '-', '_' and '.', as in my-env"
        )
    return name.replace("_", "-")
