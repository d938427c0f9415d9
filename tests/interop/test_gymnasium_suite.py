"""Gymnasium's own tests, with our environments in the place of its own.

Its source distribution has a few of them. All are in its repository: set ``OPENENV_GYMNASIUM_SOURCE`` to a
checkout of the installed version. To see what passed, file by file:

    pytest tests/interop/test_gymnasium_suite.py -s
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import gymnasium
import pytest

ROOT = Path(__file__).parents[2]
SUITE = Path(__file__).parent / "gymnasium_suite"
# The tests of what takes environments.
WHICH = ("tests/test_core.py", "tests/vector", "tests/wrappers")
# What Gymnasium's environments and wrappers need.
WITH = (
    f"gymnasium[box2d,classic-control,other,toy-text]=={gymnasium.__version__}",
    "array-api-compat",
)


def copied_tests(folder: Path) -> Path:
    """Copy the tests of the installed version into a folder, from a checkout or the source distribution."""
    checkout = os.environ.get("OPENENV_GYMNASIUM_SOURCE")
    source = Path(checkout) if checkout else unpacked_distribution(folder)
    version = f'__version__ = "{gymnasium.__version__}"'
    assert version in (source / "gymnasium" / "__init__.py").read_text(), f"{source} is another version"
    suite = folder / "suite"
    shutil.copytree(source / "tests", suite / "tests")
    for package in (suite / "tests", *(path for path in (suite / "tests").rglob("*") if path.is_dir())):
        (package / "__init__.py").touch()  # our own tests have a package of that name too
    return suite


def unpacked_distribution(folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", "gymnasium"]
    done = subprocess.run(
        [*command, f"gymnasium=={gymnasium.__version__}"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"Gymnasium's source distribution cannot be downloaded: {done.stderr[-200:]}")
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        opened.extractall(folder, filter="data")
    return folder / archive.name.removesuffix(".tar.gz")


def run(arguments: list[str], folder: Path, **variables: str) -> None:
    """Run pytest in our environment with what the tests need, and show its output."""
    uv = shutil.which("uv")
    assert uv is not None, "uv adds what Gymnasium's environments need: pip install uv"
    done = subprocess.run(
        [
            *(uv, "run", "-q", "--project", str(ROOT), "--no-sync"),
            *(part for package in WITH for part in ("--with", package)),
            *("python", "-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb", "short", *arguments),
        ],
        cwd=folder,
        env={**os.environ, "SDL_VIDEODRIVER": "dummy", **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    print(done.stdout)
    assert done.returncode == 0, done.stdout[-5000:]


@pytest.mark.timeout(600)
def test_wrappers_with_other_packages() -> None:
    run(["tests/gym/test_every_wrapper.py"], ROOT)


@pytest.mark.timeout(1800)
def test_gymnasiums_tests_pass(tmp_path: Path) -> None:
    suite = copied_tests(tmp_path)
    run(
        [
            *("-p", "served_gymnasium", "-c", os.devnull, "--rootdir", "."),
            *("--ignore", "tests/vector/utils", *(part for part in WHICH if (suite / part).exists())),
        ],
        suite,
        PYTHONPATH=os.pathsep.join((str(SUITE), str(suite))),
    )
