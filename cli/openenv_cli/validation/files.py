"""Checks of the files, but for the Dockerfile's."""

from __future__ import annotations

import ast
import re
import tomllib

from openenv_cli.validation.check import Check, Finding, failed, passed, warning
from openenv_cli.validation.folder import Folder, has_name

_REQUIRED = ("__init__.py", "client.py", "models.py", "pyproject.toml", "server/__init__.py")
# Each brings what `from openenv.core.env_server import create_app` imports.
_OURS = frozenset({"openenv", "openenv-core", "openenv-gym"})
_DISTRIBUTION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def _required(folder: Folder) -> Finding:
    missing = [name for name in _REQUIRED if not (folder.path / name).is_file()]
    if missing:
        return failed(
            f"{folder.path} has no {', '.join(missing)}",
            "Add what is missing. `openenv init my_env` makes a folder that has every file, to copy from.",
        )
    return passed(f"There are {', '.join(_REQUIRED)}")


def _readme(folder: Folder) -> Finding:
    if (folder.path / "README.md").is_file():
        return passed("There is a README.md")
    return warning(
        "There is no README.md, which is the page of a Space",
        "Write what the environment is, what an action does, and what is rewarded.",
    )


def _lock(folder: Folder) -> Finding:
    if (folder.path / "uv.lock").is_file():
        return passed("There is a uv.lock")
    return warning(
        "There is no uv.lock, so each build installs what is newest on its day", "Make it with `uv lock`."
    )


def _python(folder: Folder) -> Finding:
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
        return failed("\n".join(mistakes), "Mend the lines: these files cannot be imported.")
    return passed(f"All {len(sources)} files are Python")


def _manifest(folder: Folder) -> Finding:
    manifest = folder.manifest
    return passed(f"name: {manifest.name}, app: {manifest.app}, port: {manifest.port}")


def _app(folder: Folder) -> Finding:
    manifest = folder.manifest
    file = folder.module_file(manifest.app_module)
    if file is None:
        return failed(
            f"openenv.yaml has app: {manifest.app}, and there is no module {manifest.app_module}",
            "Name the module that calls create_app, as in app: server.app:app.",
        )
    where = file.relative_to(folder.path)
    if not has_name(file, manifest.app_attribute):
        return failed(
            f"openenv.yaml has app: {manifest.app}, and {where} has no {manifest.app_attribute}",
            f"Write `{manifest.app_attribute} = create_app(…)` at the top level of {where}, "
            "or mend app: in openenv.yaml.",
        )
    return passed(f"{where} has {manifest.app_attribute}")


def _project(folder: Folder) -> Finding:
    try:
        project = folder.pyproject.get("project")
    except tomllib.TOMLDecodeError as error:
        return failed(f"pyproject.toml is not TOML: {error}", "Mend that line.")
    if not isinstance(project, dict) or not isinstance(project.get("name"), str):
        return failed(
            "pyproject.toml has no [project] with a name, so nothing can install it",
            'Add [project] with name = "my-env", version and dependencies.',
        )
    return passed(f"pyproject.toml is of the project {project['name']}")


def _dependencies(folder: Folder) -> Finding:
    dependencies = folder.pyproject["project"].get("dependencies", [])
    if not isinstance(dependencies, list):
        return failed(
            f"pyproject.toml has dependencies = {dependencies!r}, which is no list",
            'Write dependencies = ["openenv-gym[server]"].',
        )
    named = {
        re.sub(r"[._]", "-", found.group().lower())
        for text in dependencies
        if (found := _DISTRIBUTION.match(str(text)))
    }
    if not named & _OURS:
        return failed(
            f"The dependencies in pyproject.toml have none of {', '.join(sorted(_OURS))}; "
            "an image that is built from it has no create_app",
            'Add "openenv-gym[server]" or "openenv" to dependencies.',
        )
    return passed(f"{len(dependencies)} dependencies, with {', '.join(sorted(named & _OURS))}")


def _script(folder: Folder) -> Finding:
    scripts = folder.pyproject["project"].get("scripts", {})
    target = scripts.get("server") if isinstance(scripts, dict) else None
    example = 'server = "my_env.server.app:main"'
    if not isinstance(target, str):
        return failed(
            "pyproject.toml has no [project.scripts] server, so `uv run server` starts nothing",
            f"Add {example}, and a function main in server/app.py that runs uvicorn.",
        )
    module, _, function = target.partition(":")
    file = folder.module_file(module)
    if file is None or not function:
        return failed(
            f"pyproject.toml has server = {target!r}, and there is no module {module}",
            f"Write it as module:function, as in {example}.",
        )
    where = file.relative_to(folder.path)
    if not has_name(file, function.partition(".")[0]):
        return failed(
            f"pyproject.toml has server = {target!r}, and {where} has no {function}",
            f"Define {function} in {where}, or name the function that runs the server.",
        )
    return passed(f"server = {target!r} is in {where}")


FILE_CHECKS = (
    Check("files.required", "The files of an environment are there", _required),
    Check("files.readme", "It has a README", _readme),
    Check("files.lock", "Its dependencies are locked", _lock),
    Check("files.python", "Its Python files can be parsed", _python),
    Check(
        "manifest.valid",
        "openenv.yaml is valid",
        _manifest,
        fix="Mend these lines of openenv.yaml; `openenv init` writes one that is valid.",
    ),
    Check(
        "app.defined",
        "The application that openenv.yaml names is there",
        _app,
        needs=("files.required", "files.python", "manifest.valid"),
    ),
    Check("project.valid", "pyproject.toml is valid", _project, needs=("files.required",)),
    Check("project.openenv", "It depends on OpenEnv", _dependencies, needs=("project.valid",)),
    Check(
        "project.script",
        "[project.scripts] server names a function",
        _script,
        needs=("project.valid", "files.python"),
    ),
)
