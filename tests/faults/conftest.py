from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from openenv_gym.providers.process import ProcessProvider
from tests.faults.health import forgetful


@pytest.fixture(scope="package")
def gymnasium_server() -> Iterator[ProcessProvider]:
    with forgetful(ProcessProvider(gym="CartPole-v1")) as server:
        yield server


@pytest.fixture(scope="package")
def authors_server() -> Iterator[ProcessProvider]:
    """Models with fields of many kinds."""
    with forgetful(ProcessProvider(str(Path(__file__).with_name("author")))) as server:
        yield server
