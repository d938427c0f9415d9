"""Serve an environment's folder with the packages of the Python that runs this script.

`server_command.ServerCommand` runs it with the Python of a folder's own ``.venv``. If this distribution's
``openenv`` command is installed there, that serves; otherwise uvicorn does.

Arguments: the folder, its application as ``module:attribute``, the listening socket's file descriptor, and
more options of ``openenv serve``.
"""

import sys

# This script's own folder: some of its modules have the names of packages that the environment may import.
del sys.path[0]

import importlib.util  # noqa: E402
import os  # noqa: E402
import socket  # noqa: E402
from pathlib import Path  # noqa: E402
from types import ModuleType  # noqa: E402


def serve(folder: str, app: str, listening: int, options: list[str]) -> None:
    """Serve until a signal ends this process."""
    if all(importlib.util.find_spec(name) for name in ("openenv_cli", "openenv_server", "typer", "yaml")):
        command = [sys.executable, "-m", "openenv_cli", "serve", folder, "--fd", str(listening), *options]
        os.execv(sys.executable, command)
    if options:
        sys.exit(f"{' '.join(options)} needs openenv-gym[cli] among the dependencies of {folder}")
    import uvicorn

    module, _, attribute = app.partition(":")
    loaded = getattr(_folder_import().import_from_folder(Path(folder), module), attribute)
    is_ours = importlib.util.find_spec("openenv_server") is not None
    config = uvicorn.Config(
        loaded, ws="openenv_server.socket_takeover:TakeoverProtocol" if is_ours else "auto"
    )
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=listening)])


def _folder_import() -> ModuleType:
    """`openenv_gym.folder_import`, which this Python may not have installed."""
    spec = importlib.util.spec_from_file_location(
        "openenv_folder_import", Path(__file__).parents[1] / "folder_import.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    serve(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4:])
