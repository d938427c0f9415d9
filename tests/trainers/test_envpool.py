"""EnvPool's environments on our server, in a Python that has EnvPool."""

from __future__ import annotations

import pytest
from openenv_server.envpool_environments import EnvPoolMaker

from openenv_gym.errors import ConfigurationError
from tests.trainers.inside_tests import Outcomes
from tests.trainers.venvs import envpool_python as python  # noqa: F401 - of the fixture

FILE = "envpool_envs.py"
pytestmark = pytest.mark.timeout(900)  # once, the package is installed


def test_envpool(training: str, outcomes: Outcomes) -> None:
    outcomes.check(training)


def test_without_the_package_the_error_says_what_to_install() -> None:
    with pytest.raises(ConfigurationError, match="pip install envpool"):
        EnvPoolMaker("Pong-v5")
