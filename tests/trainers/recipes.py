"""Runs the recipes of docs/libraries/ as they are written there."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

LIBRARIES = Path(__file__).parents[2] / "docs" / "libraries"


def recipes(document: str) -> list[str]:
    """Return the blocks of Python of a document."""
    return re.findall(r"```python\n(.*?)```", (LIBRARIES / document).read_text(), re.DOTALL)


def run_recipe(python: Path, code: str, base_url: str, folder: Path) -> str:
    """Run a block in a folder, with another server than the one it names; return what it prints."""
    assert 10 <= len(code.splitlines()) <= 30
    code, replaced = re.subn(r"http://localhost:\d+", base_url, code)
    assert replaced, "the recipe names no server"
    done = subprocess.run(
        [python, "-c", code],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},  # tests run beside each other
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
