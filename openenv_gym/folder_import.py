"""Import the application of an environment's folder. Uses the standard library alone.

The folder is imported as a package, whatever its name, and each of its modules exists once, whichever name it
is imported by: ``from ..models``, ``from my_env.models`` and ``from models`` are the same module.
"""

from __future__ import annotations

import importlib
import importlib.util
import keyword
import logging
import re
import sys
import tomllib
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

_NAME = re.compile(r"^name:\s*[\"']?([\w.-]+)", re.MULTILINE)

log = logging.getLogger("openenv_server")


def import_from_folder(folder: Path, module: str) -> ModuleType:
    """Import a module of an environment's folder.

    The folder's package has the name that ``pyproject.toml`` gives it in ``[tool.setuptools] package-dir``,
    or else the folder's own; the name in ``openenv.yaml`` works too. A name by which something else can be
    imported stays with that. If the package's ``__init__.py`` fails, which a server may not need, that is
    logged.

    Args:
        folder: The folder, an absolute path.
        module: The module's name in the folder, ``server.app``.

    Raises:
        Exception: Whatever the import raises.
    """
    declared = _declared_names(folder)
    others = [
        name
        for name in dict.fromkeys([re.sub(r"\W", "_", folder.name), _manifest_name(folder)])
        if name not in declared and _is_free(name, folder)
    ]
    package, *aliases = [*declared, *others] or [f"{re.sub(r'[^0-9A-Za-z]', '_', folder.name)}_folder"]
    sys.path.insert(0, str(folder))
    if package == folder.name:
        sys.path.append(str(folder.parent))  # for child processes, which import by name
    finder = _Finder(folder, package, aliases)
    # After the finders of built-in modules, before that of files.
    sys.meta_path.insert(sys.meta_path.index(PathFinder), finder)
    _import_package(folder, package)
    return importlib.import_module(f"{package}.{module}")


def environment_folder_of(module: str) -> tuple[Path, str] | None:
    """The environment's folder that has a module, and the module's name in it; None if none has.

    Args:
        module: A module's full name, ``my_env.server.app`` or, in the folder, ``server.app``.
    """
    parts = module.split(".")
    spec = _find(parts[0])
    for place in (spec and spec.submodule_search_locations) or ():
        for depth in range(1, len(parts)):
            folder = Path(place, *parts[1:depth])
            if is_environment_folder(folder):
                return folder.resolve(), ".".join(parts[depth:])
    here = Path.cwd()
    is_here = (here / parts[0]).is_dir() or (here / f"{parts[0]}.py").is_file()
    return (here, module) if is_here and is_environment_folder(here) else None


def is_environment_folder(folder: Path) -> bool:
    """Whether a folder has an ``openenv.yaml``, or an application at the default place."""
    return (folder / "openenv.yaml").is_file() or (folder / "server" / "app.py").is_file()


class _Finder(MetaPathFinder):
    """Finds modules of the folder under their other names: without the package's, or with an alias of it."""

    def __init__(self, folder: Path, package: str, aliases: Sequence[str]) -> None:
        self._folder, self._package, self._aliases = folder, package, aliases

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        head, dot, rest = fullname.partition(".")
        if head == self._package:
            return None
        if head in self._aliases:
            name = f"{self._package}{dot}{rest}"
        elif self._has(head):
            name = f"{self._package}.{fullname}"
        else:
            return None
        return ModuleSpec(fullname, _SameModule(name)) if _find(name) else None

    def _has(self, head: str) -> bool:
        place = self._folder / head
        if place.with_suffix(".py").is_file() or (place / "__init__.py").is_file():
            return True
        # A folder without an __init__.py, perhaps of data, has a module's name only if no package has it.
        spec = PathFinder.find_spec(head) if place.is_dir() else None
        return spec is not None and spec.loader is None


class _SameModule(Loader):
    """Loads a module under a second name."""

    def __init__(self, name: str) -> None:
        self._name = name

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = importlib.import_module(self._name)
        self._spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self._spec  # the import system has set that of the second name


def _declared_names(folder: Path) -> list[str]:
    """The packages that ``pyproject.toml`` says this folder is."""
    try:
        content = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8-sig"))
        places = content["tool"]["setuptools"]["package-dir"].items()
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []
    return [name for name, place in places if name and place in ("", ".", "./")]


def _manifest_name(folder: Path) -> str:
    try:
        found = _NAME.search((folder / "openenv.yaml").read_text(encoding="utf-8-sig"))
    except (OSError, ValueError):
        return ""
    return re.sub(r"\W", "_", found[1]) if found else ""


def _is_free(name: str, folder: Path) -> bool:
    """Whether a name can be the folder's: nothing else is imported by it."""
    is_taken = keyword.iskeyword(name) or name in sys.stdlib_module_names or (folder / name).is_dir()
    if is_taken or not name.isidentifier() or (folder / f"{name}.py").exists():
        return False
    spec = _find(name)
    places = (spec and spec.submodule_search_locations) or ()
    return spec is None or any(Path(place).resolve() == folder for place in places)


def _find(name: str) -> ModuleSpec | None:
    try:
        return importlib.util.find_spec(name)
    except (ImportError, ValueError):  # its parent is no package; or it has no spec
        return None


def _import_package(folder: Path, name: str) -> None:
    init = folder / "__init__.py"
    spec = importlib.util.spec_from_file_location(name, init) if init.exists() else None
    spec = spec or ModuleSpec(name, None, is_package=True)
    spec.submodule_search_locations = [str(folder)]
    package = sys.modules[name] = importlib.util.module_from_spec(spec)
    if spec.loader is not None:
        try:
            spec.loader.exec_module(package)
        except Exception as error:
            log.warning("%s failed, and is left out: %s: %s", init, type(error).__name__, error)
