"""Checks of an environment's files and project metadata. Nothing of the environment is imported."""

from __future__ import annotations

import ast
import os
import re
import symtable
import tokenize
import tomllib
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from openenv_cli.docker.environment import DOCKERFILES
from openenv_cli.files import IgnoreRules, read_text, stale_lock
from openenv_cli.links import link_problems
from openenv_cli.validation.check import Check, CheckResult, failed, passed, warning
from openenv_gym.manifest import MANIFEST

if TYPE_CHECKING:
    from openenv_server.manifest import Manifest

# Folders that the author did not write.
_FOREIGN = frozenset({".git", ".venv", "venv", "__pycache__", "node_modules", "build", "dist"})
_REQUIRED = ("__init__.py", "client.py", "models.py", "pyproject.toml", "server/__init__.py")
# Each provides what `from openenv.core.env_server import create_app` imports.
_OPENENV = frozenset({"openenv", "openenv-core", "openenv-gym"})
_DISTRIBUTION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class Folder:
    """An environment's folder.

    Args:
        path: The folder with ``openenv.yaml``.
        exclude: Patterns of files that are left out, as in a ``.gitignore``.
    """

    def __init__(self, path: Path, exclude: Sequence[str] = ()) -> None:
        self.path: Path = path.resolve()
        self._exclude = exclude

    @cached_property
    def rules(self) -> IgnoreRules:
        """What a bundle of it leaves out."""
        return IgnoreRules(self.path, self._exclude)

    @cached_property
    def manifest(self) -> Manifest:
        """Its ``openenv.yaml``.

        Raises:
            ConfigurationError: It is invalid.
        """
        from openenv_server.manifest import read_manifest

        return read_manifest(self.path)

    @cached_property
    def pyproject(self) -> dict[str, Any]:
        """Its ``pyproject.toml``.

        Raises:
            tomllib.TOMLDecodeError: It is not TOML.
            ConfigurationError: It is not UTF-8.
        """
        return tomllib.loads(read_text(self.path / "pyproject.toml"))

    @cached_property
    def dockerfile(self) -> Path | None:
        """Its Dockerfile, if it has one."""
        found = (self.path / place for place in DOCKERFILES)
        return next((path for path in found if path.is_file()), None)

    @cached_property
    def files(self) -> list[Path]:
        """The author's files, relative to the folder."""
        return sorted(self._walk())

    def _walk(self) -> Iterator[Path]:
        for where, folders, names in os.walk(self.path):
            folders[:] = [name for name in folders if name not in _FOREIGN and not name.endswith(".egg-info")]
            yield from ((Path(where) / name).relative_to(self.path) for name in names)

    def module_file(self, module: str) -> Path | None:
        """The file of a module: ``server.app`` in the folder, or ``my_env.server.app`` from its parent."""
        parts = module.split(".")
        for names in (parts, parts[1:]):
            place = self.path.joinpath(*names)
            for path in (place.with_suffix(".py"), place / "__init__.py"):
                if names and path.is_file():
                    return path
        return None


def has_name(file: Path, name: str) -> bool:
    """Whether a module defines or imports a name at its top level.

    With ``import *`` it counts as having every name.
    """
    source = _source(file)
    if any(
        isinstance(node, ast.ImportFrom) and node.names[0].name == "*" for node in ast.walk(ast.parse(source))
    ):
        return True
    try:
        symbol = symtable.symtable(source, str(file), "exec").lookup(name)
    except KeyError:
        return False
    return symbol.is_assigned() or symbol.is_imported() or symbol.is_namespace()


def has_main_block(file: Path) -> bool:
    """Whether a module has ``if __name__ == "__main__"``."""
    return any(
        isinstance(node, ast.If) and "__main__" in ast.unparse(node.test)
        for node in ast.parse(_source(file)).body
    )


def _source(file: Path) -> str:
    """A module's text, in its declared encoding (PEP 263)."""
    with tokenize.open(file) as opened:
        return opened.read()


def _required(folder: Folder) -> CheckResult:
    missing = [name for name in _REQUIRED if not (folder.path / name).is_file()]
    if missing:
        return failed(
            f"{folder.path} has no {', '.join(missing)}",
            "Add the missing files. `openenv init my_env` creates a folder with all of them, to copy from.",
        )
    return passed(f"It has {', '.join(_REQUIRED)}")


def _readme(folder: Folder) -> CheckResult:
    if (folder.path / "README.md").is_file():
        return passed("It has a README.md")
    return warning(
        "It has no README.md, which is the page of a Space",
        "Describe the environment, its actions and its rewards.",
    )


def _lock(folder: Folder) -> CheckResult:
    if not (folder.path / "uv.lock").is_file():
        return warning(
            "It has no uv.lock, so each build installs the newest versions", "Create it with `uv lock`."
        )
    problem = stale_lock(folder.path)
    if problem is None:
        return passed("It has a uv.lock", notes=["uv is missing or offline, so it was not compared"])
    if problem:
        return failed(
            f"uv.lock does not match pyproject.toml, so images and Spaces lack what was added: {problem}",
            f"Run `uv lock` in {folder.path}.",
        )
    return passed("Its uv.lock matches pyproject.toml")


def _links(folder: Folder) -> CheckResult:
    problems = list(link_problems(folder.path, folder.rules))
    if problems:
        return failed(
            "\n".join(problems),
            "Replace each link with what it should lead to, or add it to .gitignore.",
        )
    return passed("No link leads out of it")


