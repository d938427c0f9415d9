"""The example of docs/failures.md does what it says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from openenv_server import create_app

from tests.support.napper import Nap, Napper, Slept
from tests.support.servers import running, without_v2

DOCUMENT = Path(__file__).parents[2] / "docs" / "failures.md"


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_what_the_other_slots_did_is_there_after_a_step_that_failed(version: str) -> None:
    (example,) = re.findall(r"^```python\n(.*?)^```", DOCUMENT.read_text(), re.DOTALL | re.MULTILINE)
    app = create_app(Napper, Nap, Slept)
    with running(without_v2(app) if version == "v1" else app) as base_url:
        envs = gym.make_vec("openenv/remote", 4, base_url=base_url)
        envs.reset()
        envs.step(np.zeros(4))
        names: dict[str, Any] = {"envs": envs, "actions": np.array([0.0, -1.0, 0.0, 0.0])}
        exec(example, names)
        assert names["ready"].slots.tolist() == [0, 2, 3]
        assert names["ready"].observations.tolist() == [2, 2, 2]
        assert names["failed"].tolist() == [False, True, False, False]
        assert envs.step(np.zeros(4))[0].tolist() == [3, 1, 3, 3]
        envs.close()
