from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.walker import write_walker


@pytest.fixture
def walker(tmp_path: Path) -> Path:
    """The folder of an environment that is valid."""
    return write_walker(tmp_path)
