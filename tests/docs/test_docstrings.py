"""Each public name has a docstring, and each command and option a help text."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from typing import Any

import pytest
import typer
from openenv_cli.commands import COMMANDS, Command, load

PACKAGES = ("openenv_gym", "openenv_server", "openenv_cli", "openenv_scaffolds", "openenv", "openenv_core")
# Templates are rendered, not imported.
TEMPLATES = "openenv_scaffolds.templates"
# Libraries that are not installed for development.
NOT_INSTALLED = {"gradio", "smolagents", "stable_baselines3"}


def modules() -> Iterator[Any]:
    for package in map(importlib.import_module, PACKAGES):
        yield package
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            is_private = any(part.startswith("_") for part in found.name.split("."))
            if is_private or found.name.startswith(TEMPLATES):
                continue
            try:
                yield importlib.import_module(found.name)
            except ImportError as error:
                cause = error if isinstance(error, ModuleNotFoundError) else error.__cause__
                assert getattr(cause, "name", None) in NOT_INSTALLED, found.name


def public_names(module: Any) -> Iterator[tuple[str, Any]]:
    """What a module exports: the names of its ``__all__``, or what it defines itself."""
    if hasattr(module, "__all__"):
        yield from ((name, getattr(module, name)) for name in module.__all__)
        return
    for name, value in vars(module).items():
        is_own = getattr(value, "__module__", None) == module.__name__
        if not name.startswith("_") and is_own and (inspect.isclass(value) or inspect.isroutine(value)):
            yield name, value


def undocumented_methods(name: str, kind: type) -> Iterator[str]:
    """The public methods and properties of our class without a docstring, an inherited one included."""
    for member, part in vars(kind).items():
        is_method = inspect.isroutine(part) or isinstance(part, property | classmethod | staticmethod)
        home = getattr(getattr(part, "fget", part), "__module__", "") or ""
        is_ours = is_method and not member.startswith("_") and home.startswith(PACKAGES)
        if is_ours and not inspect.getdoc(getattr(kind, member)):
            yield f"{name}.{member}"


def test_each_public_name_has_a_docstring() -> None:
    missing, count = set(), 0
    for module in modules():
        assert module.__doc__, module.__name__
        for name, value in public_names(module):
            count += 1
            is_documented = (value.__doc__ or "").strip() if inspect.isclass(value) else inspect.getdoc(value)
            if (inspect.isclass(value) or inspect.isroutine(value)) and not is_documented:
                missing.add(f"{module.__name__}.{name}")
            # Elsewhere, an implementation's method is documented where its interface is.
            if inspect.isclass(value) and hasattr(module, "__all__"):
                missing |= set(undocumented_methods(f"{module.__name__}.{name}", value))
    assert count > 800
    assert sorted(missing) == []


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_each_command_and_each_of_its_options_has_a_help_text(command: Command) -> None:
    function, _ = load(command)
    assert inspect.getdoc(function)
    app = typer.Typer()
    app.command()(function)
    for parameter in typer.main.get_command(app).params:
        assert getattr(parameter, "help", None), f"{command.name}: {parameter.name}"
