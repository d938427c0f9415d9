"""The ways in which an environment can be deployed, each really tried."""

from __future__ import annotations

import contextlib
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from openenv_cli.validation.check import Check, Finding, passed, skipped, warning
from openenv_cli.validation.folder import Folder, has_main_block
from openenv_cli.validation.launch import free_port, launch, run
from openenv_cli.validation.report import CheckResult, Mode, ModeName, Outcome
from openenv_cli.validation.server import why_it_ended
from openenv_gym.errors import ConfigurationError, DeadlineExceededError, OpenEnvError

# The packages may have to be downloaded.
_INSTALL_TIMEOUT_S = 600.0


class Trial(NamedTuple):
    """What the modes are tried with: the folder, and the seconds for a server to come up."""

    folder: Folder
    timeout_s: float


def _uv_run(trial: Trial) -> Finding:
    path = trial.folder.path
    uv = shutil.which("uv")
    if uv is None:
        return skipped("uv is not here", "pip install uv")
    if not (path / "uv.lock").is_file():
        return skipped("There is no uv.lock, and none is made here", "Make it with `uv lock`.")
    with leaves_no_metadata(path), tempfile.TemporaryDirectory(prefix="openenv-validate-") as scratch:
        # The folder's own virtual environment, where it has one; else one that leaves nothing behind.
        variables = {"VIRTUAL_ENV": ""}
        if not (path / ".venv").is_dir():
            variables["UV_PROJECT_ENVIRONMENT"] = str(Path(scratch) / "venv")
        try:
            run(
                [uv, "sync", "--frozen", "--inexact"],
                folder=path,
                variables=variables,
                timeout_s=_INSTALL_TIMEOUT_S,
            )
        except OpenEnvError as error:
            return warning(
                f"Its dependencies could not be installed: {error}",
                f"Try `uv sync` in {path}; after a change of pyproject.toml, `uv lock`.",
            )
        command = [uv, "run", "--frozen", "--no-sync", "server"]
        return _start(trial, command, path, variables, "uv run server")


@contextlib.contextmanager
def leaves_no_metadata(folder: Path) -> Iterator[None]:
    """Takes away what setuptools writes into a folder as it installs it, unless it was there before."""

    def metadata() -> set[Path]:
        return {*folder.glob("*.egg-info"), *folder.glob("*/*.egg-info")}

    before = metadata()
    try:
        yield
    finally:
        for path in metadata() - before:
            shutil.rmtree(path)


def _python_m(trial: Trial) -> Finding:
    folder = trial.folder
    module = folder.manifest.app_module
    file = folder.module_file(module)
    if file is None or not has_main_block(file):
        return warning(
            f'{module} does nothing where it is run: it has no `if __name__ == "__main__"`',
            "Add that line, with a call of the function that runs the server.",
        )
    if folder.path.name.isidentifier():
        where, module = folder.path.parent, f"{folder.path.name}.{module}"
    else:
        where = folder.path
    command = [sys.executable, "-m", module]
    return _start(trial, command, where, {}, f"python -m {module}")


def _start(trial: Trial, command: list[str], where: Path, variables: dict[str, str], shown: str) -> Finding:
    port = free_port()
    shown = f"{shown} --port {port}"
    told = {**variables, "HOST": "127.0.0.1", "PORT": str(port)}
    try:
        took_s = launch(
            [*command, "--port", str(port)], port, folder=where, variables=told, timeout_s=trial.timeout_s
        )
    except (ConfigurationError, DeadlineExceededError) as error:
        return why_it_ended(error, f"{shown} in {where}")
    return passed(f"{shown}, in {where}: up after {took_s:.1f} s")


# What has no /health cannot be told to be up.
_NEEDS = ("server.start", "routes.health")
MODE_CHECKS = (
    Check("mode.uv_run", "`uv run server` starts it", _uv_run, needs=(*_NEEDS, "project.script")),
    Check("mode.python_m", "`python -m` starts it", _python_m, needs=_NEEDS),
)


def modes_of(results: dict[str, CheckResult], why_no_container: str) -> list[Mode]:
    """Which modes work, by the checks that tried them; and why no container was tried, where none was."""
    return [
        _mode("openenv serve", results["server.start"]),
        _mode("uv run server", results["mode.uv_run"]),
        _mode("python -m", results["mode.python_m"]),
        _mode("docker", results["container.serve"])
        if "container.serve" in results
        else Mode(name="docker", works=None, reason=f"Not tried: {why_no_container}"),
    ]


def _mode(name: ModeName, result: CheckResult) -> Mode:
    works = {Outcome.PASSED: True, Outcome.SKIPPED: None}.get(result.outcome, False)
    return Mode(name=name, works=works, reason=result.detail.splitlines()[0])
