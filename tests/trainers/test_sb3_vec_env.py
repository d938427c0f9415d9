"""`RemoteVecEnv` beside SB3's own `DummyVecEnv` over local environments."""

from __future__ import annotations

import pytest

from tests.trainers.inside_tests import Outcomes
from tests.trainers.venvs import old_gymnasium_python, trainers_python

FILE = "sb3_vec_env.py"
pytestmark = pytest.mark.timeout(900)  # once, the libraries are installed


@pytest.fixture(
    scope="module", params=[trainers_python, old_gymnasium_python], ids=["gymnasium", "gymnasium-1.2"]
)
def outcomes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    return Outcomes(request.param(), FILE, tmp_path_factory.mktemp("inside"))


def test_remote_vec_env(training: str, outcomes: Outcomes) -> None:
    outcomes.check(training)
