"""Runs the tests of a file under `inside`, in an environment with libraries that ours does not have."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).parents[2]
INSIDE = Path(__file__).parent / "inside"


def names_in(file: str) -> list[str]:
    """Return the names of a file's tests."""
    return re.findall(r"^def (test_\w+)", (INSIDE / file).read_text(), re.MULTILINE)


class Outcomes:
    """The outcomes of a file's tests, which run together when the first of them is asked for.

    Args:
        python: The interpreter of the environment.
        file: The file under `inside`.
        folder: Where the report is written.
    """

    def __init__(self, python: Path, file: str, folder: Path) -> None:
        report = folder / f"{file}.xml"
        options = (
            "-q",
            "-s",
            "--noconftest",
            "-p",
            "no:cacheprovider",
            "-c",
            os.devnull,
            f"--rootdir={ROOT}",
        )
        done = subprocess.run(
            [python, "-m", "pytest", *options, f"--junitxml={report}", INSIDE / file],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        print(done.stdout)  # with the speed of each training
        assert report.exists()
        self._cases = ElementTree.parse(report).findall(".//testcase")

    def check(self, name: str) -> None:
        """Fail if a test has failed with any of its parameters, or did not run."""
        cases = [case for case in self._cases if re.sub(r"\[.*", "", case.attrib["name"]) == name]
        assert cases, f"{name} did not run"
        failures = [
            f"{case.attrib['name']}\n{part.text}"
            for case in cases
            for part in case
            if part.tag in ("failure", "error")
        ]
        if failures:
            pytest.fail("\n".join(failures), pytrace=False)
