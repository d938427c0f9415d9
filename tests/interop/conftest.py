from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import peer


@pytest.fixture(scope="session")
def peer_python() -> Path:
    return peer.peer_python()
