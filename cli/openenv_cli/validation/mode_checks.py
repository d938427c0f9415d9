"""Checks of the other ways to start a server: ``uv run server`` and ``python -m``."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, NamedTuple

from openenv_cli.validation.check import Check, CheckResult, passed, skipped, warning
from openenv_cli.validation.folder_checks import Folder, has_main_block
from openenv_cli.validation.report import CheckReport, Mode, ModeName, Outcome
from openenv_cli.validation.server import start_failure
from openenv_gym.errors import ConfigurationError, DeadlineExceededError, OpenEnvError
from openenv_gym.providers.server_command import find_uv
from openenv_gym.transport.endpoint import Endpoint
from openenv_gym.transport.http import get_json

# Packages may have to be downloaded.
_INSTALL_TIMEOUT_S = 600.0
_LOG_LINES = 200
_STOP_TIMEOUT_S = 5.0
_POLL_S = 0.05


class Trial(NamedTuple):
    """The folder, and the timeout for a server's start in seconds."""

    folder: Folder
    timeout_s: float


def _uv_run(trial: Trial) -> CheckResult:
    path = trial.folder.path
    uv = find_uv()
    if uv is None:
        return skipped("uv is not installed", "pip install uv")
    if not (path / "uv.lock").is_file():
        return skipped("It has no uv.lock", "Create it with `uv lock`.")
    # The same as for `openenv serve`, so an installation that is there is used again.
    variables = {"VIRTUAL_ENV": ""}
    try:
        _run(
            [uv, "sync", "--frozen", "--inexact"],
            folder=path,
            variables=variables,
            timeout_s=_INSTALL_TIMEOUT_S,
        )
    except OpenEnvError as error:
        return warning(
            f"Its dependencies could not be installed: {error}",
            f"Try `uv sync` in {path}. After changing pyproject.toml, run `uv lock`.",
        )
    return _try(trial, [uv, "run", "--frozen", "--no-sync", "server"], path, variables, "uv run server")


@contextlib.contextmanager
def removes_what_tools_write(folder: Path) -> Iterator[None]:
    """Remove what installing and importing the folder creates in it: the ``.venv``, metadata and bytecode."""

    def written() -> set[Path]:
        venv = folder / ".venv"
        found = {venv} if venv.exists() else set()
        for where, folders, _ in os.walk(folder):
            folders[:] = [name for name in folders if name not in (".git", ".venv", "venv", "node_modules")]
            found |= {
                Path(where) / name for name in folders if name == "__pycache__" or name.endswith(".egg-info")
            }
        return found

    before = written()
    try:
        yield
    finally:
        for path in written() - before:
            shutil.rmtree(path, ignore_errors=True)


def _python_m(trial: Trial) -> CheckResult:
    folder = trial.folder
    module = folder.manifest.app_module
    file = folder.module_file(module)
    if file is None or not has_main_block(file):
        return warning(
            f'{module} does nothing when run: it has no `if __name__ == "__main__"`',
            "Add that line, with a call of the function that runs the server.",
        )
    if folder.path.name.isidentifier():
        where, module = folder.path.parent, f"{folder.path.name}.{module}"
    else:
        where = folder.path
    command = [sys.executable, "-m", module]
    return _try(trial, command, where, {}, f"python -m {module}")


