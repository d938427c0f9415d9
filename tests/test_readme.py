"""The README's Python runs as it is written, and warns of nothing: every warning is an error here."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"


def blocks() -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", README.read_text(), re.DOTALL | re.MULTILINE)


STRICT = {**os.environ, "PYTHONWARNINGS": "error"}


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


def test_the_trainers_blocks_run(url: str, tmp_path: Path) -> None:
    code = "\n".join(blocks()[:4]).replace("http://localhost:8000", url)
    assert (
        run(code + "\nprint(envs.reset(seed=1)[0].shape); envs.close(); env.close()", tmp_path) == "(32, 4)\n"
    )


def test_the_block_for_long_runs_runs(url: str, tmp_path: Path) -> None:
    code = blocks()[-1].replace("http://localhost:8000", url)
    code = f"import gymnasium as gym, openenv_gym\n{code}\nprint(env.reset(seed=1)[0].shape); env.close()"
    assert run(code, tmp_path) == "(4,)\n"


def test_the_authors_block_is_served_and_driven(tmp_path: Path) -> None:
    *_, counter, client, _ = blocks()
    (tmp_path / "counter.py").write_text(counter)
    code = f"""
import sys
sys.path.insert(0, {str(README.parent)!r})
from counter import app
from tests.support.servers import running
with running(app) as url:
    exec({client!r}.replace("http://localhost:8000", url))
"""
    assert run(code, tmp_path) == "5\n"
