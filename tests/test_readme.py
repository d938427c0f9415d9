"""The README: its Python runs as it is written and warns of nothing, and a visitor reads it in minutes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
MOST_WORDS = 800
STRICT = {**os.environ, "PYTHONWARNINGS": "error"}


def blocks(text: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """The address of the server that the README tells its readers to start."""
    command = [str(Path(sys.executable).with_name("openenv")), "serve", "--gym", "CartPole-v1", "--port", "0"]
    with subprocess.Popen(command, env=STRICT, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            yield server.stdout.readline().strip()
        finally:
            server.terminate()


def run(code: str, folder: Path) -> str:
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, cwd=folder, env=STRICT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_is_short() -> None:
    assert len(README.split()) < MOST_WORDS


def test_it_trains_as_the_documentation_does() -> None:
    """`test_sb3_training` runs the block of docs/index.md."""
    assert blocks(README)[0] == blocks((ROOT / "docs/index.md").read_text())[0]


def test_its_environments_are_stepped(url: str, tmp_path: Path) -> None:
    code = blocks(README)[1].replace("http://localhost:8000", url)
    assert run(code + "\nprint(observations.shape); envs.close(); env.close()", tmp_path) == "(32, 4)\n"


def test_its_environment_is_served_and_driven(tmp_path: Path) -> None:
    (tmp_path / "counter.py").write_text(blocks(README)[2])
    code = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from counter import app
from openenv_gym import GenericEnvClient
from tests.support.servers import running
with running(app) as url, GenericEnvClient(url) as client:
    client.reset()
    print(client.step({{"amount": 5}}).observation["total"])
"""
    assert run(code, tmp_path) == "5\n"


@pytest.mark.parametrize("target", re.findall(r"\]\((?!https?:)([^)#]+)", README))
def test_what_it_links_to_exists(target: str) -> None:
    assert (ROOT / target).exists()
