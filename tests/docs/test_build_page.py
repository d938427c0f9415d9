"""docs/build.md from top to bottom: its environment is served, trained on, and passes its checks."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from openenv_gym.providers.process import ProcessProvider
from tests.docs.blocks import DOCS, blocks_of

BLOCKS = blocks_of(DOCS / "build.md")


def openenv(*arguments: str, cwd: Path) -> str:
    command = [sys.executable, "-m", "openenv_cli", *arguments]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def guess_env(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the page, with the two files that the reader writes."""
    parent = tmp_path_factory.mktemp("build")
    openenv("init", "guess_env", cwd=parent)
    folder = parent / "guess_env"
    for block in BLOCKS:
        if block.file_name:
            assert (folder / block.file_name).exists()
            (folder / block.file_name).write_text(block.code)
    return folder


def test_the_tree_is_what_init_makes(guess_env: Path) -> None:
    tree = (DOCS / "build.md").read_text().partition("```text\n")[2].partition("```")[0]
    names = [re.split(r"\s{2,}", line.lstrip("│├└─ "))[0] for line in tree.splitlines()[1:]]
    assert len(names) > 8
    for name in ", ".join(names).split(", "):
        assert any(guess_env.rglob(name.rstrip("/"))), name


def test_it_is_trained_on_with_gym_make_and_with_its_client(guess_env: Path) -> None:
    train, client = (block.code for block in BLOCKS if not block.file_name)
    with ProcessProvider(path=guess_env) as server:
        for code, shown in ((train, "right 1.0"), (client, "0.0")):
            code = code.replace("http://localhost:8000", server.base_url)
            done = subprocess.run(
                [sys.executable, "-c", code], cwd=guess_env.parent, capture_output=True, text=True
            )
            assert done.returncode == 0, done.stderr
            assert done.stdout.strip().endswith(shown)


def test_it_is_valid(guess_env: Path) -> None:
    assert "failed" not in openenv("validate", "guess_env", "--level", "static", cwd=guess_env.parent)


def test_its_spaces_are_those_of_the_page(guess_env: Path) -> None:
    shown = openenv("spaces", "guess_env", cwd=guess_env.parent)
    assert "Discrete(100)" in shown
    assert "Discrete(4)" in shown
