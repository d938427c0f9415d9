"""The example of docs/providers.md passes the tests that it is said to."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_provider_of_the_documents_passes_the_tests_of_the_documents(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "providers.md").read_text()
    for name, code in re.findall(r"```python\n# (\w+\.py)\n(.*?)```", text, re.DOTALL):
        code = code.replace("from my_env.server.app import app", "from tests.providers.served import app")
        (tmp_path / name).write_text(code)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", tmp_path, tmp_path],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert "8 passed" in done.stdout, done.stdout
