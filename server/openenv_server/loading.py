"""Import the application of an environment's folder."""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
import traceback
from pathlib import Path
from types import ModuleType

from fastapi import FastAPI

from openenv_gym.errors import ConfigurationError
from openenv_gym.manifest import MANIFEST
from openenv_server.manifest import read_manifest


def load_folder(folder: Path) -> FastAPI:
    """Import the application that a folder's ``openenv.yaml`` names.

    The application may import its neighbours as in the image (``from models import …``) or as in a package
    (``from ..models import …``); both work.

    Args:
        folder: The folder with ``openenv.yaml``.

    Raises:
        ConfigurationError: The folder has no environment, or it cannot be imported.
    """
    manifest = read_manifest(folder)
    sys.path.insert(0, str(folder))
    try:
        module = _import_app(folder, manifest.app_module)
    except (Exception, SystemExit) as error:
        raise ConfigurationError(
            f"{folder / MANIFEST}: importing {manifest.app_module} failed{_where(error, folder)}: "
            f"{type(error).__name__}: {error}{'.' if (advice := _advice(error, folder)) else ''}",
            advice=advice,
        ) from error
    app = getattr(module, manifest.app_attribute, None)
    if not isinstance(app, FastAPI):
        raise ConfigurationError(
            f"{folder / MANIFEST}: {manifest.app_module} has no application named "
            f"{manifest.app_attribute!r}.",
            advice="Assign the result of create_app to it.",
        )
    return app


def load_app(path: str) -> FastAPI:
    """Import the application of an import path.

    Args:
        path: ``module:attribute``; the module may be in the current folder.

    Raises:
        ConfigurationError: It cannot be imported, or is not an application.
    """
    module_name, _, attribute = path.partition(":")
    if not module_name or not attribute:
        raise ConfigurationError(
            f"{path!r} is not an import path.", advice="Use module:attribute, as in my_env.app:app."
        )
    sys.path.insert(0, "")
    try:
        app = getattr(importlib.import_module(module_name), attribute, None)
    except (Exception, SystemExit) as error:
        raise ConfigurationError(
            f"Importing {module_name} failed: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(app, FastAPI):
        raise ConfigurationError(
            f"{module_name} has no application named {attribute!r}.",
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
    found = [path for path in (folder / f"{name}.py", folder / "server" / f"{name}.py") if path.exists()]
    if not found:
        return f"Check the spelling of {error.name}; add its package to pyproject.toml and run: uv sync"
    if found[0].parent == folder:
        return f"{found[0].name} is beside models.py: import it like models, in both branches."
    return f"{found[0].name} is in server/: from .{name} import …"


def _import_app(folder: Path, module_name: str) -> ModuleType:
    """Import as in the image; if the application uses relative imports, as in a package."""
    try:
        return importlib.import_module(module_name)
    except ImportError as error:
        if error.name is not None:  # a relative import that fails names no module
            raise
    for name in [name for name in sys.modules if name.split(".")[0] == module_name.split(".")[0]]:
        del sys.modules[name]
    package = _import_package(folder)
    if (folder / "models.py").exists():
        # Imported both ways, it must be one module, or its classes would exist twice.
        sys.modules["models"] = importlib.import_module(f"{package}.models")
    return importlib.import_module(f"{package}.{module_name}")


def _import_package(folder: Path) -> str:
    """Import the folder as a package, whatever its name; returns the package's name."""
    name = re.sub(r"\W", "_", folder.resolve().name)
    init = folder / "__init__.py"
    spec = importlib.util.spec_from_file_location(
        name, init if init.exists() else None, submodule_search_locations=[str(folder)]
    )
    if spec is None:
        raise ConfigurationError(f"{folder} cannot be imported as a package")
    package = importlib.util.module_from_spec(spec)
    sys.modules[name] = package
    if spec.loader is not None and init.exists():
        spec.loader.exec_module(package)
    return name