def _python(folder: Folder) -> CheckResult:
    sources = [name for name in folder.files if name.suffix == ".py"]
    mistakes = []
    for name in sources:
        try:
            ast.parse((folder.path / name).read_bytes())
        except SyntaxError as error:
            mistakes.append(f"{name}:{error.lineno or 1}: {error.msg}")
        except ValueError as error:  # null bytes
            mistakes.append(f"{name}: {error}")
    if mistakes:
        return failed("\n".join(mistakes), "Fix these lines: the files cannot be imported.")
    return passed(f"All {len(sources)} files are valid Python")


def _manifest(folder: Folder) -> CheckResult:
    manifest = folder.manifest
    if not (folder.path / MANIFEST).is_file():
        return warning(
            f"It has no openenv.yaml, so its name is the folder's: {manifest.name}",
            f"Create it with the lines `spec_version: 1`, `name: {manifest.name}` and `app: {manifest.app}`.",
        )
    return passed(f"name: {manifest.name}, app: {manifest.app}, port: {manifest.port}")


def _app(folder: Folder) -> CheckResult:
    manifest = folder.manifest
    file = folder.module_file(manifest.app_module)
    if file is None:
        return failed(
            f"openenv.yaml has app: {manifest.app}, but the module {manifest.app_module} does not exist",
            "Name the module that calls create_app, as in app: server.app:app.",
        )
    where = file.relative_to(folder.path)
    if not has_name(file, manifest.app_attribute):
        return failed(
            f"openenv.yaml has app: {manifest.app}, but {where} has no {manifest.app_attribute}",
            f"Write `{manifest.app_attribute} = create_app(…)` at the top level of {where}, "
            "or fix app: in openenv.yaml.",
        )
    return passed(f"{where} has {manifest.app_attribute}")


def _project(folder: Folder) -> CheckResult:
    try:
        project = folder.pyproject.get("project")
    except tomllib.TOMLDecodeError as error:
        return failed(f"pyproject.toml is not valid TOML: {error}", "Fix that line.")
    if not isinstance(project, dict) or not isinstance(project.get("name"), str):
        return failed(
            "pyproject.toml has no [project] with a name, so it cannot be installed",
            'Add [project] with name = "my-env", version and dependencies.',
        )
    return passed(f"The project's name is {project['name']}")


def _dependencies(folder: Folder) -> CheckResult:
    dependencies = folder.pyproject["project"].get("dependencies", [])
    if not isinstance(dependencies, list):
        return failed(
            f"pyproject.toml has dependencies = {dependencies!r}, which is not a list",
            'Write dependencies = ["openenv-gym[server]"].',
        )
    named = {
        re.sub(r"[._]", "-", found.group().lower())
        for text in dependencies
        if (found := _DISTRIBUTION.match(str(text)))
    }
    if not named & _OPENENV:
        return failed(
            f"The dependencies in pyproject.toml include none of {', '.join(sorted(_OPENENV))}, "
            "so the image will lack create_app",
            'Add "openenv-gym[server]" or "openenv" to dependencies.',
        )
    return passed(f"{len(dependencies)} dependencies, including {', '.join(sorted(named & _OPENENV))}")


def _script(folder: Folder) -> CheckResult:
    scripts = folder.pyproject["project"].get("scripts", {})
    target = scripts.get("server") if isinstance(scripts, dict) else None
    example = 'server = "my_env.server.app:main"'
    if not isinstance(target, str):
        return warning(
            "pyproject.toml has no server under [project.scripts], so `uv run server` does not work",
            f"Add {example}, and a function main in server/app.py that runs uvicorn.",
        )
    module, _, function = target.partition(":")
    file = folder.module_file(module)
    if file is None or not function:
        return warning(
            f"pyproject.toml has server = {target!r}, but the module {module} does not exist"
            if file is None
            else f"pyproject.toml has server = {target!r}, which names no function",
            f"Write it as module:function, as in {example}.",
        )
    where = file.relative_to(folder.path)
    if not has_name(file, function.partition(".")[0]):
        return warning(
            f"pyproject.toml has server = {target!r}, but {where} has no {function}",
            f"Define {function} in {where}, or name the function that runs the server.",
        )
    return passed(f"server = {target!r} is in {where}")


FOLDER_CHECKS = (
    Check("files.required", "It has the required files", _required),
    Check("files.readme", "It has a README", _readme),
    Check("files.links", "Its links stay inside the folder", _links),
    Check("files.python", "Its Python files have no syntax errors", _python),
    Check(
        "manifest.valid",
        "openenv.yaml is valid",
        _manifest,
        fix="Fix these lines of openenv.yaml; `openenv init` writes a valid one.",
    ),
    Check(
        "app.defined",
        "The application in openenv.yaml exists",
        _app,
        needs=("files.required", "files.python", "manifest.valid"),
    ),
    Check("project.valid", "pyproject.toml is valid", _project, needs=("files.required",)),
    Check("files.lock", "Its dependencies are locked", _lock, needs=("project.valid",)),
    Check("project.openenv", "It depends on OpenEnv", _dependencies, needs=("project.valid",)),
    Check(
        "project.script",
        "[project.scripts] server is a function",
        _script,
        needs=("project.valid", "files.python"),
    ),
)