def _try(trial: Trial, command: list[str], where: Path, variables: dict[str, str], shown: str) -> CheckResult:
    port = _free_port()
    shown = f"{shown} --port {port}"
    try:
        took_s = _serve_once(
            [*command, "--port", str(port)],
            port,
            folder=where,
            variables={**variables, "HOST": "127.0.0.1", "PORT": str(port)},
            timeout_s=trial.timeout_s,
        )
    except (ConfigurationError, DeadlineExceededError) as error:
        # A warning: `openenv serve` starts it.
        result = start_failure(error, f"{shown} in {where}", folder=trial.folder.path, as_package=True)
        return result._replace(outcome=Outcome.WARNING)
    return passed(f"{shown}, in {where}: ready after {took_s:.1f} s")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _serve_once(
    command: Sequence[str], port: int, *, folder: Path, variables: Mapping[str, str], timeout_s: float
) -> float:
    """Start a server, wait until ``/health`` responds, and stop it.

    Args:
        command: The command that starts it.
        port: The port that it should listen on.
        folder: The folder to start it in.
        variables: Environment variables to add.
        timeout_s: The timeout in seconds.

    Returns:
        How many seconds it took to respond.

    Raises:
        ConfigurationError: It exited instead.
        DeadlineExceededError: It did not respond in time.
    """
    start = time.monotonic()
    with _running(command, folder, variables) as (process, log):
        endpoint = Endpoint.parse(f"http://127.0.0.1:{port}")
        while not _responds(endpoint):
            if (code := process.poll()) is not None:
                raise ConfigurationError(f"It exited with code {code}.", log="".join(log))
            if time.monotonic() - start > timeout_s:
                raise DeadlineExceededError(
                    f"Nothing responded on port {port} within {timeout_s:g} s.", log="".join(log)
                )
            time.sleep(_POLL_S)
    return time.monotonic() - start


def _run(command: Sequence[str], *, folder: Path, variables: Mapping[str, str], timeout_s: float) -> None:
    """Run a command to its end.

    Raises:
        ConfigurationError: It failed.
        DeadlineExceededError: It took too long.
    """
    shown = " ".join([Path(command[0]).name, *command[1:]])
    with _running(command, folder, variables) as (process, log):
        try:
            code = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise DeadlineExceededError(
                f"{shown} took more than {timeout_s:g} s.", log="".join(log)
            ) from None
    if code:
        raise ConfigurationError(f"{shown} exited with code {code}.", log="".join(log))


@contextlib.contextmanager
def _running(
    command: Sequence[str], folder: Path, variables: Mapping[str, str]
) -> Iterator[tuple[subprocess.Popen[str], deque[str]]]:
    """Run a process in its own process group, which is ended with the context. Yield it and its log."""
    log: deque[str] = deque(maxlen=_LOG_LINES)
    process = subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, **variables},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    assert process.stdout is not None
    reader = threading.Thread(target=_read, args=(process.stdout, log), daemon=True)
    try:
        reader.start()
        yield process, log
    finally:
        _end_group(process)
        reader.join(_STOP_TIMEOUT_S)


def _read(stream: IO[str], log: deque[str]) -> None:
    with stream:
        log.extend(stream)


def _end_group(process: subprocess.Popen[str]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_TIMEOUT_S)


def _responds(endpoint: Endpoint) -> bool:
    try:
        get_json(endpoint, "/health", timeout_s=1.0)
    except OpenEnvError:
        return False
    return True


# Without /health, nobody can tell when a server is ready.
_NEEDS = ("server.start", "routes.health")
MODE_CHECKS = (
    Check("mode.uv_run", "`uv run server` starts it", _uv_run, needs=(*_NEEDS, "project.script")),
    Check("mode.python_m", "`python -m` starts it", _python_m, needs=_NEEDS),
)


def modes_of(results: Mapping[str, CheckReport], why_no_container: str) -> list[Mode]:
    """Which modes work, from the results of the checks; and why no container was tried, if none was."""
    return [
        _mode("openenv serve", results["server.start"]),
        _mode("uv run server", results["mode.uv_run"]),
        _mode("python -m", results["mode.python_m"]),
        _mode("docker", results["container.serve"])
        if "container.serve" in results
        else Mode(name="docker", works=None, reason=f"Not tried: {why_no_container}"),
    ]


def _mode(name: ModeName, result: CheckReport) -> Mode:
    works = {Outcome.PASSED: True, Outcome.SKIPPED: None}.get(result.outcome, False)
    return Mode(name=name, works=works, reason=result.detail.splitlines()[0])
