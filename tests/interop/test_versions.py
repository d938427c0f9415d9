"""Each supported minor version of Gymnasium, and the lowest supported version of each dependency.

The newest versions are those of the development environment, where all tests run.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.support.peer import REPOSITORY, trainer_python

GYMNASIUM = ("1.2.2", "1.3.0")
# What the tests below need besides.
TESTING = (
    "email-validator>=2.2",
    "hypothesis>=6.120",
    "pytest>=8.3",
    "pytest-timeout>=2.3",
    "trustme>=1.2",
    "websocket-client>=1.8",
)
SPACES = ("tests/gym/test_spaces.py", "tests/gym/test_declared_spaces.py", "tests/gym/test_wrappers.py")
ENVIRONMENTS = (
    "tests/gym/test_gymnasium_api.py",
    "tests/gym/test_masked_resets.py",
    "tests/gym/test_served_spec.py",
)
SERVER = (
    "tests/gym/test_wire_v2.py",
    "tests/server/test_http.py",
    "tests/server/test_socket_takeover.py",
    "tests/server/test_tool_modes.py",
)


def run(python: Path, *tests: str) -> None:
    done = subprocess.run(
        [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "unit or integration", *tests],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("version", GYMNASIUM)
def test_gymnasium(version: str) -> None:
    run(trainer_python("openenv-gym[cli]", f"gymnasium=={version}", *TESTING), *SPACES, *ENVIRONMENTS)


@pytest.mark.timeout(300)
def test_the_lowest_versions_of_all_dependencies() -> None:
    lowest = ("--resolution", "lowest-direct")
    python = trainer_python(*lowest, "openenv-gym[cli,docker,hub,mcp]", *TESTING)
    run(python, "tests/gym/test_spaces.py", *ENVIRONMENTS, *SERVER)
