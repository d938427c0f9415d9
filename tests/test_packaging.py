"""What the packages import: other packages that pyproject.toml declares, and each other one way only."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from importlinter.cli import lint_imports

from tests.conftest import TIER_OF

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
FOLDERS = ["openenv_gym", "server/openenv_server", "cli/openenv_cli", "scaffolds/openenv_scaffolds"]
OURS = {Path(folder).name for folder in FOLDERS}
DISTRIBUTIONS = packages_distributions()
# These come with a declared package, as a part of its interface.
COME_WITH = {"fastmcp": "fastmcp", "pydantic_core": "pydantic", "requests": "docker", "starlette": "fastapi"}
# For those who test a provider with `openenv_gym.providers.testing`, who have tensors, and whose environments
# run Python code.
UNDECLARED = {"pytest", "smolagents", "torch"}


def imported(file: Path) -> Iterator[str]:
    """The top-level modules that a file imports, in its functions too."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


@cache
def declared() -> set[str]:
    extras = PROJECT["project"]["optional-dependencies"].values()
    requirements = [*PROJECT["project"]["dependencies"], *(line for extra in extras for line in extra)]
    return {normal(re.split(r"[^\w.-]", line)[0]) for line in requirements}


def normal(name: str) -> str:
    """A distribution's name as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def is_declared(module: str) -> bool:
    if module in sys.stdlib_module_names | OURS | UNDECLARED:
        return True
    names = DISTRIBUTIONS.get(module, [module])
    return not declared().isdisjoint({COME_WITH.get(module), *map(normal, names)})


@pytest.mark.parametrize("folder", FOLDERS)
def test_each_imported_package_is_declared(folder: str) -> None:
    undeclared = {
        f"{module} in {file.relative_to(ROOT)}"
        for file in (ROOT / folder).rglob("*.py")
        if "templates" not in file.parts
        for module in imported(file)
        if not is_declared(module)
    }
    assert not undeclared


def test_imports_run_one_way(capsys: pytest.CaptureFixture[str]) -> None:
    exit_code = lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True)
    assert exit_code == 0, capsys.readouterr().out


def test_the_tiers_are_of_files_and_folders_that_exist() -> None:
    assert [name for name in TIER_OF if not (ROOT / "tests" / name).exists()] == []
