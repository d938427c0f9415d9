"""Import the application of an environment's folder."""

from __future__ import annotations

import importlib
import sys
import traceback
from pathlib import Path
from types import ModuleType

from fastapi import FastAPI

from openenv_gym.errors import ConfigurationError
from openenv_gym.folder_import import environment_folder_of, import_from_folder
from openenv_gym.manifest import MANIFEST
from openenv_server.manifest import read_manifest
from openenv_server.published_package import check_published_package, use_this_server


def load_folder(folder: Path, *, on_published_server: bool = False) -> FastAPI:
    """Import the application that a folder's ``openenv.yaml`` names, by default ``server.app:app``.

    The application may import its neighbours as modules of the folder (``from models import …``) or of a
    package (``from ..models import …``, ``from my_env.models import …``).

    Args:
        folder: The environment's folder.
        on_published_server: If it imports the published package, keep that package's server.

    Raises:
        ConfigurationError: The folder has no environment, it cannot be imported, or the published package is
            not installed but its server is asked for.
    """
    _choose_server(on_published_server)
    manifest = read_manifest(folder)
    module = _import(folder.resolve(), manifest.app_module)
    return _app_in(module, manifest.app_attribute, f"{folder / MANIFEST}: {manifest.app_module}")


def load_app(path: str, *, on_published_server: bool = False) -> FastAPI:
    """Import the application of an import path.

    If its module belongs to an environment's folder, it is imported as `load_folder` does.

    Args:
        path: ``module:attribute``; the module may be in the current folder.
        on_published_server: As in `load_folder`.

    Raises:
        ConfigurationError: It cannot be imported, is not an application, or the published package is not
            installed but its server is asked for.
    """
    _choose_server(on_published_server)
    module_name, _, attribute = path.partition(":")
    if not module_name or not attribute:
        raise ConfigurationError(
            f"{path!r} is not an import path.", advice="Use module:attribute, as in my_env.app:app."
        )
    sys.path.insert(0, "")
    found = environment_folder_of(module_name)
    if found is not None:
        return _app_in(_import(*found), attribute, module_name)
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:
        if _is_of_a_signal(error):
            raise
        raise ConfigurationError(
            f"Importing {module_name} failed: {type(error).__name__}: {error}"
        ) from error
    return _app_in(module, attribute, module_name)


def _choose_server(on_published_server: bool) -> None:
    if on_published_server:
        check_published_package()
    else:
        use_this_server()


def _import(folder: Path, module: str) -> ModuleType:
    try:
        return import_from_folder(folder, module)
    except (Exception, SystemExit) as error:
        if _is_of_a_signal(error):
            raise
        raise ConfigurationError(
            f"{folder}: importing {module} failed{_where(error, folder)}: "
            f"{type(error).__name__}: {error}{'.' if (advice := _advice(error, folder)) else ''}",
            advice=advice,
        ) from error


def _is_of_a_signal(error: BaseException) -> bool:
    """Whether a signal ends this process: its exit code is then 128 and the signal's number."""
    return isinstance(error, SystemExit) and isinstance(error.code, int) and error.code > 128


def _app_in(module: ModuleType, attribute: str, where: str) -> FastAPI:
    app = getattr(module, attribute, None)
    if not isinstance(app, FastAPI):
        raise ConfigurationError(
            f"{where} has no application named {attribute!r}.",
            advice="Assign the result of create_app to it.",
        )
    return app


def _where(error: BaseException, folder: Path) -> str:
    """The last line of the author's code in the traceback."""
    own = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename).is_relative_to(folder) and ".venv" not in Path(frame.filename).parts
    ]
    if isinstance(error, SyntaxError) and error.filename and Path(error.filename).is_relative_to(folder):
        return f" at {Path(error.filename).relative_to(folder)}:{error.lineno}"
    return f" at {Path(own[-1].filename).relative_to(folder)}:{own[-1].lineno}" if own else ""


def _advice(error: BaseException, folder: Path) -> str:
    """How to fix a missing module."""
    if not isinstance(error, ModuleNotFoundError) or error.name is None:
        return ""
    name = error.name.rpartition(".")[2]
    if (folder / f"{name}.py").exists():
        return f"{name}.py is in the folder itself: from ..{name} import …, or from {name} import …"
    if (folder / "server" / f"{name}.py").exists():
        return f"{name}.py is in server/: from .{name} import …"
    return f"Check the spelling of {error.name}, or add its package: uv add --project {folder} {error.name}"
