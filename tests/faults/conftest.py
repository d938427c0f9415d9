from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from openenv_gym.providers.process import ProcessProvider


@pytest.fixture(scope="package")
def gymnasium_server() -> Iterator[ProcessProvider]:
    with ProcessProvider(gym="CartPole-v1") as server:
        yield server


@pytest.fixture(scope="package")
def authors_server() -> Iterator[ProcessProvider]:
    """Models with fields of many kinds."""
    with ProcessProvider(str(Path(__file__).with_name("author"))) as server:
        yield server
