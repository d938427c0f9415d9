"""An environment's folder, as its files have it. Nothing of it is imported."""

from __future__ import annotations

import ast
import os
import symtable
import tokenize
import tomllib
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from openenv_cli.docker.environment import DOCKERFILES
from openenv_cli.texts import read_text

if TYPE_CHECKING:
    from openenv_server.manifest import Manifest

# What is in a folder and is not its author's own.
_NOT_OWN = frozenset({".git", ".venv", "venv", "__pycache__", "node_modules", "build", "dist"})


class Folder:
    """An environment's folder.

    Args:
        path: The folder with ``openenv.yaml``.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()

    @cached_property
    def manifest(self) -> Manifest:
        """Its ``openenv.yaml``.

        Raises:
            ConfigurationError: It is wrong.
        """
        from openenv_server.manifest import read_manifest

        return read_manifest(self.path)

    @cached_property
    def pyproject(self) -> dict[str, Any]:
        """Its ``pyproject.toml``.

        Raises:
            tomllib.TOMLDecodeError: It is not TOML.
            ConfigurationError: It is not text.
        """
        return tomllib.loads(read_text(self.path / "pyproject.toml"))

    @cached_property
    def dockerfile(self) -> Path | None:
        """Its Dockerfile, where it has one."""
        found = (self.path / place for place in DOCKERFILES)
        return next((path for path in found if path.is_file()), None)

    @cached_property
    def files(self) -> list[Path]:
        """Its author's own files, relative to the folder."""
        return sorted(self._walk())

    def _walk(self) -> Iterator[Path]:
        for where, folders, names in os.walk(self.path):
            folders[:] = [name for name in folders if name not in _NOT_OWN and not name.endswith(".egg-info")]
            yield from ((Path(where) / name).relative_to(self.path) for name in names)

    def module_file(self, module: str) -> Path | None:
        """The file of a module: ``server.app`` as seen from the folder, or ``my_env.server.app`` from above.

        Returns:
            The file; None where there is none.
        """
        parts = module.split(".")
        for names in (parts, parts[1:]):
            place = self.path.joinpath(*names)
            for path in (place.with_suffix(".py"), place / "__init__.py"):
                if names and path.is_file():
                    return path
        return None


def has_name(file: Path, name: str) -> bool:
    """Whether a module has a name at its top level, however it is bound there.

    A module that imports ``*`` has every name, as far as can be told without an import.
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
    """Whether a module does something where it is run: ``if __name__ == "__main__"``."""
    return any(
        isinstance(node, ast.If) and "__main__" in ast.unparse(node.test)
        for node in ast.parse(_source(file)).body
    )


def _source(file: Path) -> str:
    """A module's text, in the encoding that it says it has (PEP 263)."""
    with tokenize.open(file) as opened:
        return opened.read()
