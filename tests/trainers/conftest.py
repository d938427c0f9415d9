"""The tests of a file under `inside`: the fixture `outcomes` runs them, the argument ``training`` names each.

A module that has them says which file, and in which environment: ``FILE``, and ``python``, which returns the
environment's interpreter.
"""

from __future__ import annotations

import pytest

from tests.trainers.inside_tests import Outcomes, names_in


@pytest.fixture(scope="module")
def outcomes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    module = request.module
    return Outcomes(module.python(), module.FILE, tmp_path_factory.mktemp("inside"))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "training" in metafunc.fixturenames:
        metafunc.parametrize("training", names_in(metafunc.module.FILE))
