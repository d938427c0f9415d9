"""The example of docs/rubrics.md has the scores that it shows."""

from __future__ import annotations

import json
import re
from pathlib import Path

import gymnasium as gym
import pytest

from tests.support.servers import running

DOCUMENT = Path(__file__).parents[2] / "docs" / "rubrics.md"


def test_the_example_has_the_scores_that_are_shown() -> None:
    text = DOCUMENT.read_text()
    example, *_ = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (shown,) = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
    namespace = {"__name__": "words"}
    exec(example, namespace)
    with running(namespace["app"]) as base_url, gym.make("openenv/remote", base_url=base_url) as env:
        env.reset()
        _, reward, _, _, info = env.step("hello")
    assert reward == pytest.approx(0.75)
    assert info["rubric_scores"] == json.loads(shown)["rubric_scores"]
