from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from coding_env.server.limits import Isolation, Limits
from coding_env.server.sandbox import Sandbox, SandboxError

# Small, so that a successful attack does no harm, and quick.
LIMITS = Limits(
    timeout_s=10,
    cpu_s=5,
    memory_mb=200,
    files_mb=8,
    files=200,
    processes=16,
    output_kb=16,
    isolation="limits",
)

OpenSandbox = Callable[..., Sandbox]


@pytest.fixture(params=["namespaces", "landlock", "limits"])
def isolation(request: pytest.FixtureRequest) -> Isolation:
    """Each kind of isolation."""
    chosen: Isolation = request.param
    return chosen


@pytest.fixture(params=["namespaces", "landlock"])
def strong_isolation(request: pytest.FixtureRequest) -> Isolation:
    """The kinds that hide the machine's files and processes from a program."""
    chosen: Isolation = request.param
    return chosen


@pytest.fixture
def open_sandbox() -> Iterator[OpenSandbox]:
    """Opens sandboxes with the limits of the tests; skips the test if the machine does not allow it."""
    opened = []

    def opens(isolation: Isolation, **changes: Any) -> Sandbox:
        python = _python_of(isolation)
        limits = replace(LIMITS, python=python, **changes)
        try:
            sandbox = Sandbox(limits, isolation)
        except SandboxError as error:
            pytest.skip(f"this machine does not allow {isolation}: {error}")
        opened.append(sandbox)
        return sandbox

    yield opens
    for sandbox in opened:
        sandbox.close()


def _python_of(isolation: Isolation) -> str:
    """The base interpreter, or another one if only root can run that one and programs are not root."""
    base: str = getattr(sys, "_base_executable", sys.executable)
    if isolation == "namespaces" or os.geteuid() != 0:
        return base
    folders = [folder for folder in Path(base).resolve().parents if not folder.stat().st_mode & 0o001]
    return "/usr/bin/python3" if folders else base
