"""The client of 0.1.0 with this server, and this client with the server of 0.1.0.

The code of 0.1.0 comes from the repository's own history.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tests.support.peer import REPOSITORY
from tests.support.processes import serving_sleeper
from tests.support.proxy import FaultProxy

# The last commit of the day that CHANGELOG.md gives for 0.1.0.
COMMIT = "bbc73062bfc784ecb33e8a20d8c91dd97ca113f5"
ROOTS = ("", "server", "cli", "scaffolds")
PROGRAM = Path(__file__).with_name("release_program.py")

EXPECTED: dict[str, Any] = {
    "environment": [0, [1, 1.0, False, False], [2, 1.0, False, False], 3],
    "vector environment": [
        [0, 0, 0],
        [[1] * 3, [1.0] * 3, [False] * 3],
        [[2] * 3, [1.0] * 3, [False] * 3],
        [[3] * 3, [1.0] * 3, [True] * 3],
        [[0] * 3, [0.0] * 3, [False] * 3],
        [[4] * 3, [1.0] * 3, [False] * 3],  # a reset does not start its count over
    ],
    "failure": ["EXECUTION_ERROR", True],
    "typed client": [0, 1, 1.0, False, 1],
    "generic client": [1, 1.0, False],
}


@pytest.fixture(scope="module")
def first_release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the code of 0.1.0."""
    done = subprocess.run(["git", "archive", COMMIT], cwd=REPOSITORY, capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"0.1.0 ({COMMIT[:7]}) is not in this clone (is it shallow?): {done.stderr.decode()}")
    folder = tmp_path_factory.mktemp("0.1.0")
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return folder


def path_to(release: Path) -> dict[str, str]:
    """The variables with which Python imports a release."""
    return {
        "PYTHONPATH": os.pathsep.join(str(release / root) for root in ROOTS),
        "PYTHONSAFEPATH": "1",  # and nothing from the current folder
    }


@pytest.mark.timeout(120)
@pytest.mark.parametrize("older", ["client", "server"])
def test_the_first_release_and_this_one_work_together(
    older: str, first_release: Path, tmp_path: Path
) -> None:
    releases = {"client": REPOSITORY, "server": REPOSITORY, older: first_release}
    with (
        serving_sleeper(tmp_path, **path_to(releases["server"])) as server,
        FaultProxy(server.base_url, faults={}) as proxy,
        subprocess.Popen(
            [sys.executable, PROGRAM, proxy.base_url],
            env={**os.environ, **path_to(releases["client"])},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as client,
    ):
        assert client.stdin is not None
        assert client.stdout is not None
        cuts = 0
        while (line := client.stdout.readline()) == "cut\n":
            proxy.cut()
            cuts += 1
            print(file=client.stdin, flush=True)
        results = json.loads(line)
    assert Path(results.pop("from")).is_relative_to(releases["client"])
    assert results == EXPECTED
    assert cuts == 4
