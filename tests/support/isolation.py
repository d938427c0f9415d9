"""Keep the tests away from the user's folders, servers and variables, in this process and in its children."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import platformdirs
import pytest

# Folders of the user's configuration that say where packages come from; uv and pip still need them.
_INSTALLERS = ("uv", "pip")
_HUB = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HUGGINGFACE_HUB_TOKEN", "HF_ENDPOINT", "HF_HUB_OFFLINE")
_OTHERS = ("DOCKER_CONTEXT", "RAY_ADDRESS", "VIRTUAL_ENV")
# The tests' own variables.
_KEPT = ("OPENENV_TEST_", "OPENENV_UPDATE_")
_NO_ENGINE = "unix:///nowhere/docker.sock"


def isolate() -> Callable[[], None]:
    """Give the tests empty folders in place of the user's, and unset what the user may have set.

    Returns:
        A function that puts everything back.
    """
    folder = Path(tempfile.mkdtemp(prefix="user-"))
    user_config = platformdirs.user_config_path()
    patch = pytest.MonkeyPatch()
    for variable in os.environ:
        if variable.startswith("OPENENV_") and not variable.startswith(_KEPT):
            patch.delenv(variable)
    for variable in (*_HUB, *_OTHERS):
        patch.delenv(variable, raising=False)
    for variable in ("XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "HF_HOME"):
        # Platformdirs takes a runtime folder only if it exists and nobody else may read it.
        (folder / variable).mkdir(mode=0o700)
        patch.setenv(variable, str(folder / variable))
    patch.setenv("WIN_PD_OVERRIDE_LOCAL_APPDATA", str(folder / "XDG_CONFIG_HOME"))
    patch.setenv("DOCKER_HOST", _NO_ENGINE)
    # Ray's nodes are all on this machine: they need no copy of this folder, and no environment of their own.
    patch.setenv("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    for name in _INSTALLERS:
        if (user_config / name).is_dir():
            shutil.copytree(user_config / name, folder / "XDG_CONFIG_HOME" / name)

    # Only now: this imports openenv_gym, which reads the registry file and the notes of running servers.
    from openenv_server.settings import Settings

    for setting in Settings.model_fields:
        patch.delenv(setting.upper(), raising=False)

    def undo() -> None:
        patch.undo()
        shutil.rmtree(folder, ignore_errors=True)

    return undo


@contextmanager
def forbid_connections_and_processes() -> Iterator[None]:
    """Let whatever opens a connection or starts a process fail."""

    def fail(*arguments: Any, **keywords: Any) -> NoReturn:
        raise AssertionError("A unit test opens no connection and starts no process")

    with pytest.MonkeyPatch.context() as patch:
        for name in ("bind", "connect", "connect_ex"):
            patch.setattr(socket.socket, name, fail)
        patch.setattr(subprocess.Popen, "__init__", fail)
        yield
