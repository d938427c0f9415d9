"""An engine for the tests of this folder, where one can run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.engine import Engine, running_engine, running_registry, why_no_engine
from tests.support.python_image import load_python_image


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """A Docker engine of the tests' own."""
    if reason := why_no_engine():
        pytest.skip(reason)
    with running_engine() as engine:
        yield engine


@pytest.fixture(scope="session")
def registry(engine: Engine) -> Iterator[str]:
    """An image registry on loopback, as ``host:port``."""
    with running_registry() as address:
        yield address


@pytest.fixture(scope="session")
def python_image(engine: Engine) -> str:
    """The tag of the image that openenv-base starts from."""
    return load_python_image(engine)


@pytest.fixture
def docker_host(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """The engine, and the way to it in this process's variables and so in those of its children."""
    monkeypatch.delenv("DOCKER_CONTEXT", raising=False)
    for name, value in engine.variables.items():
        monkeypatch.setenv(name, value)
    return engine
