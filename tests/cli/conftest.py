from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.hub_environment import make_environment
from tests.support.hub import StandIn, serving_hub


@pytest.fixture
def hub() -> Iterator[StandIn]:
    with serving_hub() as hub:
        yield hub


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    return make_environment(tmp_path / "my_env")
